"""Runs export and import as Ganeti does, on disks of a test's own, and looks at what they did."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.system.backup import payload
from tests.system.installer.support import loop, output

TOP = Path(__file__).parents[3]
OS_DIR = TOP / "os-definition"
KIB, MIB = 1 << 10, 1 << 20
SECONDS = 300  # an appliance may start, emulated, on a busy machine
INSTANCE = "web1.example.org"
# The environment is not clean: what the node daemon was started with is in it.
DIRT = {"LANG": "de_DE.UTF-8", "LC_ALL": "tlh", "TAR_OPTIONS": "--remove-files", "PATH": "/nowhere"}


@dataclass(frozen=True)
class Outcome:
    """How a script ended, what it wrote to stderr, and what it left unread of stdin."""

    exit_code: int
    stderr: str
    unread: int = 0
    peak: int = 0  # of its resident memory, bytes

    def done(self) -> "Outcome":
        assert self.exit_code == 0, self
        assert not re.search(r"^(error|hint): |Traceback", self.stderr, re.M), self
        return self

    def failed(self, *words: str, exit_code: int = 1) -> "Outcome":
        """Its last lines are one `error:` with these words, and one `hint:`, and are short."""
        assert self.exit_code == exit_code, self
        assert "Traceback" not in self.stderr, self
        assert self.stderr.endswith("\n"), self
        lines = self.stderr.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-2:-1], self
        assert [line for line in lines if line.startswith("hint: ")] == lines[-1:], self
        assert len("\n".join(lines[-2:])) < 1000, self
        for word in words:
            assert word in lines[-2], self
        return self

    @property
    def hint(self) -> str:
        return self.stderr.splitlines()[-1]


@dataclass
class Script:
    """An export or import of a device that runs, in a process group of its own.

    Its program is watched by the descriptors that Ganeti leaves open in it, too: nobody may have
    them when it has ended.
    """

    script: str
    device: Path
    stdin: "int | IO[bytes] | None" = None
    stdout: "int | IO[bytes] | None" = None
    size_fd: int | None = None
    environ: dict[str, str] = field(default_factory=dict)
    index: int = 0

    def __post_init__(self) -> None:
        self._log = os.memfd_create("stderr")
        self.held, end = os.pipe()
        prefix = self.script.upper()
        recorded = (TOP / "tests/data/create.env").read_text().splitlines()
        environ = dict(line.split("=", 1) for line in recorded) | DIRT
        environ |= {f"{prefix}_DEVICE": str(self.device), f"{prefix}_INDEX": str(self.index)}
        environ |= {f"{prefix}_DISK_PATH": str(self.device)}
        if self.size_fd is not None:
            environ["EXP_SIZE_FD"] = str(self.size_fd)
        self.process = subprocess.Popen(
            [f"./{self.script}"],
            cwd=OS_DIR,
            env=environ | self.environ,
            stdin=self.stdin if self.stdin is not None else subprocess.DEVNULL,
            stdout=self.stdout if self.stdout is not None else subprocess.DEVNULL,
            stderr=self._log,
            pass_fds=[end] + ([] if self.size_fd is None else [self.size_fd]),
            process_group=0,
            umask=0o077,
        )
        os.close(end)

    @property
    def stderr(self) -> str:
        return os.pread(self._log, 1 << 20, 0).decode(errors="replace")

    def kill(self, number: signal.Signals) -> None:
        """Sends a signal to its group, as Ganeti does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def wait(self) -> Outcome:
        """Awaits its end, and that of all who have its descriptors."""
        peak = 0
        deadline = time.monotonic() + SECONDS
        try:
            while self.process.poll() is None:
                assert time.monotonic() < deadline, self.stderr
                peak = max(peak, _peak(self.process.pid))
                time.sleep(0.02)
            assert os.read(self.held, 1) == b""  # at once: a child would be awaited here
        finally:
            self.kill(signal.SIGKILL)
            self.process.wait()
            os.close(self.held)
        return Outcome(self.process.returncode, self.stderr, peak=peak)


def _peak(pid: int) -> int:
    """Of a process or the one that does its work, whichever has more."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        told = [Path(f"/proc/{each}/status").read_text() for each in (pid, *children)]
    except OSError:
        return 0
    return max(int(kib) << 10 for kib in re.findall(r"VmHWM:\s*(\d+) kB", "".join(told)) or [0])


def exported(device: Path, stream: Path, **environ: str) -> Outcome:
    """Exports a device into a file, through a pipe."""
    with (
        stream.open("wb") as file,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file) as cat,
    ):
        outcome = Script("export", device, stdout=cat.stdin, environ=environ).wait()
        assert cat.stdin is not None
        cat.stdin.close()
    return outcome


def imported(device: Path, stream: Path | bytes, *, piece: int = 64 << 10) -> Outcome:
    """Imports a stream through a pipe; `unread` is what was left of it when the script ended.

    Args:
        device: the disk.
        stream: what is written to its stdin.
        piece: bytes that are written at once.
    """
    content = stream.read_bytes() if isinstance(stream, Path) else stream
    here, there = os.pipe()
    with os.fdopen(here, "rb", buffering=0) as reading:
        script = Script("import", device, stdin=reading)
    # Who writes sees a broken pipe as soon as the script is gone.
    left = memoryview(content)
    with os.fdopen(there, "wb", buffering=0) as writing, suppress(BrokenPipeError):
        while left:
            left = left[os.write(writing.fileno(), left[:piece]) :]
    outcome = script.wait()
    return Outcome(outcome.exit_code, outcome.stderr, len(left), outcome.peak)


def noise(path: Path, size: int) -> Path:
    """A disk full of an old tenant's bytes; not one of its blocks is zero."""
    block = bytes(range(1, 255)) * 4129
    with path.open("wb") as file:
        for _ in range(size // len(block) + 1):
            file.write(block)
        file.truncate(size)
    return path


TABLES = {
    "msdos": "label: dos\nstart=2048, size={sectors}, type=83, bootable\n",
    "gpt": "label: gpt\nstart=2048, size=4096, type=21686148-6449-6E6F-744E-656564454649\n"
    "start=6144, size={sectors}, type=L\n",
}
STARTS = {"msdos": 2048, "gpt": 6144, "none": 0}
MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "nodiscard"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
    "btrfs": ("mkfs.btrfs", "-q", "-f", "-K"),
}


@dataclass(frozen=True)
class Disk:
    """A disk with one file system; bytes."""

    path: Path
    style: str
    filesystem: str
    start: int
    length: int


def made(path: Path, style: str, filesystem: str, size: int, *, behind: int = 0) -> Disk:
    """A disk full of old bytes, with a partition table and a file system with files of all kinds.

    Args:
        path: its file.
        style: msdos, gpt or none.
        filesystem: ext4, xfs, btrfs; or swap, of the whole disk.
        size: of the disk.
        behind: zeros behind the last partition (and a GPT's backup at the end).
    """
    noise(path, size)
    start = STARTS[style] * 512
    length = size - start - behind - (0 if style == "none" else MIB)
    if style != "none":
        with path.open("r+b") as file:
            file.write(bytes(MIB))
            file.seek(start + length)
            file.write(bytes(size - start - length))
        table = TABLES[style].format(sectors=length // 512)
        subprocess.run(["sfdisk", "-q", path], input=table, text=True, check=True)
    if filesystem == "swap":
        output("mkswap", "-q", "-L", "swap1", path)
        return Disk(path, style, filesystem, start, length)
    with loop(path, start, length, read_only=False) as device:
        output(*MKFS[filesystem], device)
        with mounted(device, path.with_name("mnt")) as place:
            payload.fill(place)
    return Disk(path, style, filesystem, start, length)


@contextmanager
def mounted(device: Path, place: Path, options: str = "rw") -> Iterator[Path]:
    """A file system, mounted."""
    place.mkdir()
    try:
        output("mount", "-o", options, device, place)
        try:
            yield place
        finally:
            output("umount", place)
    finally:
        place.rmdir()


def manifest(disk: Disk, path: Path) -> dict[str, dict[str, object]]:
    """All facts of all files on the disk's file system, on a disk that should be its copy."""
    with loop(path, disk.start, disk.length) as device:
        options = {"xfs": "ro,norecovery,nouuid", "ext4": "ro,noload"}.get(disk.filesystem, "ro")
        with mounted(device, path.with_name("mnt"), options) as place:
            return payload.manifest(place)


def unneeded(disk: Disk) -> set[int]:
    """The KiB of a disk that a backup need not have, by the tools of their makers."""
    if disk.filesystem == "swap":
        return set(range(4, disk.length // KIB))
    if disk.filesystem != "ext4":
        return set()
    with loop(disk.path, disk.start, disk.length) as device:
        said = output("dumpe2fs", device)
    told = re.search(r"^Block size:\s+(\d+)$", said, re.M)
    assert told is not None
    each = int(told[1]) // KIB
    found: set[int] = set()
    for line in re.findall(r"^  Free blocks: (.+)$", said, re.M):
        for begin, _, end in (part.strip().partition("-") for part in line.split(",")):
            first = disk.start // KIB + int(begin) * each
            found |= set(range(first, first + (int(end or begin) - int(begin) + 1) * each))
    return found


def require_restored(disk: Disk, restored: Path) -> None:
    """The restored disk has all bytes of the disk, or zeros where nobody needs them."""
    free, wrong, left_out = unneeded(disk), [], 0
    with disk.path.open("rb") as one, restored.open("rb") as other:
        for number in range(disk.path.stat().st_size // KIB):
            expected, got = one.read(KIB), other.read(KIB)
            if expected != got:
                left_out += 1
                if number not in free or any(got):
                    wrong.append(number)
    assert not wrong, f"{len(wrong)} KiB differ, from {wrong[0]} on"
    # Free runs of less than 16 blocks are kept.
    assert left_out >= len(free) * 0.9


def found_on(device: Path) -> str:
    """What blkid and wipefs find on a device."""
    blkid = output("blkid", "-p", "-o", "export", device, check=False)
    wipefs = output("wipefs", "--no-act", "--noheadings", device)
    return (blkid + wipefs).strip()
