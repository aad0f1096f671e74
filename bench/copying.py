"""Measures one copy (time, CPU, memory), with a prepared target and image cache."""

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
DIRTY_SHARE = 50  # at least 1/50 of the target is made dirty, at its start


@dataclass(frozen=True)
class Copied:
    """A finished copy: wall and CPU seconds, peak memory of its processes in bytes."""

    seconds: float
    cpu: float
    memory: int


def copied(
    contender: Contender, image: Image, directory: Path, *, warm: bool, dirty: bool, check: bool
) -> Copied:
    """Runs a contender on a fresh target.

    The target is a loop device over a file of the image's virtual size. It uses direct I/O: a
    logical volume has no second cache below its own either, and it is faster.

    Raises:
        BenchError: the contender failed (with the end of its output), or its copy is wrong.
    """
    file = directory / "target.raw"
    log = directory / "output.log"
    with file.open("wb") as created:
        created.truncate(image.size)
    try:
        if dirty:
            _dirty(file, image)
        with device(file) as place:
            set_cached(image.path, warm=warm)
            os.sync()  # dirty pages of earlier runs must not slow this one
            argv = contender.argv(image, place, warm)
            result = timed(contender.name, argv, (place, file), log)
        if check and contender.copies and contents_digest(file) != image.digest:
            raise BenchError(f"{contender.name}: {image.path}: the copy differs from the image")
    finally:
        file.unlink()
    return result


def _dirty(file: Path, image: Image) -> None:
    """Fills parts of the target with bytes that are not zero.

    Filling all of 20 GiB would take longer than the copies. So it fills the part with dense data
    and gaps, the start of each block group (data, then a gap), and the end of the disk.
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
def device(file: Path, offset: int = 0, *, read_only: bool = False) -> Iterator[Path]:
    """Attaches a loop device and does not keep it open: the kit refuses targets in use.

    Args:
        file: a file or a device.
        offset: where the loop device begins in it, bytes.
        read_only: whether it cannot be written: the kit refuses sources that can.
    """
    attach = ["losetup", "--find", "--show", "--direct-io=on", f"--offset={offset}"]
    if read_only:
        attach.append("--read-only")
    attached = Path(tool([*attach, str(file)]).strip())
    try:
        yield attached
    finally:
        tool(["losetup", "--detach", str(attached)])  # takes effect after its last user, loop(4)
        deadline = time.monotonic() + DETACH_SECONDS
        while str(attached) in tool(["losetup", "--noheadings", "--output=NAME"]).split():
            if time.monotonic() > deadline:
                raise BenchError(f"{attached}: something still holds it")
            time.sleep(POLL_SECONDS)


def set_cached(path: Path, *, warm: bool) -> None:
    """Reads a file into the page cache or removes it from there, and checks the result.

    /proc/sys/vm/drop_caches is not used: it would remove all pages, also those of the programs.
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
        time.sleep(POLL_SECONDS)  # pages in use stay, for example during readahead
    raise BenchError(f"{path}: {share:.0%} of it is in the page cache: the run cannot be compared")


def timed(name: str, argv: list[str], written: tuple[Path, ...], log: Path) -> Copied:
    """Runs a program and flushes what it has written, which counts as its time.

    Args:
        name: the contender's, for errors.
        argv: the program.
        written: the files and devices that it writes.
        log: where its output goes.

    Raises:
        BenchError: it failed; the message has the end of its output.
    """
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
    """Measures the peak memory of a program and its descendants.

    It is the largest sum of the peaks of all processes that live at one time. ru_maxrss of
    getrusage(2) is not used: it includes the parent's memory from before execve(2).
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
        # proc_pid_stat(5): after the name in parentheses come the state and the parent.
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
