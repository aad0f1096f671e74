"""`instance-kit restore`: a stream becomes a disk, as by gnt-backup, without Ganeti."""

import argparse
from pathlib import Path

from backup.import_ import begun, import_
from backup.options import ImportOptions
from converter.cli.progress import chosen
from converter.errors import TargetIsFile, TargetMissing, TargetNotEmpty
from kit import DONE, FAILED, given_disk
from kit.stream_files import STANDARD, described, open_stream
from node.errors import KitError
from node.isolation.namespace import contained
from node.program import confirmed, run_command

NAME = "restore"
ABOUT = "write a stream to a disk, as gnt-backup import does"

_HINTS: dict[type[KitError], str] = {
    TargetMissing: "lvs lists volumes (lvchange -ay VG/LV makes one active); --force-file makes a"
    " new file",
    TargetIsFile: "if it shall be written nevertheless: --force-file",
    TargetNotEmpty: "if it is not needed: --force; to see details: blkid -p, wipefs --no-act",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb; those that qcow2raw has as well have the same names there."""
    parser.add_argument("file", metavar="FILE", help="of an export; - for stdin")
    given_disk.add_arguments(parser)
    parser.add_argument("--force", action="store_true", help="overwrite what is on the disk")
    parser.add_argument("--force-file", action="store_true", help="the disk may be a file")
    parser.add_argument(
        "-q", "--quiet", action="store_true", default=False, help="print errors only"
    )


def run(options: argparse.Namespace) -> int:
    """Writes the disk; in namespaces of its own, as it may start a virtual machine."""
    return contained(
        lambda: run_command(lambda: _restore(options), failed=FAILED, debugging="--debug")
    )


def _restore(options: argparse.Namespace) -> int:
    disk = given_disk.found(options.disk, options.number)
    wanted = ImportOptions(
        device=disk.path,
        what=f"restore of {disk.path}",
        stream=described(options.file),
        key=f"restore-{Path(disk.path).name}",
        force=options.force,
        allow_file=options.force_file or disk.by_name,
        confirm=None if options.file == STANDARD else confirmed,
    )
    progress = chosen("auto", quiet=options.quiet)
    try:
        with open_stream(options.file) as fd:
            frames, kind = begun(wanted, fd)
            import_(wanted, frames, kind, progress)
    except KitError as error:
        if hint := _HINTS.get(type(error)):
            raise KitError(error.message, hint) from error
        raise
    return DONE
