"""`instance-kit mount`: the file systems of a stopped instance or of a disk, for rescue work."""

import argparse
import json

from kit import DONE
from kit.rescue import keeper, records, target
from kit.rescue.records import Record
from node.isolation.apart import Message
from node.log import log
from node.program import say
from node.text import printable

NAME = "mount"
ABOUT = "mount the file systems of a stopped instance, or of a disk"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    what(parser)
    parser.add_argument(
        "directory",
        nargs="?",
        metavar="DIR",
        help=f"empty or missing; default: {records.DIRECTORY}/NAME",
    )
    how(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(quiet=False)


def what(parser: argparse.ArgumentParser) -> None:
    """The argument that names the instance or disk; for other verbs, too."""
    parser.add_argument(
        "instance", metavar="INSTANCE", help="a stopped instance, or the path of a disk"
    )


def how(parser: argparse.ArgumentParser) -> None:
    """The options of how it is opened; for other verbs, too."""
    parser.add_argument("--write", action="store_true", help="allow changes; default: read-only")
    partition(parser)


def partition(parser: argparse.ArgumentParser) -> None:
    """The option for one file system; for other verbs, too."""
    parser.add_argument(
        "--partition",
        metavar="DEVICE",
        help="only this file system, such as /dev/sda1; default: all in the guest's fstab",
    )


def run(options: argparse.Namespace) -> int:
    """Mounts, and says what and where."""
    chosen = target.find(options.instance)
    given = target.absolute(options.directory).resolve() if options.directory else None
    directory = given or records.default_directory(chosen.name)
    record = Record(chosen.name, str(directory), write=options.write, pid=0)
    found = keeper.in_background(record, chosen, options.partition)
    for each in found["left_out"]:
        log.warning("not mounted: %s", each)
    if options.json:
        say(json.dumps(as_json(record, found), indent=2))
    else:
        say("\n".join(as_text(record, found)))
    return DONE


def as_text(record: Record, found: Message) -> list[str]:
    """Lines for people."""
    mode = "writable" if record.write else "read-only"
    lines = [f"{record.name}: mounted on {record.directory}, {mode}"]
    lines += [f"  {point}  {device}" for device, point in found["places"]]
    lines.append(f"instance-kit umount {record.name}  ends it")
    return [printable(line) for line in lines]


def as_json(record: Record, found: Message) -> Message:
    """The mount for programs, as instance-kit(8) describes it."""
    return {
        "name": record.name,
        "directory": record.directory,
        "write": record.write,
        "file_systems": [
            {"device": device, "mount_point": point} for device, point in found["places"]
        ],
        "left_out": found["left_out"],
    }
