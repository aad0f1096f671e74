"""What remains, against tests/data/golden/importer/finish-*.md.

After a wanted change: GOLDEN_WRITE=1 pytest …, and read the diff.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from importer import finish
from importer.import_state import ImportState, NicAddresses, Pass
from importer.plan.model import DiskPlan, ImportPlan, NicPlan, Variables
from importer.retiring import Source

GOLDEN = Path(__file__).parents[2] / "data/golden/importer"
GIB = 1 << 30
PLAN = ImportPlan(
    host="root@kvm1.example.org",
    domain="web",
    uuid="6f2a5f4e-6f26-4c1a-bd53-3a7a3a0e9a10",
    instance="web.example.org",
    node="node1.example.org",
    os="debootstrap+default",
    vcpus=2,
    memory=2 * GIB,
    disks=(
        DiskPlan("vda", "/srv/web-root", "qcow2", False, GIB, "vg_ganeti", "web-root", GIB),
        DiskPlan("vdb", "/dev/kvmvg/web-lvm", "raw", True, GIB, "vg_hdd", "web-lvm", GIB),
    ),
    nics=(NicPlan("52:54:00:6b:3c:58", "generate", "gnt-fsn", None, "pool"),),
)
RENAMED = replace(PLAN, domain="old.example.org")
BEGUN = ImportState(PLAN.instance, PLAN.host, PLAN.domain, PLAN.uuid, "", 0.0)
MOVED = replace(
    BEGUN,
    steps={**dict.fromkeys(finish.STEPS, 1000.0), "start": 1250.0},
    passes=(
        Pass(1, False, "kit-1", 1.0, complete=True),
        Pass(2, True, "kit-2", 2.0, complete=True, downtime=41.5),
    ),
    stopped_by_us="shut down",
    addresses=(
        NicAddresses(
            0,
            ("192.0.2.10", "2001:db8:aaaa::10"),
            ("198.51.100.2", "2001:db8:0:4f:a800:ff:fe00:1"),
        ),
        NicAddresses(1, ("10.20.30.40",), ("10.99.0.40",)),
    ),
)
SAME = replace(MOVED, addresses=(NicAddresses(0, ("192.0.2.10",), ("192.0.2.10",)),))
FROM_DHCP = replace(MOVED, addresses=(NicAddresses(0, (), ("198.51.100.2",)),))
# As `renumber` notes a NIC that uses DHCP; the other one has moved.
BY_DHCP = replace(MOVED, addresses=(NicAddresses(0, (), ()),))
BOTH = replace(MOVED, addresses=(*BY_DHCP.addresses, MOVED.addresses[1]))
TRIAL = replace(
    MOVED.without_step("final copy"), passes=MOVED.passes[:1], stopped_by_us=None
).with_step("add")
STOPPED = MOVED.without_step("start")
SUSPENDED = replace(
    MOVED, stopped_by_us="suspended", source_directory="/var/lib/libvirt/qemu/kit-import.x"
)

OFF = Source("shut off")
STATES = {
    "begun": (PLAN, BEGUN, Source()),
    "trial": (PLAN, TRIAL, Source()),
    "stopped": (PLAN, STOPPED, Source()),
    "moved": (PLAN, MOVED, OFF),
    "same-addresses": (PLAN, SAME, OFF),
    "from-dhcp": (PLAN, FROM_DHCP, OFF),
    "by-dhcp": (PLAN, BY_DHCP, OFF),
    "dhcp-and-moved": (PLAN, BOTH, OFF),
    "renamed": (RENAMED, MOVED, OFF),
    "renamed-from-dhcp": (RENAMED, FROM_DHCP, OFF),
    "leftovers": (
        replace(PLAN, domain="web 1", variables=Variables("/a", "/b")),
        SUSPENDED,
        Source("paused", ("kit-1", "kit-2")),
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_golden(name: str) -> None:
    text = finish.text(*STATES[name], "web.toml") + "\n"
    path = GOLDEN / f"finish-{name}.md"
    if os.environ.get("GOLDEN_WRITE"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", STATES)
def test_no_command_deletes_a_disk(name: str) -> None:
    text = finish.text(*STATES[name], "web.toml")
    for word in ("rm ", "lvremove", "--remove-all-storage", "--storage", "vol-delete", "wipefs"):
        assert word not in text


@pytest.mark.parametrize(
    ("state", "source"),
    [
        *((state, Source("running", ("kit-1",))) for state in (BEGUN, TRIAL, STOPPED, MOVED)),
        *((state, Source("in shutdown")) for state in (TRIAL, STOPPED, SUSPENDED)),
        *((state, Source()) for state in (TRIAL, STOPPED, SUSPENDED)),
        *((state, Source("paused", ("kit-1",))) for state in (TRIAL, STOPPED)),
    ],
)
def test_no_command_ends_a_domain_that_may_be_in_use(state: ImportState, source: Source) -> None:
    """Before the switch, or when somebody has gone back to it, or when nobody knows."""
    text = finish.text(PLAN, state, source, "web.toml")
    assert "virsh" not in text


@pytest.mark.parametrize("domain", ["old.example.org", "web 1", "web1"])
def test_no_old_record_is_made_up(domain: str) -> None:
    """The instance may have a name that there was not before."""
    plan = replace(PLAN, domain=domain)
    for state in (MOVED, TRIAL, FROM_DHCP, BY_DHCP, BOTH):
        text = finish.text(plan, state, OFF, "web.toml")
        assert "web.example.org. 300 IN A 192.0.2.10" not in text
        assert "dig web.example.org." not in text
        assert "The guest's own host name stays as it was" in text


@pytest.mark.parametrize("domain", ["web", "Web", "web.example.org"])
def test_a_guest_that_keeps_its_name_has_old_records(domain: str) -> None:
    text = finish.text(replace(PLAN, domain=domain), MOVED, OFF, "web.toml")
    assert "    web.example.org. 300 IN A 192.0.2.10" in text
    assert "own host name" not in text


def test_the_way_back_by_hand() -> None:
    """`run switch` has run `finish` already, and `abort` does not go back after it."""
    text = finish.text(PLAN, MOVED, OFF, "web.toml")
    shutdown, start = (text.index(each) for each in ("gnt-instance shutdown web", "system start "))
    assert shutdown < start
    assert "resume" not in text
    text = finish.text(PLAN, SUSPENDED, Source("paused"), "web.toml")
    words = ("gnt-instance shutdown web", "system resume ", "system domfsthaw ", "system start ")
    found = [text.index(each) for each in (*words, "system destroy ")]
    assert found == sorted(found)
    for state in (BEGUN, TRIAL, STOPPED):
        assert "by hand" not in finish.text(PLAN, state, OFF, "web.toml")


def test_nothing_has_moved_before_the_start() -> None:
    for state in (BEGUN, TRIAL, STOPPED):
        text = finish.text(PLAN, state, Source(), "web.toml")
        assert "has moved" not in text and "Subject: web.example.org will move" in text


@pytest.mark.parametrize(
    ("started", "downtime", "said"),
    [
        (1250.0, 41.5, "5 minutes"),
        (1001.0, 0.4, "2 seconds"),
        (1002.0, 117.0, "119 seconds"),
        (1002.0, 118.0, "2 minutes"),
        (1000.0 + 3 * 86400, 1.0, "72 hours"),
        (1250.0, None, None),  # the source was off, since when is not known
        (999.0, 41.5, None),  # the clock was set
    ],
)
def test_the_announcement_has_the_time_from_the_stop_to_the_start(
    started: float, downtime: float | None, said: str | None
) -> None:
    """Not that of the copy alone: the guest is renumbered, checked and started after it."""
    last = replace(MOVED.passes[-1], downtime=downtime)
    state = replace(MOVED, passes=(MOVED.passes[0], last))
    state = replace(state, steps={**state.steps, "start": started})
    text = finish.text(PLAN, state, OFF, "web.toml")
    assert ("It was down" in text) == (said is not None)
    assert said is None or f"It was down for about {said}." in text


def test_complete() -> None:
    assert finish.complete(MOVED)
    assert not finish.complete(MOVED.without_step("start"))
    assert not finish.complete(MOVED.without_step("final copy"))


def test_a_guest_that_was_prepared_by_hand_is_complete() -> None:
    """Such as an encrypted one, which cannot be renumbered or checked."""
    state = MOVED.without_step("renumber", "check")
    assert finish.complete(state)
    assert "Not done yet" not in finish.text(PLAN, state, OFF, "web.toml")
    stopped = state.without_step("start")
    text = finish.text(PLAN, stopped, OFF, "'my web.toml'")
    assert "- start: `instance-kit import adopt 'my web.toml' --start`" in text
    assert "- renumber: `instance-kit import renumber web.example.org`" in text
