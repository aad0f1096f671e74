"""How each disk is read and copied in a pass: the decision table. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from importer.plan.model import DiskPlan
from node.text import size

Reading = Literal["job", "image"]
Work = Literal["all", "changes", "compare"]

# The first with incremental backups, which libvirt makes with QEMU's blockdev-reopen (NEWS of
# libvirt 7.6.0).
LIBVIRT_OLDEST, QEMU_OLDEST = (7, 6, 0), (6, 1, 0)


WORDS: Mapping[Work, str] = {
    "all": "all of it is copied",
    "changes": "what has changed is copied",
    "compare": "its blocks are compared, and what differs is copied",
}


@dataclass(frozen=True)
class DiskWork:
    """What a pass does for a disk.

    Attributes:
        disk: the disk.
        reading: from a backup job of the running domain, or from the image by qemu-nbd.
        work: all of it is copied, or the changes since a checkpoint, or what differs by hash.
        since: that checkpoint; "" for none.
    """

    disk: DiskPlan
    reading: Reading
    work: Work
    since: str = ""

    @property
    def by_agent(self) -> bool:
        """Whether the agent on the KVM host reads the disk, not NBD through the connection.

        The map of an NBD server has the holes of an image, but a block device is data everywhere:
        the agent leaves out its zeros.
        """
        if self.work == "all":
            return self.disk.is_block and self.disk.format == "raw"
        return self.work == "compare"


@dataclass(frozen=True)
class Situation:
    """What the decision depends on.

    Attributes:
        is_on: whether the domain runs or is suspended.
        has_jobs: whether libvirt and QEMU there have backup jobs.
        copied: targets whose volumes have got a copy.
        checkpoint: that of the last complete pass; "" without one.
        usable: targets whose bitmaps of that checkpoint are there and consistent.
    """

    is_on: bool
    has_jobs: bool
    copied: frozenset[str] = frozenset()
    checkpoint: str = ""
    usable: frozenset[str] = frozenset()


def has_jobs(libvirt: tuple[int, int, int], qemu: tuple[int, int, int]) -> bool:
    """Whether these versions have backup jobs in pull mode with checkpoints."""
    return libvirt >= LIBVIRT_OLDEST and qemu >= QEMU_OLDEST


def work_of(disk: DiskPlan, now: Situation) -> DiskWork:
    """How a disk that is no swap area is copied.

    =========  ==========  ============  ===========================
    domain     not copied  bitmap there  copied before, no bitmap
    =========  ==========  ============  ===========================
    on         job, all    job, changes  job, compare
    on, old    image, all  never         image, compare
    off        image, all  image, chang. image, compare
    =========  ==========  ============  ===========================

    By `DiskWork.by_agent`, changes are read over NBD, what is compared by the agent, and all of a
    disk by either of them.

    The image of a domain that is on is no point in time: a later pass of the suspended or stopped
    domain makes the copy complete.
    """
    reading: Reading = "job" if now.is_on and now.has_jobs else "image"
    if disk.target not in now.copied:
        return DiskWork(disk, reading, "all")
    reads_bitmap = reading == "job" or not now.is_on
    if reads_bitmap and now.checkpoint and disk.target in now.usable:
        return DiskWork(disk, reading, "changes", now.checkpoint)
    return DiskWork(disk, reading, "compare")


def work(disks: Sequence[DiskPlan], now: Situation) -> tuple[DiskWork, ...]:
    """What a pass does: see `work_of`; swap areas are made anew, never copied."""
    return tuple(work_of(disk, now) for disk in disks if disk.is_copied)


@dataclass(frozen=True)
class Estimate:
    """What a final pass takes; bytes and seconds.

    Attributes:
        changed: of disks with bitmaps.
        compared: of disks whose blocks are compared: all of them are read on both sides.
        seconds: in total; None if no earlier pass has measured a rate.
    """

    changed: int
    compared: int
    seconds: float | None


# A last pass without another limit is given up after so many times its estimate, but not before
# LIMIT_SECONDS: the estimate of a short one may be far off.
LIMIT_FACTOR = 10
LIMIT_SECONDS = 300.0

# Programs that are started, and round trips, for a pass with nothing to copy.
FIXED_SECONDS = 1.0


def estimate(
    works: Sequence[DiskWork],
    dirty: Mapping[str, int | None],
    copy_rate: float | None,
    compare_rate: float | None,
) -> Estimate:
    """What a final pass takes.

    Args:
        works: of that pass.
        dirty: by target: bytes that changed since the checkpoint.
        copy_rate: bytes a second of an earlier pass; None if there is none.
        compare_rate: the same of comparisons.
    """
    changed = sum(dirty.get(each.disk.target) or 0 for each in works if each.work == "changes")
    whole = sum(each.disk.size for each in works if each.work == "all")
    compared = sum(each.disk.size for each in works if each.work == "compare")
    seconds: float | None = FIXED_SECONDS
    for amount, rate in ((changed + whole, copy_rate), (compared, compare_rate)):
        if amount and seconds is not None:
            seconds = seconds + amount / rate if rate else None
    return Estimate(changed + whole, compared, seconds)


def in_words(found: Estimate, limit: float | None = None) -> str:
    """An estimate for people, with the seconds after which the pass is given up."""
    what = f"{size(found.changed)} to copy"
    if found.compared:
        what += f", {size(found.compared)} to compare"
    if found.seconds is not None:
        what += f", about {ceil(found.seconds)} s"
    return what if limit is None else f"{what}, at most {ceil(limit)} s"


def limit(given: int | None, found: Estimate) -> float | None:
    """Seconds after which a final pass is given up; None for never.

    Args:
        given: by the user; None for a limit by the estimate, which is far above it: something is
            wrong then, such as a server that does not answer.
        found: the estimate.
    """
    if given is not None or found.seconds is None:
        return given
    return max(LIMIT_FACTOR * found.seconds, LIMIT_SECONDS)
