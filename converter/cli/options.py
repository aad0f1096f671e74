"""The options of qcow2raw, and their translation to `CopyOptions`."""

import argparse
import re
import sys
from typing import NoReturn, get_args

from converter.options import Algorithm, CopyOptions, SwapMode
from node.devices.lvm import LogicalVolume
from node.program import complain, confirmed
from node.text import parse_size

USAGE = 2  # the exit code
PROGRESS = "auto, bar, lines, none, json or json:FD"


class _Parser(argparse.ArgumentParser):
    """Prints errors of usage in the same form as all other errors."""

    def error(self, message: str) -> NoReturn:
        complain(message, "qcow2raw --help, or man qcow2raw")
        sys.exit(USAGE)


def parser() -> argparse.ArgumentParser:
    """The parser of the options; qcow2raw(8) explains them in detail."""
    made = _Parser(
        prog="qcow2raw",
        usage="qcow2raw [options] SRC DST\n"
        "       qcow2raw --create VG/LV [--size SIZE] [--thin-pool POOL] [options] SRC\n"
        "       qcow2raw --check SRC DST | --swap-only SRC DST\n"
        "       qcow2raw --info SRC... | --inspect SRC...",
        description="Copies a disk image to a block device, checked and complete.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("sources", nargs="+", metavar="SRC", help="path, ssh://[user@]host/path, nbd://…")
    what = made.add_mutually_exclusive_group()
    what.add_argument("--create", metavar="VG/LV", help="create this volume as the target")
    what.add_argument("--check", action="store_true", help="compare, write nothing")
    what.add_argument("--swap-only", action="store_true", help="make DST a swap area like SRC's")
    what.add_argument("--info", action="store_true", help="show what is in SRC")
    what.add_argument("--inspect", action="store_true", help="--info, and the guest's settings")
    what.add_argument("--dry-run", action="store_true", help="only check, write nothing")
    add("--size", type=_size, metavar="SIZE", help="of the new volume; K, M, G, T")
    add("--thin-pool", metavar="POOL", help="make the new volume in this thin pool")
    add("--format", metavar="FORMAT", help="of SRC: qcow2 (default for files), raw, vmdk, …")
    add("--force", action="store_true", help="overwrite what is on DST")
    add("--force-file", action="store_true", help="DST may be a file")
    add("--swap", choices=get_args(SwapMode), default="recreate", help="default: recreate")
    add("--fix-gpt", action=argparse.BooleanOptionalAction, default=True, help="default: yes")
    add("--verify", action="store_true", help="read DST back, and compare")
    add("--digest", choices=get_args(Algorithm), help="print a digest of the disk")
    add("--update", action="store_true", help="write only blocks of DST that differ")
    add("--resume", action="store_true", help="go on with an interrupted copy")
    add("--progress", default="auto", type=progress_kind, metavar="HOW", help=PROGRESS)
    add("--json", action="store_true", help="with --info and --inspect: print JSON")
    add("-q", "--quiet", action="store_true", help="print errors only")
    add("--debug", action="store_true", help="show each program run, and tracebacks")
    return made


def misused(options: argparse.Namespace) -> str | None:
    """What is wrong with the combination of options; None if nothing is."""
    many = options.info or options.inspect
    wanted = 1 if options.create else 2
    if not many and len(options.sources) != wanted:
        return "SRC and DST are needed" if wanted == 2 else "--create takes SRC only: it makes DST"
    if many or options.check or options.swap_only:
        for name in ("digest", "verify", "update", "resume"):
            if getattr(options, name):
                return f"--{name} goes with a copy"
    if (options.size is not None or options.thin_pool) and not options.create:
        return "--size and --thin-pool go with --create"
    if options.create and options.create.removeprefix("/dev/").count("/") != 1:
        return f"--create {options.create}: VG/LV is needed"
    if options.json and not many:
        return "--json goes with --info and --inspect; --progress json reports a copy"
    if options.create and options.resume:
        return "--resume goes on with a volume that is there: name it as DST"
    return None


def copy_options(options: argparse.Namespace, volume: LogicalVolume | None) -> CopyOptions:
    """The options of the copy; `volume` is the new volume, if one was created for it."""
    return CopyOptions(
        force=options.force,
        allow_file=options.force_file,
        swap=options.swap,
        fix_gpt=options.fix_gpt,
        verify=options.verify,
        digest=options.digest,
        update=options.update,
        resume=options.resume,
        new_volume=volume,
        confirm=confirmed,
    )


def target_name(options: argparse.Namespace) -> str:
    """The target's name as the user gave it, or the path of the volume to create."""
    if options.create:
        return f"/dev/{options.create.removeprefix('/dev/')}"
    return str(options.sources[-1])


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def progress_kind(text: str) -> str:
    """Checks the value of `--progress`; raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"auto|bar|lines|none|json(:[0-9]{1,6})?", text):
        raise argparse.ArgumentTypeError(f"{text}: not one of {PROGRESS}")
    return text
