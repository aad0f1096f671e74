"""Whether a disk fits a smaller one once its last file system or swap area is shrunk. Pure."""

from dataclasses import dataclass

from backup.disks.raw_size import EXT
from backup.streams.stream import Area, Header

GRAIN = 4096  # bytes: lengths are multiples of it, as those of blocks and pages
GPT_GRAIN = 1 << 20  # bytes: where partitions of a GPT end
# Bytes behind the last partition, for the backup of a GPT: 33 sectors, with spare room.
GPT_ROOM = 64 << 10
FIRST_LOGICAL = 5
# What resize2fs needs beyond the least that is possible: moved extents, and inode tables.
SPARE, SPARE_PART = 64 << 20, 8


class CannotShrinkError(ValueError):
    """It does not fit; says why.

    Attributes:
        smallest: the smallest disk that works, bytes.
        likely: whether a disk of this size is only likely to work.
    """

    def __init__(self, why: str, smallest: int, *, likely: bool = False) -> None:
        super().__init__(why)
        self.smallest = smallest
        self.likely = likely


@dataclass(frozen=True)
class Shrink:
    """What becomes smaller; bytes."""

    area: Area  # as it is
    length: int  # as it will be
    name: str  # for people

    @property
    def end(self) -> int:
        """Where it will end on the disk."""
        return self.area.start + self.length


def planned(header: Header, target_size: int) -> Shrink:
    """What of a disk must be shrunk for a smaller one.

    Args:
        header: what is on the disk; it does not fit as it is.
        target_size: bytes.

    Raises:
        CannotShrinkError: it does not fit so, either.
    """
    as_it_is = header.smallest or header.disk_size
    if not header.areas:
        raise CannotShrinkError("it does not tell what could be shrunk", as_it_is)
    last = max(header.areas, key=lambda area: area.start)
    name = f"{'swap' if last.type == 'swap' else 'file system'} of {_where(last)}"
    gpt = header.partition_table == "gpt"
    if reason := _obstacle(header, last):
        raise CannotShrinkError(reason, as_it_is)
    limit = target_size - target_size % GRAIN
    if gpt:
        limit = (target_size - GPT_ROOM) // GPT_GRAIN * GPT_GRAIN
    length = (limit - last.start) // GRAIN * GRAIN
    used = last.used or 0
    if length < used:
        likely = last.type in EXT
        more = SPARE + used // SPARE_PART if likely else 0
        smallest = min(disk_size(header, last.start + used + more), as_it_is)
        reason = f"the {name} needs {used} bytes at least"
        raise CannotShrinkError(reason, smallest, likely=likely)
    return Shrink(last, length, name)


def disk_size(header: Header, end: int) -> int:
    """The size of a disk whose last area ends at `end`, in whole MiB as Ganeti has them; bytes."""
    size = -(-end // GPT_GRAIN) * GPT_GRAIN
    return size + GPT_GRAIN if header.partition_table == "gpt" else size


def _where(area: Area) -> str:
    return "the whole disk" if area.partition is None else f"partition {area.partition}"


def _obstacle(header: Header, last: Area) -> str | None:
    """Why the last area cannot become smaller, whatever the target's size."""
    name = f"{_where(last)} ({last.type})"
    end = last.start + last.length
    behind = header.smallest - end - (GPT_ROOM if header.partition_table == "gpt" else 0)
    if sum(area.start == last.start for area in header.areas) > 1:
        return f"{_where(last)}, the last on it, has several signatures"
    if last.type != "swap" and last.type not in EXT:
        return f"{name}, the last on it, cannot be shrunk: only ext2, ext3, ext4 and swap can"
    if header.partition_table == "dos" and (last.partition or 0) >= FIRST_LOGICAL:
        return f"{name}, the last on it, is a logical partition, and these are not shrunk"
    if behind > 0:
        return f"there are bytes or an extended partition behind {name}, the last on it"
    if not last.used and last.type == "swap":
        return f"{name}, the last on it, has a system hibernated in it, or its table is doubtful"
    if not last.used:
        return (
            f"{name}, the last on it, was not certain to be in order when it was exported: not"
            " unmounted, with errors, or with features that are not known"
        )
    return None
