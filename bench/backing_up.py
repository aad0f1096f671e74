"""Runs backups and restores on fresh streams and blank targets, and measures them."""

import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from backup_goals import DEVICE, Cell
from backup_guest import START, mount, mounted
from backups import Contender
from copying import Copied, device, set_cached, timed
from measure import BenchError

# What a restore with ganeti-instance-debootstrap changes or leaves behind.
NOT_COMPARED = ("./etc/fstab", "./restoresymtable", "./lost+found")


@dataclass
class Bench:
    """The disks, and what was measured; all files are in one directory."""

    directory: Path
    disks: dict[str, Path]  # by size
    runs: dict[tuple[Cell, str], list[Copied]] = field(default_factory=lambda: defaultdict(list))
    checked: set[str] = field(default_factory=set)

    def stream(self, name: str, size: str) -> Path:
        """The file of a contender's backup."""
        return self.directory / f"{name}-{size}.stream".replace(" ", "-")

    def export(self, contender: Contender, cell: Cell) -> None:
        """Makes a backup."""
        disk, stream = self.disks[cell.size], self.stream(contender.name, cell.size)
        stream.unlink(missing_ok=True)
        set_cached(disk, warm=False)
        with ExitStack() as stack:
            source, variables = disk, {"STREAM": str(stream)}
            if cell.disk == DEVICE:
                source = stack.enter_context(device(disk, read_only=True))
            if contender.is_of_files:
                partition = stack.enter_context(device(source, START, read_only=True))
                place = self.directory / "files"
                stack.enter_context(mount(partition, place, "ro,noload"))
                variables |= {"PARTITION": str(partition), "FILES": str(place)}
            variables["DISK"] = str(source)
            self._run(contender, cell, contender.export, variables, (stream,))

    def restore(self, contender: Contender, cell: Cell) -> None:
        """Restores the last backup onto a blank target."""
        stream, file = self.stream(contender.stream, cell.size), self.directory / "target.raw"
        set_cached(stream, warm=False)
        with file.open("wb") as made:
            made.truncate(self.disks[cell.size].stat().st_size)
        place = self.directory / "restored"
        place.mkdir(exist_ok=True)
        try:
            with ExitStack() as stack:
                target, variables = file, {"STREAM": str(stream), "PLACE": str(place)}
                if cell.disk == DEVICE:
                    target = stack.enter_context(device(file))
                if contender.is_of_files:
                    partition = stack.enter_context(device(target, START))
                    variables["TARGET_PARTITION"] = str(partition)
                variables["TARGET"] = str(target)
                self._run(contender, cell, contender.restore, variables, (target, file))
            if contender.name not in self.checked:
                self._check(contender, file, cell.size)
        finally:
            file.unlink()

    def _run(
        self,
        contender: Contender,
        cell: Cell,
        shell: str,
        variables: dict[str, str],
        written: tuple[Path, ...],
    ) -> None:
        os.sync()  # dirty pages of earlier runs must not slow this one
        argv = contender.argv(shell, variables)
        result = timed(contender.name, argv, written, self.directory / "output.log")
        found = self.runs[cell, contender.name]
        found.append(result)
        line = f"{len(found)} {' '.join(cell)}: {contender.name}: {result.seconds:.2f} s"
        print(line, file=sys.stderr, flush=True)

    def _check(self, contender: Contender, restored: Path, size: str) -> None:
        digests = []
        for disk in (self.disks[size], restored):
            with mounted(disk, self.directory / "compared", "ro,noload") as place:
                digests.append(_digest(place))
        if digests[0] != digests[1]:
            raise BenchError(f"{contender.name}: the restored files are not those of the guest")
        self.checked.add(contender.name)


def _digest(place: Path) -> str:
    """A digest of all files: names, content, owners, modes, but no times."""
    left_out = [f"--exclude={name}" for name in NOT_COMPARED]
    argv = ["tar", "-C", str(place), "--sort=name", "--mtime=@0", *left_out]
    digest = hashlib.blake2b()
    with subprocess.Popen(
        [*argv, "--numeric-owner", "-c", "."], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as tar:
        assert tar.stdout is not None
        while piece := tar.stdout.read(1 << 20):
            digest.update(piece)
    if tar.returncode != 0:
        raise BenchError(f"tar of {place}: ended with {tar.returncode}")
    return digest.hexdigest()
