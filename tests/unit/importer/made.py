"""Inventories for tests."""

from typing import Any

from importer.domains.domain import Domain, Obstacle, SourceDisk, SourceNic
from importer.domains.inventory import Area, DiskFacts, HostFacts, Inventory

GIB = 1 << 30
HOST = HostFacts("kvm1.example.org", (9, 0, 0), (7, 2, 22), 50 * GIB)
UUID = "0e6a4f5c-1f3f-4a30-8a5f-6d2a4e1b7c11"


def disk(target: str, **more: Any) -> SourceDisk:
    given = {"bus": "virtio", "format": "qcow2", "path": f"/srv/{target}", "is_block": False}
    return SourceDisk(target=target, **{**given, **more})


def facts(target: str, **more: Any) -> DiskFacts:
    given: dict[str, Any] = {
        "disk": disk(target),
        "size": 10 * GIB,
        "allocated": GIB,
        "table": None,
        "areas": (),
        "boots": False,
        "keeps_bitmaps": True,
    }
    return DiskFacts(**{**given, **more})


def domain(name: str, *disks: DiskFacts, **more: Any) -> Domain:
    given: dict[str, Any] = {
        "uuid": UUID,
        "vcpus": 2,
        "memory": 4 * GIB,
        "firmware": "bios",
        "machine": "pc-i440fx-7.2",
        "cpu": "host-model",
        "nics": (),
        "has_console": True,
        "has_agent": True,
    }
    return Domain(name=name, disks=tuple(each.disk for each in disks), **{**given, **more})


WEB1_DISKS = (
    facts(
        "vdb",
        table="dos",
        boots=True,
        areas=(Area(1 << 20, 9 * GIB, "ext4", "11111111-2222-3333-4444-555555555555", "root"),),
    ),
    facts(
        "vda",
        disk=disk("vda", format="raw", path="/dev/vg0/web1-srv", is_block=True, bus="scsi"),
        size=100 * GIB + 1,
        allocated=100 * GIB + 1,
        keeps_bitmaps=False,
        areas=(Area(0, 100 * GIB + 1, "xfs", "22222222-2222-3333-4444-555555555555", ""),),
    ),
    facts(
        "vdc",
        disk=disk("vdc", format="raw", path="/srv/web1-\x1bswap.img"),
        size=GIB,
        allocated=4096,
        areas=(Area(0, GIB, "swap", "", ""),),
        bad_bitmaps=("lost",),
    ),
)
WEB1 = Inventory(
    HOST,
    domain("web1", *WEB1_DISKS, nics=(SourceNic("52:54:00:00:00:01", "virtio", "br0"),)),
    "running",
    WEB1_DISKS,
    ("before the upgrade",),
)
WIN = Inventory(
    HOST,
    domain(
        "win",
        facts("sda"),
        vcpus=1,
        memory=3 << 29,
        firmware="uefi",
        nvram="/var/lib/libvirt/qemu/nvram/win_VARS.fd",
        machine="pc-q35-7.2",
        cpu="",
        nics=(SourceNic("52:54:00:00:00:02", "e1000e", ""),),
        has_console=False,
        has_agent=False,
        obstacles=(Obstacle("it has a TPM", "remove it: virsh edit win"),),
        cpu_features=("-hle",),
        losses=("devices: channel a\x1b[2J", "disk sda: limits of I/O"),
    ),
    "shut off",
    (facts("sda", table="gpt", boots=True),),
)
