"""What this node knows of a target, asked for once and passed on."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from node.devices import lvm, udev
from node.devices.stack import BackingId, backing_id


@dataclass(frozen=True)
class TargetFacts:
    """One target, by its path and status; what costs a program or a database is asked when wanted.

    Attributes:
        path: as the caller gave it.
        name: of it, for people.
        status: of what it leads to.
        new_volume: the volume that it is, where it was made for this copy: LVM's own words on it.
    """

    path: Path
    name: str
    status: os.stat_result
    new_volume: lvm.LogicalVolume | None = None

    @property
    def is_block(self) -> bool:
        """Whether it is a block device."""
        return stat.S_ISBLK(self.status.st_mode)

    @property
    def number(self) -> int:
        """The number of the block device that it is."""
        return self.status.st_rdev

    @property
    def id(self) -> BackingId:
        """What its path leads to."""
        return backing_id(self.status)

    @cached_property
    def properties(self) -> Mapping[str, str]:
        """What udev knows of it; nothing of a file."""
        return udev.properties(self.number) if self.is_block else {}

    @cached_property
    def volume(self) -> lvm.LogicalVolume | None:
        """What LVM says of the volume that it is; None if it is none.

        Raises:
            KitError: LVM's tools fail.
        """
        if not self.is_block or (names := lvm.volume_of(self.number)) is None:
            return None
        if self.new_volume is not None and names == (self.new_volume.vg, self.new_volume.name):
            return self.new_volume
        return lvm.volume(*names)

    @property
    def is_new(self) -> bool:
        """Whether it is a volume that was made for this copy: nothing was ever written to it."""
        return self.new_volume is not None and self.volume is self.new_volume

    @property
    def names(self) -> frozenset[Path]:
        """All paths that it has, as far as this node knows: Ganeti may use another one."""
        names = {self.path, self.path.resolve()}
        names |= {Path(link) for link in self.properties.get("DEVLINKS", "").split()}
        if self.volume is not None:
            names.add(self.volume.path)
        return frozenset(names)
