"""The decision table: how each disk is read and copied."""

from dataclasses import replace
from typing import Literal

import pytest

from importer.copying.methods import (
    FIXED_SECONDS,
    DiskWork,
    Estimate,
    Situation,
    Work,
    estimate,
    has_jobs,
    limit,
    work,
    work_of,
)
from importer.plan.model import DiskPlan

GIB = 1 << 30
VDA = DiskPlan("vda", "/srv/a.qcow2", "qcow2", False, 10 * GIB, "xenvg", "web-root", 10 * GIB)
VDB = DiskPlan("vdb", "/dev/vg/b", "raw", True, 20 * GIB, "xenvg", "web-srv", 20 * GIB)
SWAP = DiskPlan("vdc", "/srv/c", "raw", False, GIB, "xenvg", "web-swap", GIB, "uuid", "")


@pytest.mark.parametrize(
    ("is_on", "jobs", "copied", "usable", "reading", "how"),
    [
        (True, True, False, False, "job", "all"),
        (True, True, False, True, "job", "all"),
        (True, True, True, True, "job", "changes"),
        (True, True, True, False, "job", "compare"),
        (True, False, False, False, "image", "all"),
        (True, False, True, False, "image", "compare"),
        # QEMU has the image open, so that the bitmap in it is not the present one.
        (True, False, True, True, "image", "compare"),
        (False, True, False, False, "image", "all"),
        (False, True, True, True, "image", "changes"),
        (False, True, True, False, "image", "compare"),
        (False, False, True, True, "image", "changes"),
        (False, False, True, False, "image", "compare"),
    ],
)
def test_the_table(
    is_on: bool, jobs: bool, copied: bool, usable: bool, reading: str, how: str
) -> None:
    targets = frozenset({"vda"})
    now = Situation(
        is_on,
        jobs,
        copied=targets if copied else frozenset(),
        checkpoint="point-1" if usable else "",
        usable=targets if usable else frozenset(),
    )
    decided = work_of(VDA, now)
    assert (decided.reading, decided.work) == (reading, how)
    assert decided.since == ("point-1" if how == "changes" else "")


def test_a_raw_disk_is_compared_in_the_job_in_which_another_one_is_incremental() -> None:
    now = Situation(True, True, frozenset({"vda", "vdb"}), "point-1", frozenset({"vda"}))
    assert [(each.disk.target, each.work) for each in work([VDA, VDB], now)] == [
        ("vda", "changes"),
        ("vdb", "compare"),
    ]


@pytest.mark.parametrize(
    ("is_block", "image", "how", "by_agent"),
    [
        (True, "raw", "all", True),  # its NBD server knows of no holes
        (False, "raw", "all", False),
        (True, "qcow2", "all", False),
        (True, "qcow2", "changes", False),
        (True, "raw", "compare", True),
        (False, "qcow2", "compare", True),
    ],
)
def test_who_reads(
    is_block: bool, image: Literal["raw", "qcow2"], how: Work, by_agent: bool
) -> None:
    disk = replace(VDB, is_block=is_block, format=image)
    assert DiskWork(disk, "job", how).by_agent is by_agent


def test_swap_is_never_copied() -> None:
    assert work([SWAP], Situation(True, True)) == ()


@pytest.mark.parametrize(
    ("libvirt", "qemu", "expected"),
    [
        ((7, 0, 0), (5, 2, 0), False),  # Debian 11
        ((7, 6, 0), (6, 0, 0), False),
        ((7, 5, 0), (6, 1, 0), False),
        ((7, 6, 0), (6, 1, 0), True),
        ((9, 0, 0), (7, 2, 22), True),  # Debian 12
    ],
)
def test_versions_with_backup_jobs(
    libvirt: tuple[int, int, int], qemu: tuple[int, int, int], expected: bool
) -> None:
    assert has_jobs(libvirt, qemu) is expected


def test_the_estimate_adds_what_is_dirty_and_what_is_compared() -> None:
    works = [DiskWork(VDA, "job", "changes", "point-1"), DiskWork(VDB, "job", "compare")]
    found = estimate(works, {"vda": 100 << 20}, 50 << 20, 1 << 30)
    assert found == Estimate(100 << 20, 20 * GIB, FIXED_SECONDS + 2 + 20)


def test_the_estimate_knows_no_seconds_without_a_rate_that_it_needs() -> None:
    works = [DiskWork(VDA, "job", "changes", "point-1")]
    assert estimate(works, {"vda": 1}, None, 1.0).seconds is None
    assert estimate(works, {"vda": 0}, None, None).seconds == FIXED_SECONDS
    assert estimate([replace(works[0], work="all")], {}, 1 << 30, None).seconds == 11.0


@pytest.mark.parametrize(
    ("given", "seconds", "expected"),
    [
        (5, 1.0, 5),
        (5, None, 5),
        (None, 1.0, 300.0),
        (None, 30.0, 300.0),
        (None, 31.0, 310.0),
        (None, None, None),  # any limit could end a pass with which nothing is wrong
    ],
)
def test_the_limit_is_given_or_far_above_the_estimate(
    given: int | None, seconds: float | None, expected: float | None
) -> None:
    assert limit(given, Estimate(1, 1, seconds)) == expected
