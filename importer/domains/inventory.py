"""What is known of a domain before it is moved."""

from dataclasses import dataclass
from typing import Literal

from importer.domains.domain import Domain, SourceDisk

State = Literal["running", "paused", "shut off"]


@dataclass(frozen=True)
class Area:
    """A file system or swap area on a disk; `start` and `length` in bytes.

    `type` is blkid's word, `swap` for a swap area. `uuid` and `label` are "" if there is none.
    """

    start: int
    length: int
    type: str
    uuid: str
    label: str


@dataclass(frozen=True)
class DiskFacts:
    """A disk of a domain, and what is on it; figures are bytes.

    Attributes:
        size: of the disk, as the guest sees it.
        allocated: what its image takes up on the KVM host.
        table: gpt, dos, or None without a partition table.
        areas: its file systems and swap areas.
        boots: whether it has a boot loader: code in the first sector, or an EFI system partition.
        keeps_bitmaps: whether its image can have bitmaps (qcow2 of version 3).
        bad_bitmaps: names of bitmaps of its image that are inconsistent.
    """

    disk: SourceDisk
    size: int
    allocated: int
    table: Literal["gpt", "dos"] | None
    areas: tuple[Area, ...]
    boots: bool
    keeps_bitmaps: bool
    bad_bitmaps: tuple[str, ...] = ()

    @property
    def swap(self) -> Area | None:
        """The swap area that is the whole disk, or None."""
        for area in self.areas:
            if area.type == "swap" and area.start == 0:
                return area
        return None


@dataclass(frozen=True)
class HostFacts:
    """The KVM host: versions as (major, minor, patch), and bytes free for scratch files."""

    name: str
    libvirt: tuple[int, int, int]
    qemu: tuple[int, int, int]
    scratch_free: int


@dataclass(frozen=True)
class Inventory:
    """A domain, its state, its disks: root first, then in the order of `domain.disks`.

    `snapshots` are the names of libvirt's: while there are any, it makes no checkpoints.
    """

    host: HostFacts
    domain: Domain
    state: State
    disks: tuple[DiskFacts, ...]
    snapshots: tuple[str, ...] = ()
