"""`instance-kit export`: a disk becomes a stream, as by gnt-backup, without Ganeti."""

import argparse
import os
import stat
import sys
from functools import partial
from pathlib import Path

from backup import kinds
from backup.disks.raw_size import HEAD
from backup.export import export
from backup.kinds import Kind
from backup.streams.pipes import Output
from converter.cli.progress import chosen
from converter.formats import foreign
from converter.paths import found
from kit import DONE, given_disk
from kit.stream_files import STANDARD, new_file
from node.errors import KitError
from node.log import log
from node.text import size

NAME = "export"
ABOUT = "write a disk as a stream, as gnt-backup export does"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    given_disk.add_arguments(parser)
    # Not optional: argparse would take it only directly behind DISK, not behind an option.
    parser.add_argument("file", metavar="FILE", help="a new file; - for stdout")
    parser.add_argument(
        "--force", action="store_true", help="replace FILE if it is an older export"
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", default=False, help="print errors only"
    )


def run(options: argparse.Namespace) -> int:
    """Writes the stream."""
    disk = given_disk.found(options.disk, options.number)
    progress = chosen("auto", quiet=options.quiet)
    status = found(disk.path, "source").status
    _require_raw(disk.path, status)
    if options.file == STANDARD:
        export(disk.path, disk.origin, Output(sys.stdout.fileno()), progress)
        return DONE
    with new_file(options.file, force=options.force) as fd:
        output = Output(fd, f"file {options.file}")
        expect = partial(_warn_if_full, fd, options.file)
        export(disk.path, disk.origin, output, progress, expect)
    log.info("%s: written and flushed", options.file)
    return DONE


def _require_raw(name: str, disk: os.stat_result) -> None:
    """Raises KitError where a file is an image of another format, or a stream, and no disk."""
    if not stat.S_ISREG(disk.st_mode):
        return  # whatever a guest has on its disk
    with Path(name).open("rb") as file:
        begins = file.read(HEAD)
        image = foreign.recognised(
            lambda offset, length: os.pread(file.fileno(), length, offset), disk.st_size
        )
    if kinds.recognised(begins) is Kind.KIT:
        raise KitError(f"file {name}: a stream of an export, no disk", hint="name a disk")
    if foreign.contradicts(image, "raw"):
        raise KitError(
            f"file {name}: an image of {image}, not a raw disk",
            hint="qcow2raw makes a raw disk of it",
        )


def _warn_if_full(fd: int, name: str, expected: int) -> None:
    """Says at the beginning what may end in an error; the size is known roughly only."""
    status = os.fstatvfs(fd)
    free = status.f_bfree * status.f_frsize
    if free < expected:
        log.warning(
            "%s: about %s will be needed, and %s are free", name, size(expected), size(free)
        )
