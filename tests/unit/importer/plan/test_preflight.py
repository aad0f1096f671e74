"""What would stop an import: each finding, and all at once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.domains.domain import Obstacle
from importer.domains.inventory import HostFacts
from importer.plan.cluster_answers import (
    Bounds,
    ClusterInfo,
    cluster_info,
    help_names,
    node_bridges,
    node_groups,
    reserved_addresses,
)
from importer.plan.cluster_checks import ClusterFacts, GanetiNetwork, NodeState
from importer.plan.model import ImportPlan, Variables
from importer.plan.preflight import Facts, findings
from importer.plan.rules import VolumeGroup
from node.errors import KitError
from node.finding import NOTE, OK, PROBLEM
from tests.unit.importer.plan.planned import (
    DOMAIN,
    GIB,
    GROUPS,
    HOST,
    INVENTORY,
    MIB,
    QEMU,
    ROOT,
    SWAP_UUID,
    UUID,
    drafted,
    facts,
)

PLAN = drafted().plan
BOUNDS = Bounds(
    {"disk-size": 1024, "memory-size": 128, "cpu-count": 1},
    {"disk-size": 1 << 20, "memory-size": 32768, "cpu-count": 8, "nic-count": 8, "disk-count": 16},
)
CLUSTER = ClusterFacts(
    info=ClusterInfo("vg_ganeti", frozenset({"plain", "drbd"}), (BOUNDS,)),
    instances=frozenset({"other.example.org"}),
    addresses=frozenset({"198.51.100.2"}),
    nodes={"node1.example.org": NodeState(16384, "default", usable=True)},
    networks={
        "gnt-fsn": GanetiNetwork(
            "198.51.100.0/24",
            "",
            251,
            frozenset({"default"}),
            frozenset({f"198.51.100.{each}" for each in (0, 1, 8, 9, 255)}),
            {"default": "br0", "other": "br7"},
            frozenset({"198.51.100.1"}),
        ),
        "full": GanetiNetwork("192.0.2.0/30", "", 0, frozenset({"default"})),
        "far": GanetiNetwork(
            *("192.0.2.0/24", "2001:db8::/64", 9, frozenset({"other"})),
            gateways=frozenset({"2001:db8::1"}),
        ),
    },
    oses=frozenset({"debootstrap+default"}),
    machines={
        "198.51.100.8": "the address of node node1.example.org",
        "198.51.100.7": "the address of a node in another network with that subnet",
    },
)
FACTS = Facts(
    node="node1.example.org",
    groups=GROUPS,
    volumes=frozenset({"vg_ganeti/else"}),
    qemu=QEMU,
    missing=(),
    cluster=CLUSTER,
    names=("192.0.2.7",),
    clock=0.2,
    links=frozenset({"lo", "br0"}),
)


def said(
    level: str, plan: object = PLAN, inventory: object = INVENTORY, known: object = FACTS
) -> str:
    found = findings(plan, inventory, known)  # type: ignore[arg-type]
    for each in found:
        assert bool(each.remedy) == (each.level != OK)
    return "\n".join(f"{each.about}: {each.text}" for each in found if each.level == level)


def test_the_order_of_the_plan_counts_for_the_boot_disk() -> None:
    """The remedy, to put another disk first, has to end the note."""
    swapped = replace(INVENTORY, disks=(INVENTORY.disks[2], *INVENTORY.disks[:2]))
    assert "no boot loader" not in said(NOTE, inventory=swapped)
    (found,) = (
        each
        for each in findings(replace(PLAN, disks=PLAN.disks[::-1]), INVENTORY, FACTS)
        if "no boot loader" in each.text
    )
    assert found.about == "disk vdc"
    assert found.remedy == "put the [[disks]] of vda first, which has one"


def test_paths_in_commands_are_quoted() -> None:
    odd = replace(facts(replace(ROOT, path="/srv/a b"), GIB), bad_bitmaps=("b",))
    found = findings(PLAN, replace(INVENTORY, disks=(odd,)), FACTS)
    assert any("qemu-img bitmap --remove '/srv/a b' NAME" in each.remedy for each in found)


def test_a_plan_that_fits_has_no_problems() -> None:
    assert said(PROBLEM) == ""
    assert said(NOTE) == "disk vdc: raw without bitmaps"
    assert "volume group vg_ganeti: needs 22 GiB, has 500 GiB free" in said(OK)


def host(**changes: object) -> object:
    return replace(INVENTORY, host=replace(HOST, **changes))  # type: ignore[arg-type]


def cluster(**changes: object) -> Facts:
    return replace(FACTS, cluster=replace(CLUSTER, **changes))  # type: ignore[arg-type]


def nic(**changes: object) -> object:
    return replace(PLAN, nics=(replace(PLAN.nics[0], **changes),))  # type: ignore[arg-type]


def disk(**changes: object) -> object:
    return replace(PLAN, disks=(replace(PLAN.disks[0], **changes), *PLAN.disks[1:]))  # type: ignore[arg-type]


def hardware(**parameters: str) -> ImportPlan:
    return replace(PLAN, hypervisor=parameters)


NODE = "node1.example.org"


@pytest.mark.parametrize(
    ("level", "changed", "text"),
    [
        (
            PROBLEM,
            {
                "inventory": replace(
                    INVENTORY, domain=replace(DOMAIN, obstacles=(Obstacle("a TPM", "remove it"),))
                )
            },
            "domain web: a TPM",
        ),
        (PROBLEM, {"plan": replace(PLAN, uuid="other")}, "domain web: its UUID is 6f2a"),
        (PROBLEM, {"plan": disk(size=7)}, "disk vda: has 21474836480 bytes now, the plan has 7"),
        (PROBLEM, {"plan": disk(target="vdz")}, "disk vdz: is gone"),
        (NOTE, {"plan": replace(PLAN, disks=PLAN.disks[:2])}, "disk vdc: not in the plan"),
        (
            NOTE,
            {"plan": replace(PLAN, disks=(PLAN.disks[2], *PLAN.disks[:2]))},
            "disk vdc: no boot loader found on it",
        ),
        (
            PROBLEM,
            {"plan": disk(path="/srv/old")},
            "disk vda: is /srv/vmstore/web/web-root now, the plan has /srv/old",
        ),
        (
            PROBLEM,
            {"plan": disk(format="raw", is_block=True)},
            "disk vda: is a file in qcow2 now, the plan has raw on a block device",
        ),
        (
            NOTE,
            {"plan": nic(network=None, ip=None, link="br1")},
            "NIC 0: this node has no bridge br1",
        ),
        (
            PROBLEM,
            {"known": replace(FACTS, links=frozenset({"lo"}))},
            "NIC 0: network gnt-fsn is connected to the bridge br0, which this node does not have",
        ),
        (
            PROBLEM,
            {"plan": disk(swap_uuid=SWAP_UUID)},
            "disk vda: the plan makes a new swap area of it and copies nothing, but none is",
        ),
        (
            NOTE,
            {"plan": replace(PLAN, disks=(replace(PLAN.disks[1], swap_uuid=UUID), *PLAN.disks))},
            f"disk vdb: its swap area has the UUID {SWAP_UUID}, the plan has {UUID}",
        ),
        (NOTE, {"plan": replace(PLAN, nics=())}, "NIC 52:54:00:6b:3c:58: not in the plan"),
        (
            NOTE,
            {"plan": nic(old_mac="52:54:00:00:00:99")},
            "NIC 52:54:00:00:00:99: the domain has none with this MAC address",
        ),
        (NOTE, {"inventory": replace(INVENTORY, snapshots=("s1",))}, "domain web: snapshots: s1"),
        (NOTE, {"inventory": host(libvirt=(6, 0, 0))}, "libvirt 6.0.0, QEMU 7.2.0: no incremental"),
        (NOTE, {"inventory": host(qemu=(5, 2, 0))}, "libvirt 9.0.0, QEMU 5.2.0: no incremental"),
        (PROBLEM, {"inventory": host(scratch_free=MIB)}, "1 MiB free; a full file system pauses"),
        (NOTE, {"inventory": host(scratch_free=2 * GIB)}, "less than a tenth of what is copied"),
        (
            NOTE,
            {
                "inventory": replace(
                    INVENTORY,
                    disks=(
                        replace(facts(ROOT, 20 * GIB), bad_bitmaps=("b1", "b2")),
                        *INVENTORY.disks[1:],
                    ),
                )
            },
            "disk vda: inconsistent bitmaps: b1, b2",
        ),
        (NOTE, {"known": replace(FACTS, clock=-42.3)}, "42 s behind this node's"),
        (
            PROBLEM,
            {"known": replace(FACTS, volumes=frozenset({"vg_ganeti/web.example.org-root"}))},
            "volume vg_ganeti/web.example.org-root: the name is taken",
        ),
        (
            PROBLEM,
            {"known": replace(FACTS, groups={})},
            "volume group vg_ganeti: this node has none",
        ),
        (
            PROBLEM,
            {"known": replace(FACTS, groups={**GROUPS, "vg_ganeti": VolumeGroup("", MIB, GIB)})},
            "volume group vg_ganeti: needs 22 GiB, has 1 GiB free",
        ),
        (PROBLEM, {"plan": disk(volume_size=20 * GIB + MIB)}, "no whole extents of 4 MiB"),
        (
            PROBLEM,
            {
                "plan": replace(
                    PLAN, disks=(*PLAN.disks, *PLAN.disks), hypervisor={"disk_type": "ide"}
                )
            },
            "disk_type ide: 6 disks, and QEMU has 4 on IDE",
        ),
        (
            PROBLEM,
            {"plan": hardware(machine_version="pc-1")},
            "machine_version pc-1",
        ),
        (PROBLEM, {"plan": hardware(cpu_type="Zen9,x")}, "cpu_type Zen9: "),
        (NOTE, {"plan": hardware(disk_type="virtio")}, "disk_type virtio: no value that Ganeti is"),
        (
            NOTE,
            {
                "plan": hardware(disktype="ide"),
                "known": replace(FACTS, qemu=replace(QEMU, cluster={"disk_type": "ide"})),
            },
            "hypervisor parameter disktype: the cluster has none of that name",
        ),
        (
            PROBLEM,
            {
                "plan": hardware(cpu_type="host"),
                "known": replace(FACTS, qemu=replace(QEMU, cluster={})),
            },
            "cpu_type host: the cluster does not use KVM",
        ),
        (
            PROBLEM,
            {"known": replace(FACTS, missing=("/x.fd",))},
            "/x.fd: not on this node",
        ),
        (
            NOTE,
            {
                "plan": replace(PLAN, variables=Variables("/a", "/b")),
                "known": replace(FACTS, qemu=replace(QEMU, cluster={"security_model": "pool"})),
            },
            "UEFI variables /b: QEMU runs as another user (security_model pool)",
        ),
        (NOTE, {"known": replace(FACTS, names=())}, "DNS of web.example.org: no address"),
        (
            PROBLEM,
            {"known": replace(FACTS, cluster=KitError("ssh: refused", "go there"))},
            "cluster: ssh: refused",
        ),
        (PROBLEM, {"plan": replace(PLAN, node="node9")}, "node node9: this is node1.example.org"),
        (
            PROBLEM,
            {"plan": replace(PLAN, node="node9")},
            "node9: Ganeti has none of that name",
        ),
        (
            PROBLEM,
            {"known": cluster(instances=frozenset({"web.example.org"}))},
            "instance web.example.org: Ganeti has one of that name",
        ),
        (
            PROBLEM,
            {"known": cluster(info=ClusterInfo("x", frozenset({"drbd"}), ()))},
            "disk template plain: not enabled",
        ),
        (PROBLEM, {"plan": replace(PLAN, os="debootstrap")}, "OS debootstrap: not installed"),
        (
            PROBLEM,
            {"known": cluster(nodes={NODE: NodeState(2047, "default", usable=True)})},
            "2047 MiB of memory free, 2048 MiB needed",
        ),
        (
            NOTE,
            {"known": cluster(nodes={NODE: NodeState(None, "default", usable=True)})},
            "does not say how much memory",
        ),
        (
            PROBLEM,
            {"known": cluster(nodes={NODE: NodeState(9999, "default", usable=False)})},
            "offline, drained",
        ),
        (
            PROBLEM,
            {"plan": disk(volume_size=512 * MIB, size=512 * MIB)},
            "instance policy of the cluster: disk-size 512 is not in 1024..1048576",
        ),
        (NOTE, {"plan": nic(network=None, ip=None)}, "NIC 0: neither network nor link"),
        (PROBLEM, {"plan": nic(network="none")}, "NIC 0: Ganeti has no network none"),
        (PROBLEM, {"plan": nic(network="full")}, "NIC 0: no free address in full"),
        (PROBLEM, {"plan": nic(network="far")}, "network far is not connected to the node's group"),
        (PROBLEM, {"plan": nic(ip="192.0.2.1")}, "NIC 0: 192.0.2.1 is not in 198.51.100.0/24"),
        (PROBLEM, {"plan": nic(ip="198.51.100.2")}, "NIC 0: 198.51.100.2: an instance has it"),
        (
            PROBLEM,
            {"plan": nic(ip="198.51.100.9")},
            "NIC 0: 198.51.100.9 is reserved in network gnt-fsn for what is no instance",
        ),
        (
            PROBLEM,
            {"plan": nic(ip="198.51.100.1")},
            "198.51.100.1 is the gateway of network gnt-fsn",
        ),
        (
            PROBLEM,
            {"plan": nic(network="far", ip="2001:db8:0::1")},
            "is the gateway of network far",
        ),
        (PROBLEM, {"plan": nic(ip="198.51.100.0")}, "is the first or last address of network"),
        (PROBLEM, {"plan": nic(ip="198.51.100.255")}, "is the first or last address of network"),
        (PROBLEM, {"plan": nic(ip="198.51.100.8")}, "is the address of node node1.example.org"),
        (OK, {"plan": nic(ip="198.51.100.7")}, "NIC 0: 198.51.100.7 is free"),
        (OK, {"plan": nic(ip="198.51.100.3")}, "NIC 0: 198.51.100.3 is free"),
        (OK, {"plan": nic(network="far", ip="2001:db8::7")}, "NIC 0: 2001:db8::7 is free"),
    ],
)
def test_each_finding(level: str, changed: dict[str, object], text: str) -> None:
    assert text in said(level, **changed)


@pytest.mark.parametrize(
    ("last", "is_freed"), [(0, False), (1, False), (8, False), (9, True), (255, False)]
)
def test_only_an_unknown_reservation_may_be_removed(last: int, is_freed: bool) -> None:
    """Ganeti would give the gateway's address to an instance."""
    found = findings(nic(ip=f"198.51.100.{last}"), INVENTORY, cluster())
    (remedy,) = [each.remedy for each in found if each.about == "NIC 0" and each.level == PROBLEM]
    assert remedy.startswith("another ip, or pool")
    assert ("--remove-reserved-ips" in remedy) == is_freed


def test_what_this_import_made_is_no_problem() -> None:
    names = {f"{each.vg}/{each.lv}" for each in PLAN.disks}
    known = replace(
        cluster(
            instances=frozenset({"web.example.org"}),
            networks={"gnt-fsn": GanetiNetwork("198.51.100.0/24", "", 0, frozenset({"default"}))},
        ),
        volumes=frozenset(names),
        groups={},
        ours=frozenset({"web.example.org", *names}),
    )
    assert said(PROBLEM, known=known) == ""


def test_a_policy_may_be_ignored_or_have_several_bounds() -> None:
    small = disk(volume_size=512 * MIB, size=512 * MIB)
    assert "policy" not in said(PROBLEM, replace(small, ignore_ipolicy=True))  # type: ignore[type-var]
    info = replace(CLUSTER.info, bounds=(BOUNDS, Bounds({}, {})))
    assert "policy" not in said(PROBLEM, small, known=cluster(info=info))


def test_all_problems_are_found_at_once() -> None:
    bad = replace(PLAN, os="x", node="y", disks=(replace(PLAN.disks[0], vg="z"),))
    lines = said(PROBLEM, bad).splitlines()
    assert len(lines) == 4


def test_the_cluster_s_answers_are_parsed() -> None:
    printed = """Cluster name: cluster.example.org
Cluster parameters:
  lvm volume group: vg_ganeti
  enabled disk templates: plain, drbd
Instance policy - limits for instances:
  bounds specs:
    - min/0:
        disk-size: 1024
        memory-size: 128
      max/0:
        disk-size: 1048576
    - min/1:
        disk-size: 1
      max/1:
        disk-size: 7
  std:
    disk-size: 99
"""
    assert cluster_info(printed) == ClusterInfo(
        "vg_ganeti",
        frozenset({"plain", "drbd"}),
        (
            Bounds({"disk-size": 1024, "memory-size": 128}, {"disk-size": 1048576}),
            Bounds({"disk-size": 1}, {"disk-size": 7}),
        ),
    )
    assert cluster_info("lvm volume group: None\n").group is None
    assert node_groups("default (bridged, gnt0, ), two words (routed, , )") == {
        "default",
        "two words",
    }
    assert node_groups("-") == frozenset()
    listed = "default (bridged, gnt0, ), two words (routed, , ), c (bridged, br 1, 7)"
    assert node_bridges(listed) == {"default": "gnt0", "c": "br 1"}
    assert node_bridges("-") == {}
    assert reserved_addresses("192.0.2.0, 192.0.2.1,192.0.2.255") == {
        "192.0.2.0",
        "192.0.2.1",
        "192.0.2.255",
    }
    assert reserved_addresses("-") == frozenset()


@given(st.permutations(["min/0", "max/0", "min/1", "max/1"]))
def test_bounds_of_a_policy_are_parsed_in_any_order(order: list[str]) -> None:
    """Ganeti prints the keys of a dict: a run may have max/0 before min/0."""
    figures = {"min/0": 1024, "max/0": 1048576, "min/1": 1, "max/1": 7}
    blocks = [
        f"    {'- ' if number % 2 == 0 else '  '}{name}:\n        disk-size: {figures[name]}\n"
        for number, name in enumerate(order)
    ]
    printed = f"  bounds specs:\n{''.join(blocks)}  std:\n    disk-size: 99\n"
    assert cluster_info(printed).bounds == (
        Bounds({"disk-size": 1024}, {"disk-size": 1048576}),
        Bounds({"disk-size": 1}, {"disk-size": 7}),
    )


def test_lists_of_qemu_are_parsed() -> None:
    assert help_names("Supported machines are:\npc   PC\nq35  Q35 (default)\n") == {"pc", "q35"}
    old = "x86 Broadwell  (alias)\nx86 host  all features\n\nRecognized CPUID flags:\n  avx aes\n"
    assert help_names(f"Available CPUs:\n{old}") == {"Broadwell", "host"}
    assert "EPYC" in help_names("Available CPUs:\n  EPYC   (alias)\n")


def test_a_host_without_backups_needs_no_scratch_files() -> None:
    old = HostFacts("kvm1", (6, 0, 0), (4, 0, 0), 0)
    assert said(PROBLEM, inventory=replace(INVENTORY, host=old)) == ""


@pytest.mark.parametrize("is_copied", [True, False])
def test_a_swap_area_that_the_plan_copies_is_a_disk_like_others(is_copied: bool) -> None:
    root, swap, data = INVENTORY.disks
    inventory = replace(INVENTORY, disks=(root, replace(swap, keeps_bitmaps=False), data))
    planned = replace(PLAN.disks[1], **({"swap_uuid": None} if is_copied else {}))  # type: ignore[arg-type]
    plan = replace(PLAN, disks=(PLAN.disks[0], planned, PLAN.disks[2]))
    found = said(NOTE, plan, inventory)
    assert ("disk vdb: qcow2 without bitmaps" in found) == is_copied
