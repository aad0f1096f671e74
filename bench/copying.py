"""One copy, timed, and what it took of processor and memory; the target before and after it."""

import mmap
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from images import BLOCK, Image, contents_digest, tool
from layout import GROUP
from measure import BenchError
from peers import Contender

POLL_SECONDS = 0.05
EVICTIONS = 20
DETACH_SECONDS = 10.0
DIRT = 4 * BLOCK  # bytes written at once
DIRTY_SHARE = 50  # of the target, at its start, at least


@dataclass(frozen=True)
class Copied:
    """A copy that is on the disk: wall and CPU seconds, peak memory of its processes in bytes."""

    seconds: float
    cpu: float
    memory: int


def copied(
    contender: Contender, image: Image, directory: Path, *, warm: bool, dirty: bool, check: bool
) -> Copied:
    """Runs a contender on a fresh target.

    The target is a loop device over a file of the image's virtual size. It passes the page cache
    by (direct I/O): as a logical volume has no second cache below its own, and it is faster, too.

    Raises:
        BenchError: the contender failed or copied something else; with the end of its output.
    """
    file = directory / "target.raw"
    log = directory / "output.log"
    with file.open("wb") as created:
        created.truncate(image.size)
    try:
        if dirty:
            _dirty(file, image)
        with _device(file) as device:
            _set_cached(image.path, warm=warm)
            os.sync()  # what the last run has left is not this one's
            argv = contender.argv(image, device, warm)
            result = _timed(contender.name, argv, (device, file), log)
        if check and contender.copies and contents_digest(file) != image.digest:
            raise BenchError(f"{contender.name}: {image.path}: its copy is not what is in it")
    finally:
        file.unlink()
    return result


def _dirty(file: Path, image: Image) -> None:
    """Fills with bytes that are not zero what decides: where data and gaps are dense, and tables.

    All of 20 GiB would take longer than the copies. So beside the dense part it is the start of
    each block group (data, then a gap behind it) and the end of the disk.
    """
    with mmap.mmap(-1, DIRT) as dirt:
        dirt.write(bytes(range(1, 256)) * (DIRT // 255) + b"\1" * (DIRT % 255))
        fd = os.open(file, os.O_WRONLY | os.O_DIRECT)
        try:
            dense = max(image.dense, image.size // DIRTY_SHARE)
            starts = [*range(0, dense, DIRT), *range(0, image.size, GROUP), image.size - DIRT]
            for at in starts:
                wanted = min(DIRT, image.size - at)
                with memoryview(dirt)[:wanted] as part:
                    if os.pwritev(fd, [part], at) != wanted:
                        raise BenchError(f"{file}: a short write at {at}")
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def _device(file: Path) -> Iterator[Path]:
    """A loop device over a file. Nobody has it open: ours refuses a target that somebody uses."""
    attach = ["losetup", "--find", "--show", "--direct-io=on", str(file)]
    device = Path(tool(attach).strip())
    try:
        yield device
    finally:
        tool(["losetup", "--detach", str(device)])  # when its last user is gone, says loop(4)
        deadline = time.monotonic() + DETACH_SECONDS
        while tool(["losetup", "--noheadings", "--associated", str(file)]):
            if time.monotonic() > deadline:
                raise BenchError(f"{device}: something still holds it")
            time.sleep(POLL_SECONDS)


def _set_cached(path: Path, *, warm: bool) -> None:
    """Puts a file into the page cache, or drops it from there, and makes sure of it.

    Not by /proc/sys/vm/drop_caches: that would take everybody's, the programs' own pages, too.
    """
    for _ in range(EVICTIONS):
        with path.open("rb", buffering=0) as file:
            if warm:
                buffer = bytearray(BLOCK)
                while file.readinto(buffer):
                    pass
            else:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        cached = int(tool(["fincore", "--bytes", "--noheadings", "--output=RES", str(path)]))
        share = cached / path.stat().st_size
        if share >= 0.99 if warm else cached == 0:
            return
        time.sleep(POLL_SECONDS)  # pages in use are left alone: of reads ahead under way, say
    raise BenchError(f"{path}: {share:.0%} of it is in the page cache, which spoils the run")


def _timed(name: str, argv: list[str], written: tuple[Path, Path], log: Path) -> Copied:
    before = _pids()
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        peak = _Peak(process.pid, before)
        peak.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            for path in written:
                _sync(path)
            seconds = time.monotonic() - started
        finally:
            peak.finished.set()
            peak.join()
            if process.returncode is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise BenchError(f"{name}: {' '.join(argv)}: ended with {process.returncode}:\n{tail}")
    return Copied(seconds, used.ru_utime + used.ru_stime, peak.memory)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Peak(threading.Thread):
    """Watches the memory of a program and of its descendants.

    The sum, over those that live at one time, of the most that each ever had. (ru_maxrss of
    getrusage(2) will not do: it counts what the parent had before it executed the program.)
    """

    def __init__(self, pid: int, before: set[int]) -> None:
        super().__init__()
        self.finished = threading.Event()
        self.memory = 0  # bytes
        self._tree = {pid}
        self._before = before

    def run(self) -> None:
        while not self.finished.wait(POLL_SECONDS):
            for pid in sorted(_pids() - self._before - self._tree):
                if _parent(pid) in self._tree:
                    self._tree.add(pid)
            self.memory = max(self.memory, sum(map(_peak, self._tree)))


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208


def _parent(pid: int) -> int:
    try:
        # proc_pid_stat(5): the name in parentheses may hold anything; state and parent follow.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _peak(pid: int) -> int:
    """VmHWM of proc_pid_status(5) in bytes; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
