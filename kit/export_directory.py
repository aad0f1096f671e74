"""The directory that `gnt-backup export` writes; pure."""

import re
from configparser import ConfigParser, Error
from pathlib import Path
from typing import NamedTuple

CONFIG = "config.ini"
MAX_DISKS = 1000  # Ganeti: constants.MAX_DISKS is 16
_DUMP = re.compile(r"disk([0-9]{1,3})_dump")
_NONE = "None"  # so Ganeti writes it


class Dump(NamedTuple):
    """What a disk's dump is called; None: there is no file of it."""

    number: int  # of the disk
    path: Path | None


def dumps(directory: Path, config: str) -> list[Dump]:
    """The dumps that an export should have, by the text of its configuration.

    Args:
        directory: of the export.
        config: the text of the file CONFIG in it.

    Raises:
        ValueError: it is no such text; says why.
    """
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(config)
        instance = parser["instance"]
        count = int(instance["disk_count"])
    except (Error, KeyError, ValueError) as error:
        raise ValueError("it does not say how many disks there are") from error
    if not 0 <= count <= MAX_DISKS:
        raise ValueError(f"it says that there are {count} disks")
    # If an export of a disk failed, its number has no dump, and the count is smaller.
    numbers = {*range(count), *(int(key[1]) for key in map(_DUMP.fullmatch, instance) if key)}
    found = []
    for number in sorted(numbers):
        name = instance.get(f"disk{number}_dump", _NONE)
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"the dump of disk {number} has a name that no file has: {name!r}")
        found.append(Dump(number, None if name == _NONE else directory / name))
    return found
