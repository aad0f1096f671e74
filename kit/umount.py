"""`instance-kit umount`: ends a mount of `instance-kit mount`."""

import argparse
import time
from pathlib import Path

from kit import DONE
from kit.rescue import records, target
from kit.rescue.records import Record
from node import cluster
from node.errors import KitError
from node.isolation.mount import unmount
from node.log import log

NAME = "umount"
ABOUT = "end a mount; what was written is on the disk then"
POLL_SECONDS = 0.1


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument(
        "instance", metavar="INSTANCE", help="the instance, the path of the disk, or the directory"
    )
    parser.set_defaults(quiet=False)


def run(options: argparse.Namespace) -> int:
    """Unmounts, waits for the process that served the mount, and says whether all was written."""
    record = chosen(options.instance)
    directory = Path(record.directory)
    while records.is_served(record):  # a mount that is starting is waited for
        if records.is_mounted(directory):
            unmount(directory)
            break
        time.sleep(POLL_SECONDS)
    left = records.ended(record)
    if left is None:
        return DONE
    records.clear_if_ended(left)
    if left.error is not None:
        raise KitError(*left.error)
    killed = f"mount of {left.name}: its process was killed"
    if left.write:
        raise KitError(
            f"{killed}: what was written last may not be on the disk",
            hint="the mount is removed; check what you changed, the guest's journal is replayed"
            " when it is mounted again",
        )
    log.warning("%s; the mount is removed", killed)
    return DONE


def chosen(given: str) -> Record:
    """The mount that a user means.

    Raises:
        KitError: there is none.
    """
    # The last part is not asked for: the mount of a killed process does not answer.
    path = target.absolute(given)
    names = {given, str(path), str(path.parent.resolve() / path.name), cluster.full_name(given)}
    mounts = list(records.all_records())
    for record in mounts:
        if names & {record.name, record.directory}:
            return record
    raise KitError(
        f"{given}: not mounted by instance-kit",
        hint="mounted are: " + (", ".join(record.name for record in mounts) or "none"),
    )
