"""Makes dumps as ganeti-instance-debootstrap's export does, and imports them on a node."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tests.system.backup.support import MIB, Outcome
from tests.system.installer.support import (
    _ENTER,
    OS_DIR,
    Node,
    loop,
    mounted,
    output,
    root_partition,
)

MKFS = ("mkfs.ext4", "-q", "-F", "-E", "nodiscard")
OLD_UUID = "11111111-2222-4333-8444-555555555555"
KERNEL_PATH = {"INSTANCE_HV_kernel_path": "/boot/vmlinuz"}  # no boot loader is needed
SECONDS = 300


def dump_of(image: Path, start: int = 0, length: int = 0) -> bytes:
    """A dump of a file system, by the command of the peer's export."""
    with loop(image, start, length) as device:
        ran = subprocess.run(
            ["dump", "-0", "-q", "-f", "-", device], capture_output=True, check=False
        )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def file_system(path: Path, size: int, fill: Callable[[Path], None]) -> Path:
    """A file system of the old guest."""
    with path.open("wb") as file:
        file.truncate(size)
    output(*MKFS, "-U", OLD_UUID, path)
    place = path.with_name("old")
    place.mkdir()
    with loop(path, read_only=False) as device:
        output("mount", device, place)
        try:
            fill(place)
        finally:
            output("umount", place)
    place.rmdir()
    return path


class Import:
    """An import on a node, as Ganeti runs it."""

    def __init__(self, node: Node, stdin: "int | IO[bytes]", index: int = 0) -> None:
        device = str(node.disks[index][0])
        environ = node.environment() | {"IMPORT_DEVICE": device, "IMPORT_INDEX": str(index)}
        self._log = os.memfd_create("stderr")
        self.process = subprocess.Popen(
            node.argv(_ENTER.replace("./create", "./import")),
            cwd=OS_DIR,
            env=environ,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            process_group=0,
            umask=0o077,
        )

    @property
    def stderr(self) -> str:
        return os.pread(self._log, 1 << 20, 0).decode(errors="replace")

    def wait(self) -> Outcome:
        try:
            code = self.process.wait(SECONDS)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, 9)
        found = Outcome(code, self.stderr)
        os.close(self._log)
        return found


def imported(node: Node, dump: bytes | Path, index: int = 0) -> Outcome:
    """Imports a dump, through a pipe."""
    content = dump.read_bytes() if isinstance(dump, Path) else dump
    here, there = os.pipe()
    with os.fdopen(here, "rb", buffering=0) as reading:
        running = Import(node, reading, index)
    left = memoryview(content)
    with os.fdopen(there, "wb", buffering=0) as writing, suppress(BrokenPipeError):
        while left:
            left = left[os.write(writing.fileno(), left[: 64 << 10]) :]
    return running.wait()


@contextmanager
def restored(node: Node, index: int = 0) -> Iterator[Path]:
    """The restored file system, mounted; it has no errors."""
    disk = node.disks[index][0]
    offset, size = root_partition(disk)
    with loop(disk, offset, size) as device:
        output("e2fsck", "-fn", device)
        with mounted(device, node.directory / "restored") as place:
            yield place


__all__ = ["MIB", "dump_of", "file_system", "imported", "restored"]
