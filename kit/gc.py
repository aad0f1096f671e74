"""`instance-kit gc`: removes files and mounts of killed runs. The kernel cleans up the rest."""

import argparse
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from converter.engine import journal
from converter.identity import Identity, boot_id, diskseq, identity_of
from installer.bootstrap import cache_directory
from kit import DONE, site
from kit.rescue import records
from kit.rescue.records import Record
from node.errors import KitError
from node.lockfile import is_locked, unlink_if_free
from node.log import log
from node.program import say
from node.run import run as run_program
from node.run import which
from node.text import printable, size

NAME = "gc"
ABOUT = "remove files and mounts that killed runs left behind"
# node.files.write_whole() uses the name *.new for a moment only.
UNFINISHED_SECONDS = 3600


@dataclass(frozen=True)
class Leftover:
    """A file or mount that is not needed any more.

    Attributes:
        path: the file.
        what: what it was, for people.
        size: the bytes that it takes on the disk.
        remove: removes it, unless it is in use by then; returns whether it is gone.
    """

    path: Path
    what: str
    size: int
    remove: Callable[[], bool]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument("--dry-run", action="store_true", help="list them, remove nothing")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Lists leftovers, and removes them."""
    rows, stayed = [], []
    for found in leftovers(site.cache_directories()):
        removed = not options.dry_run and found.remove()
        if not removed and not options.dry_run:
            stayed.append(found.path)
        rows.append((found, removed))
    if options.json:
        say(json.dumps([_as_json(found, removed) for found, removed in rows], indent=2))
    elif rows:
        say("\n".join(_as_text(found, removed) for found, removed in rows))
    if stayed:
        raise KitError(
            f"leftovers: not removed: {', '.join(map(str, stayed))}",
            hint="in use again (fuser -v), or on a read-only file system (findmnt -T)",
        )
    return DONE


def _as_text(found: Leftover, removed: bool) -> str:
    verb = "removed" if removed else "left over"
    return printable(f"{verb}: {found.path}: {found.what}, {size(found.size)}")


def _as_json(found: Leftover, removed: bool) -> dict[str, str | int | bool]:
    return {
        "path": str(found.path),
        "what": found.what,
        "bytes": found.size,
        "removed": removed,
    }


def leftovers(cache_directories: Sequence[Path]) -> list[Leftover]:
    """All leftovers on this node.

    Args:
        cache_directories: those that creates use.
    """
    return [
        *(found for directory in cache_directories for found in _of_creates(directory)),
        *_of_copies(journal.DIRECTORY),
        *_of_mounts(),
    ]


def _of_creates(directory: Path) -> Iterator[Leftover]:
    for path in cache_directory.temporary(directory):
        if not is_locked(path):
            what = "lock of a create" if path.suffix == ".lock" else "part of a cache"
            yield _leftover(path, f"{what} that was killed", partial(unlink_if_free, path))


def _of_copies(directory: Path) -> Iterator[Leftover]:
    for path, target, identity in journal.recorded(directory):
        if why := _no_target(target, identity):
            yield _leftover(path, f"journal of a copy to {target}: {why}", partial(_unlink, path))
    for path in sorted(directory.glob("*.json.new")):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > UNFINISHED_SECONDS:
                yield _leftover(path, "incomplete journal of a killed copy", partial(_unlink, path))


def _of_mounts() -> Iterator[Leftover]:
    for record in records.all_records():
        if not records.is_served(record):
            why = f"it failed: {record.error[0]}" if record.error else "its process was killed"
            what = f"mount of {record.name}: {why}"
            # Its size is not asked for: a mount without its process does not answer.
            yield Leftover(Path(record.directory), what, 0, partial(_clear, record))


def _clear(record: Record) -> bool:
    try:
        return records.clear_if_ended(record)
    except KitError as error:
        log.warning("%s", error.message)
        return False


def _leftover(path: Path, what: str, remove: Callable[[], bool]) -> Leftover:
    try:
        taken = path.lstat().st_blocks * 512
    except FileNotFoundError:
        taken = 0
    return Leftover(path, what, taken, remove)


def _unlink(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _no_target(target: str, identity: Identity) -> str | None:
    """Why an interrupted copy can never be resumed; None if it can, or if that is not certain."""
    if not target.startswith("/"):
        return None
    if "dm" in identity:  # an inactive logical volume has no device
        uuids = _volumes() if str(identity["dm"]).startswith("LVM-") else None
        return None if uuids is None or identity["dm"] in uuids else "the volume was removed"
    return _no_file(Path(target), identity) if "inode" in identity else _no_device(identity)


def _no_file(path: Path, identity: Identity) -> str | None:
    """Why a file is gone; its file system may just not be mounted, and then that is not certain."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        if there.stat().st_dev != identity["device"]:
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return "the target does not exist"
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "the target is no file"
        now = identity_of(descriptor, os.lseek(descriptor, 0, os.SEEK_END))
    finally:
        os.close(descriptor)
    return None if dict(now) == dict(identity) else "that is another target now"


def _no_device(identity: Identity) -> str | None:
    """Why a device is gone; disks and files of loop devices may come back, by any name."""
    if identity.get("boot", now := boot_id()) != now:
        return "the node was booted since"
    number = identity.get("number")
    if isinstance(number, int) and diskseq(number) != identity["diskseq"]:
        return "that device is gone"
    return None


def _volumes() -> set[str] | None:
    """The UUIDs of this node's logical volumes in device mapper; None if LVM does not answer.

    That is "LVM-", and the UUIDs of the group and of the volume without hyphens.
    """
    if which("lvs") is None:
        return None
    listed = run_program(
        ["lvs", "--noheadings", "--separator=,", "--options=vg_uuid,lv_uuid"], check=False
    )
    if listed.exit_code != 0:
        return None
    lines = [line.strip().replace("-", "") for line in listed.stdout.splitlines()]
    return {f"LVM-{line.replace(',', '')}" for line in lines if line}
