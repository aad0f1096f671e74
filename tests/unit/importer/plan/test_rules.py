"""What a plan is by default."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.domains.domain import SourceNic
from importer.domains.inventory import Area
from importer.plan.file import problems
from importer.plan.hypervisor import Qemu
from importer.plan.model import DiskPlan, NicPlan
from importer.plan.rules import (
    GroupRules,
    Network,
    Target,
    VolumeGroup,
    choice,
    disks,
    draft,
    instance_name,
)
from tests.unit.importer.plan.planned import (
    DATA,
    DOMAIN,
    GIB,
    GROUPS,
    INVENTORY,
    MIB,
    QEMU,
    ROOT,
    RULES,
    SWAP,
    SWAP_UUID,
    drafted,
    facts,
    of_domain,
)


def planned(*sources: object, rules: GroupRules = RULES) -> tuple[DiskPlan, ...]:
    return disks(sources, ("web", "web.example.org"), "web.example.org", GROUPS, rules)  # type: ignore[arg-type]


def test_volumes_are_named_after_what_they_are_for() -> None:
    plan = drafted().plan
    assert [(disk.vg, disk.lv) for disk in plan.disks] == [
        ("vg_ganeti", "web.example.org-root"),
        ("vg_ganeti", "web.example.org-swap"),
        ("vg_ganeti_hdd", "web.example.org-lvm"),
    ]
    assert plan.disks[1].swap_uuid == SWAP_UUID
    assert plan.disks[0].swap_uuid is None


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/srv/web-data.qcow2", "data"),
        ("/srv/web.example.org-data.img", "data"),
        ("/srv/disk of web", "vdc"),
        ("/srv/web-", "vdc"),
        ("/srv/web-web-old.raw", "web-old"),
        ("/srv/root", "root-vdc"),
    ],
)
def test_odd_names_of_images_are_not_used(path: str, role: str) -> None:
    made = planned(facts(ROOT, GIB), facts(replace(DATA, path=path), GIB))
    assert made[1].lv == f"web.example.org-{role}"


def test_two_swap_areas_have_different_names() -> None:
    other = INVENTORY.disks[1]
    made = planned(
        INVENTORY.disks[0], other, replace(other, disk=replace(SWAP, target="vdd", path="/x"))
    )
    assert [disk.lv for disk in made[1:]] == ["web.example.org-swap", "web.example.org-swap-vdd"]


def test_the_first_rule_that_fits_chooses_the_group() -> None:
    rules = GroupRules(
        "vg_ganeti",
        by_name=(("vdc", "by-target"), ("*-lvm", "by-name")),
        larger=((10 * GIB, "big"), (100 * GIB, "huge")),
    )
    assert rules.group(DATA, "web-lvm", 1) == "by-target"
    assert rules.group(replace(DATA, target="vdd"), "web-lvm", 1) == "by-name"
    assert rules.group(ROOT, "a", 10 * GIB) == "vg_ganeti"
    assert rules.group(ROOT, "a", 10 * GIB + 1) == "big"
    assert rules.group(ROOT, "a", 200 * GIB) == "huge"


@given(st.integers(1, 1 << 50), st.sampled_from([1 << power for power in range(10, 34)]))
def test_a_volume_holds_its_disk_in_whole_extents_and_mib(size: int, extent: int) -> None:
    groups = {"vg": VolumeGroup("vg", extent, 0)}
    (made,) = disks((facts(ROOT, size),), (), "a", groups, GroupRules("vg"))
    assert made.volume_size % extent == made.volume_size % MIB == 0
    assert size <= made.volume_size < size + max(extent, MIB)


def test_memory_is_rounded_up_to_mib() -> None:
    assert drafted(of_domain(memory=GIB + 1)).plan.memory == GIB + MIB


def test_nics_get_what_is_given_in_their_order() -> None:
    two = of_domain(nics=(*DOMAIN.nics, SourceNic("52:54:00:6b:3c:59", "virtio", "br1")))
    network = Network(networks=("gnt-fsn",), links=("", "br7"), addresses=("198.51.100.7",))
    assert drafted(two, network=network).plan.nics == (
        NicPlan("52:54:00:6b:3c:58", "generate", "gnt-fsn", None, "198.51.100.7"),
        NicPlan("52:54:00:6b:3c:59", "generate", None, "br7", None),
    )


def test_a_nic_may_be_skipped() -> None:
    two = of_domain(nics=(*DOMAIN.nics, SourceNic("52:54:00:6b:3c:59", "virtio", "br1")))
    network = Network(networks=("", "gnt-fsn"), links=("br0",), addresses=("", "198.51.100.7"))
    assert [(nic.network, nic.link, nic.ip) for nic in drafted(two, network=network).plan.nics] == [
        (None, "br0", None),
        ("gnt-fsn", None, "198.51.100.7"),
    ]


def test_a_mac_is_kept_only_on_request_and_with_a_warning() -> None:
    draft = drafted(network=Network(keep_macs=True))
    assert draft.plan.nics[0].mac == "52:54:00:6b:3c:58"
    assert "only while the source is off" in draft.notes["nics[0]"][0]
    assert drafted().plan.nics[0].mac == "generate"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"disk_type": "paravirtual", "nic_type": "paravirtual"}),
        ({"disks": (replace(ROOT, bus="ide"),)}, {"disk_type": "ide"}),
        ({"disks": (replace(ROOT, bus="sata"),)}, {"disk_type": "ide"}),
        ({"disks": (replace(ROOT, bus="usb"),)}, {"disk_type": "paravirtual"}),
        (
            {"disks": (replace(ROOT, bus="scsi"),), "scsi_controller": "lsilogic"},
            {"disk_type": "scsi-hd", "scsi_controller_type": "lsi"},
        ),
        (
            {"disks": (replace(ROOT, bus="scsi"),), "scsi_controller": "lsisas1078"},
            {"disk_type": "scsi-hd", "scsi_controller_type": "megasas"},
        ),
        (
            {"disks": (replace(ROOT, bus="scsi"),)},
            {"disk_type": "scsi-hd", "scsi_controller_type": "virtio-scsi-pci"},
        ),
        ({"nics": (SourceNic("a", "rtl8139", ""),)}, {"nic_type": "rtl8139"}),
        ({"nics": (SourceNic("a", "e1000e", ""),)}, {"nic_type": "e1000"}),
        ({"nics": (SourceNic("a", "vmxnet3", ""),)}, {"nic_type": "paravirtual"}),
        ({"nics": ()}, {"nic_type": None}),
        ({"machine": "pc-i440fx-7.2"}, {"machine_version": "pc-i440fx-7.2"}),
        ({"machine": "pc-i440fx-jammy"}, {"machine_version": None}),
        ({"machine": "pc-q35-7.2"}, {"machine_version": None}),
        ({"cpu": "Skylake-Server-IBRS"}, {"cpu_type": "Skylake-Server-IBRS"}),
        ({"cpu": "Zen99"}, {"cpu_type": None}),
        ({"cpu": ""}, {"cpu_type": None}),
        ({"cpu": "host-model"}, {"cpu_type": "host"}),
        ({"has_agent": True}, {"use_guest_agent": "True"}),
        ({"has_local_time": True}, {"use_localtime": "True"}),
        ({"firmware": "uefi"}, {"kvm_extra": "-bios /usr/share/ovmf/OVMF.fd"}),
    ],
)
def test_hardware_follows_from_the_source(
    changes: dict[str, object], expected: dict[str, str | None]
) -> None:
    parameters = drafted(of_domain(**changes)).plan.hypervisor
    assert {name: parameters.get(name) for name in expected} == expected


def test_the_disk_type_is_that_of_the_root_disk() -> None:
    """The domain has its data disk first; the boot loader is on the other one."""
    data, root = replace(DATA, bus="virtio"), replace(ROOT, target="sda", bus="scsi")
    domain = replace(DOMAIN, disks=(data, root), scsi_controller="lsilogic")
    found = replace(INVENTORY, domain=domain, disks=(facts(root, GIB), facts(data, GIB)))
    made = drafted(found)
    assert made.plan.disks[0].target == "sda"
    assert made.plan.hypervisor["disk_type"] == "scsi-hd"
    assert made.plan.hypervisor["scsi_controller_type"] == "lsi"
    assert "those on virtio get other names" in made.notes["hypervisor.disk_type"][0]


def test_a_domain_without_a_disk_that_can_be_read() -> None:
    plan = drafted(of_domain(disks=())).plan
    assert plan.disks == () and "disk_type" not in plan.hypervisor
    assert list(problems(plan)) == ["disks: not 1 to 16"]


def test_a_cluster_without_kvm_has_no_host_cpu() -> None:
    slow = Qemu(QEMU.machines, QEMU.cpus, {"kvm_flag": "disabled"})
    assert drafted(of_domain(cpu="host-model"), qemu=slow).plan.hypervisor["cpu_type"] == "max"


def test_a_cluster_of_q35_gets_a_machine_that_ganeti_can_use() -> None:
    other = Qemu(QEMU.machines, QEMU.cpus, {"machine_version": "pc-q35-7.2"})
    made = drafted(of_domain(machine="pc-q35-7.2"), qemu=other)
    assert made.plan.hypervisor["machine_version"] == "pc"


@pytest.mark.parametrize(("size", "code"), [(540672, "OVMF_CODE_4M.fd"), (131072, "OVMF_CODE.fd")])
def test_uefi_variables_are_kept_with_the_firmware_of_their_size(size: int, code: str) -> None:
    source = of_domain(firmware="uefi", nvram="/nvram/web_VARS.fd")
    site = Qemu(QEMU.machines, QEMU.cpus, {"kvm_extra": "-smbios type=1"})
    plan = drafted(source, qemu=site, variables_size=size).plan
    assert plan.variables is not None and plan.variables.source == "/nvram/web_VARS.fd"
    assert plan.hypervisor["kvm_extra"] == (
        "-smbios type=1"
        f" -drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/{code}"
        f" -drive if=pflash,format=raw,unit=1,file={plan.variables.file}"
    )


@pytest.mark.parametrize(
    ("size", "why"), [(7, "/x: 7 bytes, for other firmware"), (0, "/x: there is no such file")]
)
def test_variables_of_an_unknown_size_are_not_used(size: int, why: str) -> None:
    made = drafted(of_domain(firmware="uefi", nvram="/x"), variables_size=size)
    assert made.plan.variables is None and "-bios" in made.plan.hypervisor["kvm_extra"]
    assert made.notes["hypervisor.kvm_extra"][-1] == f"variables on the KVM host, {why}"


def test_secure_boot_that_is_lost_is_noted() -> None:
    secure = of_domain(firmware="uefi", nvram="/x", has_secure_boot=True)
    notes = drafted(secure, variables_size=540672).notes["hypervisor.kvm_extra"]
    assert any("(Secure Boot)" in note for note in notes)


def test_what_ganeti_cannot_do_is_noted() -> None:
    notes = drafted(
        of_domain(
            disks=(replace(ROOT, bus="sata"), SWAP),
            nics=(*DOMAIN.nics, SourceNic("a", "e1000", "")),
            machine="pc-i440fx-jammy",
            cpu="Zen99",
            has_console=False,
        )
    ).notes
    said = " ".join(note for all_ in notes.values() for note in all_)
    for part in (
        "no disks on sata",
        "on virtio get other",
        "e1000, too",
        "jammy",
        "Zen99",
        "ttyS0",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("uuid", "label"), [("", ""), (SWAP_UUID, "a\x1b[2J"), (SWAP_UUID, "é" * 9)]
)
def test_a_swap_area_that_cannot_be_made_anew_is_copied(uuid: str, label: str) -> None:
    """Its header is the guest's: with this UUID or label, no plan would be valid."""
    odd = replace(INVENTORY.disks[1], areas=(Area(0, 2 * GIB, "swap", uuid, label),))
    root, _, data = INVENTORY.disks
    plan = drafted(replace(INVENTORY, disks=(root, odd, data))).plan
    assert (plan.disks[1].swap_uuid, plan.disks[1].swap_label) == (None, None)
    assert list(problems(plan)) == []


@pytest.mark.parametrize(
    ("domain", "node", "name"),
    [
        ("web", "node1.example.org", "web.example.org"),
        ("web.example.com", "node1.example.org", "web.example.com"),
        ("web", "node1", "web"),
        ("Web_1", "node1.example.org", "web_1.example.org"),
    ],
)
def test_the_instance_has_the_domain_of_the_node(domain: str, node: str, name: str) -> None:
    assert instance_name(domain, node) == name


def test_a_disk_is_counted_where_its_plan_has_it() -> None:
    """A pattern may match the name of the volume, which depends on the instance and on its role."""
    rules = GroupRules(
        "vg_ganeti",
        by_name=(("web.example.org-root", "roots"), ("*-swap", "swaps")),
        larger=((30 * GIB, "vg_ganeti_hdd"),),
    )
    groups = dict.fromkeys(("roots", "swaps", *GROUPS), GROUPS["vg_ganeti"])
    group = choice(rules, "node1.example.org")
    found = [group(INVENTORY, disk) for disk in INVENTORY.disks]
    assert found == ["roots", "swaps", "vg_ganeti_hdd"]
    target = Target("web.example.org", "node1.example.org", "debootstrap+default")
    made = draft(INVENTORY, "kvm1", target, groups, rules, Network(), QEMU)
    assert [disk.vg for disk in made.plan.disks] == found
