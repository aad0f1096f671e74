"""The pure parts of the import's bench: goals, figures, and what changes on the machine's disk."""

import sys
from statistics import median

import pytest

from bench import goals, layout

# Its modules import each other by their names alone, as programs of one directory do.
sys.modules.setdefault("goals", goals)
sys.modules.setdefault("layout", layout)

from bench import import_goals, import_machine  # noqa: E402
from bench.import_goals import BITMAP, COMPARISON, Transfer  # noqa: E402
from bench.import_machine import LENGTHS, Machine  # noqa: E402
from importer.plan.file import parse  # noqa: E402

MIB = 1 << 20


def transfer(first: float, downtime: float | None = None, spool: int = 0) -> Transfer:
    last = None if downtime is None else downtime + 1
    return Transfer(first, last, downtime, 2_000_000, 30_000, 2 if last else 1, spool)


def rows(method: str, **found: Transfer) -> list[str]:
    names = {"seed": "rsync + convert", "nbdcopy": "nbdcopy", "tuned": "nbdcopy tuned"}
    named = {names.get(name, name): each for name, each in found.items()}
    return import_goals.rows({method: named})


@pytest.mark.parametrize(
    ("method", "seconds", "ratio"), [(BITMAP, 20.0, "20.00"), (COMPARISON, 3.0, " 3.00")]
)
def test_the_goal_of_the_downtime_depends_on_the_method(
    method: str, seconds: float, ratio: str
) -> None:
    ours = transfer(10.0, 1.0)
    first = rows(method, ours=ours, seed=transfer(20.0, seconds))[0]
    assert first.startswith(f"{method:12}downtime: times shorter than rsync + convert")
    assert first.endswith(f"{ratio}  >= {ratio.strip()}  met")
    assert rows(method, ours=ours, seed=transfer(20.0, seconds - 0.1))[0].endswith("missed")


def test_the_first_pass_is_compared_with_rsync_and_convert() -> None:
    met = rows(BITMAP, ours=transfer(10.0, 1.0), seed=transfer(20.0, 30.0))[1]
    assert "first pass: times faster than rsync + convert" in met
    assert met.endswith(" 2.00  >= 2.00  met")
    assert rows(BITMAP, ours=transfer(10.0, 1.0), seed=transfer(19.9, 30.0))[1].endswith("missed")


def test_the_first_pass_is_compared_with_the_faster_nbdcopy() -> None:
    found = rows(BITMAP, ours=transfer(10.0, 1.0), nbdcopy=transfer(9.5), tuned=transfer(8.9))
    assert "first pass: speed / best (nbdcopy tuned)" in found[0]
    assert found[0].endswith(" 0.89  >= 0.90  missed")


def test_a_spool_of_ours_is_a_miss_and_a_journal_is_none() -> None:
    def spool(size: int) -> str:
        (row,) = rows(COMPARISON, ours=transfer(10.0, 1.0, size))
        return row

    assert spool(MIB - 1).endswith(" 0.00  <= 0.00  met")
    assert spool(MIB).endswith(" 1.00  <= 0.00  missed")


def test_without_ours_there_are_no_goals() -> None:
    assert rows(BITMAP, seed=transfer(20.0, 30.0)) == []


def test_medians_are_of_each_figure_and_the_largest_spool_counts() -> None:
    found = import_goals.combined(
        [transfer(3.0, 9.0, 5), transfer(1.0, 7.0, 8), transfer(2.0, 8.0, 6)], median
    )
    assert found == Transfer(2.0, 9.0, 8.0, 2_000_000, 30_000, 2, 8)
    assert import_goals.combined([transfer(3.0)], median).downtime is None


def test_the_table_has_a_row_for_each_contender() -> None:
    found = {BITMAP: {"ours": transfer(10.0, 0.8), "nbdcopy": transfer(9.0)}}
    head, ours, nbdcopy = import_goals.table(found)
    assert head.split() == [
        *("first", "last", "downtime", "MB", "first", "MB", "later", "passes", "MiB", "spool")
    ]
    assert ours.split() == ["bitmap", "ours", "10.00", "1.80", "0.80", "2.0", "0.0", "2", "0"]
    assert nbdcopy.split() == ["bitmap", "nbdcopy", "9.00", "-", "-", "2.0", "0.0", "1", "0"]
    assert len(head) == len(ours) == len(nbdcopy)


@pytest.mark.parametrize("size", [64 * MIB, 256 * MIB, 2048 * MIB])
def test_a_hundredth_of_the_disk_changes(size: int) -> None:
    ranges = import_machine.changes(size, 1)
    assert sum(length for _, length in ranges) == size // 100 // LENGTHS[0] * LENGTHS[0]
    ends = [0, *(start + length for start, length in ranges)]
    assert all(start >= end for (start, _), end in zip(ranges, ends, strict=False))
    assert ends[-1] <= size
    assert all(value % LENGTHS[0] == 0 for each in ranges for value in each)
    assert ranges == import_machine.changes(size, 1)
    assert ranges != import_machine.changes(size, 2)


def test_what_is_written_is_read_back() -> None:
    machine = Machine("m", "qcow2", 64 * MIB)
    assert import_machine.writes(machine, [(0, 65536), (131072, 65536)], 7) == (
        "set -e\n"
        "virsh --quiet qemu-monitor-command m --hmp"
        " 'qemu-io -d virtio-disk0/virtio-backend \"write -P 7 0 65536\"'\n"
        "virsh --quiet qemu-monitor-command m --hmp"
        " 'qemu-io -d virtio-disk0/virtio-backend \"write -P 7 131072 65536\"'\n"
        "qemu-io -r -U -f qcow2 -c 'read -P 7 0 65536' -c 'read -P 7 131072 65536'"
        " /var/lib/libvirt/images/m.qcow2\n"
    )


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_the_plan_is_of_the_machine(image_format: str) -> None:
    machine = Machine("m", "raw" if image_format == "raw" else "qcow2", 64 * MIB)
    plan = parse(import_machine.plan(machine, "kvm1.example.org"))
    assert (plan.domain, plan.uuid, plan.instance) == ("m", machine.uuid, "m.example.org")
    (disk,) = plan.disks
    assert (disk.path, disk.format, disk.volume_size) == (machine.image, image_format, 64 * MIB)
    assert machine.volume == f"/dev/{disk.vg}/{disk.lv}"
    assert machine.uuid in import_machine.domain_xml(machine)
