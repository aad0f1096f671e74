"""What udev, LVM and the kernel say about a target; each is asked at most once."""

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
    """The facts about one target; what needs a program or a database is asked when it is used.

    Attributes:
        path: as the caller gave it.
        name: its name in messages.
        status: of what the path leads to.
        new_volume: the volume as LVM described it, if it was created for this copy.
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
        """The device number of a block device."""
        return self.status.st_rdev

    @property
    def id(self) -> BackingId:
        """The file or device that its path leads to."""
        return backing_id(self.status)

    @cached_property
    def properties(self) -> Mapping[str, str]:
        """Its udev properties; empty for a file."""
        return udev.properties(self.number) if self.is_block else {}

    @cached_property
    def volume(self) -> lvm.LogicalVolume | None:
        """Its description by LVM; None if it is no logical volume.

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
        """Whether it is a volume created for this copy: nothing was ever written to it."""
        return self.new_volume is not None and self.volume is self.new_volume

    @property
    def names(self) -> frozenset[Path]:
        """All its known paths on this node: Ganeti may use another one than the caller."""
        names = {self.path, self.path.resolve()}
        names |= {Path(link) for link in self.properties.get("DEVLINKS", "").split()}
        if self.volume is not None:
            names.add(self.volume.path)
        return frozenset(names)
