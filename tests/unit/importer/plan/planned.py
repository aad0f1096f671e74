"""Inventories and plans for the tests of plans."""

from dataclasses import replace

from importer.domains.domain import Domain, SourceDisk, SourceNic
from importer.domains.inventory import Area, DiskFacts, HostFacts, Inventory
from importer.plan.hypervisor import Qemu
from importer.plan.rules import Draft, GroupRules, Network, Target, VolumeGroup, draft

GIB = 1 << 30
MIB = 1 << 20
UUID = "6f2a5f4e-6f26-4c1a-bd53-3a7a3a0e9a10"
SWAP_UUID = "484b5c2e-6f4b-4f6e-8491-9353d4f94e04"
TARGET = Target("web.example.org", "node1.example.org", "debootstrap+default")
GROUPS = {
    "vg_ganeti": VolumeGroup("vg_ganeti", 4 * MIB, 500 * GIB),
    "vg_ganeti_hdd": VolumeGroup("vg_ganeti_hdd", 4 * MIB, 4000 * GIB),
}
RULES = GroupRules("vg_ganeti", by_name=(("*-lvm", "vg_ganeti_hdd"),))
NETWORK = Network(networks=("gnt-fsn",))
QEMU = Qemu(
    frozenset({"pc", "q35", "pc-i440fx-7.2", "pc-q35-7.2"}),
    frozenset({"Skylake-Server-IBRS", "qemu64", "host", "max"}),
    {"kvm_flag": "enabled", "machine_version": "", "kvm_extra": "", "cpu_type": ""},
)
ROOT = SourceDisk("vda", "virtio", "qcow2", "/srv/vmstore/web/web-root", is_block=False)
SWAP = SourceDisk("vdb", "virtio", "qcow2", "/srv/vmstore/web/web-swap.qcow2", is_block=False)
DATA = SourceDisk("vdc", "virtio", "raw", "/dev/kvmvg/web-lvm", is_block=True)
DOMAIN = Domain(
    name="web",
    uuid=UUID,
    vcpus=2,
    memory=2 * GIB,
    firmware="bios",
    machine="pc-i440fx-7.2",
    cpu="Skylake-Server-IBRS",
    disks=(ROOT, SWAP, DATA),
    nics=(SourceNic("52:54:00:6b:3c:58", "virtio", "br0"),),
    has_console=True,
    has_agent=False,
)
HOST = HostFacts("kvm1.example.org", (9, 0, 0), (7, 2, 0), 100 * GIB)


def facts(disk: SourceDisk, size: int, *areas: Area) -> DiskFacts:
    return DiskFacts(
        disk, size, size // 2, None, areas, boots=disk is ROOT, keeps_bitmaps=disk.format == "qcow2"
    )


INVENTORY = Inventory(
    HOST,
    DOMAIN,
    "running",
    (
        facts(ROOT, 20 * GIB, Area(MIB, 20 * GIB - MIB, "ext4", UUID, "")),
        facts(SWAP, 2 * GIB, Area(0, 2 * GIB, "swap", SWAP_UUID, "swap")),
        facts(DATA, 40 * GIB + 512),
    ),
)


def drafted(
    inventory: Inventory = INVENTORY,
    *,
    network: Network = NETWORK,
    rules: GroupRules = RULES,
    qemu: Qemu = QEMU,
    variables_size: int = 0,
) -> Draft:
    return draft(
        inventory, "kvm1.example.org", TARGET, GROUPS, rules, network, qemu, variables_size
    )


def of_domain(**changes: object) -> Inventory:
    """An inventory of a domain that differs from DOMAIN."""
    domain = replace(DOMAIN, **changes)  # type: ignore[arg-type]
    sizes = {fact.disk.target: fact for fact in INVENTORY.disks}
    disks = tuple(replace(sizes[disk.target], disk=disk) for disk in domain.disks)
    return replace(INVENTORY, domain=domain, disks=disks)
