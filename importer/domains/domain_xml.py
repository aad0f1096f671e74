"""Parses the XML of a libvirt domain. Pure.

It comes from another host, where a user may have written it: it is input like any other. The
elements are those of libvirt's documentation, formatdomain and formatstorage.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple
from uuid import UUID
from xml.etree.ElementTree import Element

from importer.domains import losses, obstacles
from importer.domains.domain import Domain, Obstacle, SourceDisk, SourceNic
from importer.domains.libvirt_xml import tree
from node.errors import KitError
from node.text import size

BUSES = ("virtio", "scsi", "sata", "ide", "usb")  # in which order their disks are sorted
_BUS_OF_PREFIX = {"hd": "ide", "sd": "scsi", "vd": "virtio", "xv": "xen", "ub": "uml"}
_TARGET = re.compile(r"[a-zA-Z0-9_-]{1,32}")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_FIRMWARE = re.compile(r"ovmf|edk2|efi", re.IGNORECASE)  # in the path of a <loader> of type rom
_NUMBER = re.compile(r"[0-9]{1,18}")
_POWERS = "kmgtpe"
_NVRAM = "/var/lib/libvirt/qemu/nvram"
_AGENT = "org.qemu.guest_agent.0"


class Volume(NamedTuple):
    """A volume of a storage pool: its path on the KVM host, and its type (file, block, …)."""

    path: str
    type: str


Volumes = Mapping[tuple[str, str], Volume]


def parse(xml: str, volumes: Volumes | None = None) -> Domain:
    """Parses the XML of a domain.

    Args:
        xml: of `virsh dumpxml`.
        volumes: for disks that are given as volumes of pools: by the names of both; see
            `pool_volumes`.

    Raises:
        KitError: it is not the XML of a domain, or is damaged.
    """
    top = tree(xml, "domain")
    try:
        return _domain(top, volumes or {})
    except ValueError as error:
        name = _text(top, "name")[:80]
        raise KitError(
            f"domain {name}: its XML is not as libvirt writes it: {error}",
            hint="see `virsh dumpxml` there",
        ) from error


def pool_volumes(xml: str) -> list[tuple[str, str]]:
    """The pools and volumes that a domain's disks name.

    Raises:
        KitError: it is not the XML of a domain.
    """
    sources = tree(xml, "domain").iterfind("devices/disk[@type='volume']/source")
    return [(source.get("pool", ""), source.get("volume", "")) for source in sources]


def parse_volume(xml: str) -> Volume:
    """Parses the XML of a volume of a pool.

    Raises:
        KitError: it is not such XML.
    """
    top = tree(xml, "volume")
    return Volume(_text(top, "target/path"), top.get("type", "file"))


def _domain(top: Element, volumes: Volumes) -> Domain:
    disks: list[SourceDisk] = []
    found = list(obstacles.of_domain(top))
    for element in top.iterfind("devices/disk"):
        disk, more = _disk(element, volumes)
        found += more
        disks += [disk] if disk is not None else []
    targets = [disk.target for disk in disks]
    if len(set(targets)) < len(targets):
        raise ValueError("two disks have one name")
    name = _text(top, "name")
    if not name.isprintable() or not name:
        raise ValueError(f"its name is {name!r}")
    machine = top.find("os/type")
    vcpus, memory = _one(top, "vcpu"), _size(_one(top, "memory"))
    return Domain(
        name=name,
        uuid=str(UUID(_text(top, "uuid"))),
        vcpus=_positive(vcpus.get("current") or vcpus.text or ""),
        memory=memory,
        firmware=_firmware(top),
        machine=machine.get("machine", "") if machine is not None else "",
        cpu=_cpu(top),
        disks=tuple(sorted(disks, key=_place)),
        nics=tuple(_nics(top)),
        has_console=_has_console(top),
        has_agent=any(
            channel.get("name") == _AGENT for channel in top.iterfind("devices/channel/target")
        ),
        obstacles=tuple(dict.fromkeys(each.for_domain(name) for each in found)),
        nvram=_nvram(top, name),
        scsi_controller=_scsi_controller(top),
        has_local_time=_has_local_time(top),
        has_secure_boot=_has_secure_boot(top),
        cpu_features=losses.cpu_features(top),
        losses=(*_ballooned(top, memory), *losses.of_domain(top)),
    )


def _disk(element: Element, volumes: Volumes) -> tuple[SourceDisk | None, list[Obstacle]]:
    """A disk; None if its source cannot be read, or if it is a drive for media."""
    target = _one(element, "target")
    name = target.get("dev", "")
    if not _TARGET.fullmatch(name):
        raise ValueError(f"a disk has the name {name!r}")
    source = element.find("source")
    if element.get("device", "disk") not in ("disk", "lun"):
        return None, list(obstacles.of_medium(element, name))
    found = list(obstacles.of_disk(element, name))
    path, kind = _source(element, source, volumes)
    if path is None:
        return None, [*found, obstacles.of_source(element, name)]
    path = single_slashes(path)
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"disk {name}: its path is {path!r}")
    driver = element.find("driver")
    image_format = driver.get("type", "raw") if driver is not None else "raw"
    if image_format not in ("qcow2", "raw"):
        return None, [*found, obstacles.of_format(name, image_format)]
    order = element.find("boot")
    disk = SourceDisk(
        target=name,
        bus=target.get("bus") or _BUS_OF_PREFIX.get(name[:2], ""),
        format="qcow2" if image_format == "qcow2" else "raw",
        path=path,
        is_block=kind == "block",
        boot_order=None if order is None else _positive(order.get("order", "")),
        has_backing=element.find("backingStore/source") is not None,
    )
    return disk, found


def _source(
    element: Element, source: Element | None, volumes: Volumes
) -> tuple[str | None, Literal["file", "block"]]:
    """The path of a disk's image, and its type; None if it is neither a file nor a device."""
    if source is None:
        return None, "file"
    kind = element.get("type", "file")
    if kind == "volume":
        volume = volumes.get((source.get("pool", ""), source.get("volume", "")))
        if volume is None or volume.type not in ("file", "block"):
            return None, "file"
        return volume.path, "block" if volume.type == "block" else "file"
    if kind == "block":
        return source.get("dev"), "block"
    return (source.get("file") if kind == "file" else None), "file"


def _place(disk: SourceDisk) -> tuple[bool, int, int, int, str]:
    """Sorts by boot order, then by bus, then by name: vda, …, vdz, vdaa."""
    bus = BUSES.index(disk.bus) if disk.bus in BUSES else len(BUSES)
    order = disk.boot_order
    return (order is None, order or 0, bus, len(disk.target), disk.target)


def _nics(top: Element) -> Iterator[SourceNic]:
    for element in top.iterfind("devices/interface"):
        mac = _one(element, "mac").get("address", "").lower()
        if not _MAC.fullmatch(mac):
            raise ValueError(f"a network card has the address {mac!r}")
        model = element.find("model")
        source = element.find("source")
        names = ("network", "bridge", "dev")
        given = [source.get(name) for name in names] if source is not None else []
        yield SourceNic(
            mac,
            # libvirt's default for PCs (qemuDomainDefaultNetModel() of libvirt).
            (model.get("type") if model is not None else None) or "rtl8139",
            next((name for name in given if name), ""),
        )


def _firmware(top: Element) -> Literal["bios", "uefi"]:
    system = _one(top, "os")
    loader = system.find("loader")
    chosen = system.get("firmware")
    if chosen is not None:
        return "uefi" if chosen == "efi" else "bios"
    if system.find("nvram") is not None:
        return "uefi"
    if loader is None:
        return "bios"
    is_efi = loader.get("type") == "pflash" or _FIRMWARE.search(loader.text or "") is not None
    return "uefi" if is_efi else "bios"


def _nvram(top: Element, name: str) -> str:
    """The path of the UEFI variables: a text, or since libvirt 8.5 a source like that of a disk.

    Before libvirt 9.2, the XML of a domain that is off has none of what libvirt chooses by itself
    at a start (firmware='efi'): qemuDomainNVRAMPathFormat() of libvirt then names the file.
    """
    system, loader = _one(top, "os"), top.find("os/loader")
    source = system.find("nvram/source")
    path = _text(top, "os/nvram") if source is None else source.get("file", "")
    is_stateless = loader is not None and loader.get("stateless") == "yes"
    if not path and system.get("firmware") == "efi" and not is_stateless:
        path = f"{_NVRAM}/{name}_VARS.fd"
    return single_slashes(path)


def _has_secure_boot(top: Element) -> bool:
    loader, feature = (
        top.find(f"os/{path}") for path in ("loader", "firmware/feature[@name='secure-boot']")
    )
    is_secure = loader is not None and loader.get("secure") == "yes"
    return is_secure or (feature is not None and feature.get("enabled") == "yes")


def _cpu(top: Element) -> str:
    cpu = top.find("cpu")
    if cpu is None:
        return ""
    mode = cpu.get("mode", "custom")
    return _text(top, "cpu/model") if mode == "custom" else mode


def _has_console(top: Element) -> bool:
    if top.find("devices/serial") is not None:
        return True
    return any(target.get("type") == "serial" for target in top.iterfind("devices/console/target"))


def _has_local_time(top: Element) -> bool:
    """Whether the clock's offset is, or is from, the local time (libvirt's formatdomain)."""
    clock = top.find("clock")
    if clock is None:
        return False
    offset = clock.get("offset", "utc")
    return offset == "localtime" or (offset == "variable" and clock.get("basis") == "localtime")


def _scsi_controller(top: Element) -> str:
    """The model of the first SCSI controller."""
    found = top.find("devices/controller[@type='scsi']")
    return found.get("model", "") if found is not None else ""


def _ballooned(top: Element, memory: int) -> Iterator[str]:
    current = top.find("currentMemory")
    if current is not None and (used := _size(current)) < memory:
        yield (
            f"memory: it uses {size(used)} (currentMemory) of {size(memory)}; the instance uses all"
            " of it, unless memory in the plan is less"
        )


def _size(element: Element) -> int:
    """Bytes of a number with a unit, KiB by default (virScaleInteger() of libvirt).

    k, KiB and so on are powers of 1024, KB and so on of 1000.
    """
    unit = element.get("unit", "KiB")
    number = _positive(element.text or "")
    if unit.lower() in ("b", "byte", "bytes"):
        return number
    power = _POWERS.find(unit[:1].lower()) + 1 if unit else 0
    bases = {"": 1024, "ib": 1024, "b": 1000}
    if not power or unit[1:].lower() not in bases:
        raise ValueError(f"a size has the unit {unit[:20]!r}")
    return int(number * bases[unit[1:].lower()] ** power)


def single_slashes(path: str) -> str:
    """A path without repeated slashes, which users write and libvirt keeps.

    Plans have paths in this form.
    """
    return re.sub("/+", "/", path)


def _positive(text: str) -> int:
    text = text.strip()
    if not _NUMBER.fullmatch(text) or not int(text):
        raise ValueError(f"not a number above 0: {text[:40]!r}")
    return int(text)


def _one(element: Element, path: str) -> Element:
    found = element.find(path)
    if found is None:
        raise ValueError(f"{element.tag} has no {path}")
    return found


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
