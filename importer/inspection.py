"""Takes the inventory of a domain on a KVM host; nothing is changed there."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

from converter.contents.describe import DiskReport, describe
from converter.errors import SourceInUse
from converter.sources.base import Disk
from importer.domains.domain import Domain, Obstacle, SourceDisk
from importer.domains.domain_xml import parse
from importer.domains.inventory import Area, DiskFacts, HostFacts, Inventory, State
from importer.host.connection import KvmHost
from importer.host.images import ImageInfo, image_info, opened
from importer.host.pools import volumes_of
from importer.host.virsh import DomainInfo, Virsh
from node.errors import KitError

# Where libvirt keeps QEMU's state, and scratch files of backups can be made.
QEMU_DIRECTORY = "/var/lib/libvirt/qemu"
# The states of virsh(1) with which a domain's disks can be read as they are.
_STATES: dict[str, State] = {
    "running": "running",
    "idle": "running",
    "in shutdown": "running",
    "paused": "paused",
    "pmsuspended": "paused",
    "shut off": "shut off",
}
# Types of partitions with a boot loader for UEFI (UEFI specification, "Media Access"): of a GPT
# and of an MBR.
_ESP = ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef")
_BOOT_CODE = 440  # bytes of the first sector
_SIGNATURE = b"\x55\xaa"


_TRANSIENT = Obstacle(
    "libvirt forgets it when it is off (transient)",
    "define it: virsh dumpxml --security-info DOMAIN > FILE; virsh define FILE",
)
_SAVED = Obstacle(
    "its memory is saved in a file (managed save): its disks are as those of a running machine",
    "start it, then shut it down: virsh start DOMAIN, virsh shutdown DOMAIN",
)


class _Content(NamedTuple):
    """What is on a disk; all of it is empty if the disk cannot be read as it is."""

    report: DiskReport | None = None
    first_sector: bytes = b""


def host_facts(host: KvmHost) -> HostFacts:
    """The versions of a KVM host, and its space for scratch files.

    Raises:
        HostLost: the connection is lost.
        KitError: libvirt does not run there.
    """
    versions = Virsh(host).versions()
    argv = ["df", "--block-size=1", "--output=avail", QEMU_DIRECTORY]
    free = host.run(argv, what=f"df of {QEMU_DIRECTORY}").stdout.split()[-1]
    return HostFacts(host.name, versions.libvirt, versions.qemu, int(free))


def take(host: KvmHost, name: str, facts: HostFacts | None = None) -> Inventory:
    """Takes the inventory of a domain, running or not.

    Args:
        host: the KVM host.
        name: of the domain, or its UUID.
        facts: of the host, if they are known.

    Raises:
        HostLost: the connection is lost.
        KitError: there is no such domain, or it or its disks cannot be read.
    """
    virsh = Virsh(host)
    info = virsh.info(name)
    state = _state(info, host.name)
    domain = _domain(virsh, info.uuid, state)
    found: list[DiskFacts] = []
    obstacles = [*domain.obstacles]
    for disk in domain.disks:
        image = image_info(host, disk)
        hindering = list(of_image(disk, image))
        content = _Content()
        if not hindering:  # else what is in the image alone would tell nothing
            try:
                content = _content(host, disk, force_share=state != "shut off")
            except SourceInUse:
                content = _content(host, disk, force_share=True)
                hindering = [_in_use(disk)]
        obstacles += [each.for_domain(domain.name) for each in hindering]
        found.append(disk_facts(disk, image, content.report, content.first_sector, domain, state))
    if not info.is_persistent:
        obstacles.append(_TRANSIENT.for_domain(domain.name))
    if info.has_managed_save:
        obstacles.append(_SAVED.for_domain(domain.name))
    return Inventory(
        facts or host_facts(host),
        replace(domain, obstacles=tuple(obstacles)),
        state,
        root_first(found),
        tuple(virsh.snapshots(info.uuid)),
    )


def _domain(virsh: Virsh, uuid: str, state: State) -> Domain:
    """The domain as it runs, but for its CPU: libvirt expands the model of a running one."""
    xml = virsh.dumpxml(uuid)
    volumes = volumes_of(virsh, xml)
    domain = parse(xml, volumes)
    if state == "shut off":
        return domain
    defined = parse(virsh.dumpxml(uuid, inactive=True), volumes)
    return replace(domain, cpu=defined.cpu, cpu_features=defined.cpu_features)


def _state(info: DomainInfo, host: str) -> State:
    if info.state not in _STATES:
        raise KitError(
            f"domain {info.name} on {host}: it is {info.state}",
            hint="shut it off or start it there; then take the inventory again",
        )
    return _STATES[info.state]


def _content(host: KvmHost, disk: SourceDisk, *, force_share: bool) -> _Content:
    with opened(host, disk, force_share=force_share) as source, closing(Disk(source)) as read:
        try:
            return _Content(describe(read.read, source.size), read.read(0, min(512, source.size)))
        except ValueError as error:
            raise KitError(
                f"source {source.name}: {error}", hint="is the image complete?"
            ) from error


def _in_use(disk: SourceDisk) -> Obstacle:
    return Obstacle(
        f"disk {disk.target}: its domain is off, but a running QEMU has its image open",
        f"find it on the KVM host: lsof {shlex.quote(disk.path)}; and end it",
    )


def of_image(disk: SourceDisk, info: ImageInfo) -> Iterator[Obstacle]:
    """The obstacles that QEMU sees in a disk's image."""
    name, path = disk.target, shlex.quote(disk.path)
    if info.backing is not None or disk.has_backing:
        where = "named in the domain's XML only" if info.backing is None else info.backing
        yield Obstacle(
            f"disk {name}: its image is based on another one, {where}",
            f"make it one image: virsh blockpull DOMAIN {name} --wait while the domain runs, or"
            f" qemu-img rebase -b '' {path} while it is off",
        )
    if info.data_file is not None:
        yield Obstacle(
            f"disk {name}: its data is in another file, {info.data_file}",
            f"make it one image: virsh blockcopy DOMAIN {name} --dest FILE --transient-job"
            " --wait --pivot, then virsh edit DOMAIN; or qemu-img convert",
        )
    if info.is_encrypted:
        yield Obstacle(
            f"disk {name}: its image is encrypted",
            "decrypt it there, while the domain is off: qemu-img convert, with --object secret",
        )
    if info.is_corrupt:
        yield Obstacle(
            f"disk {name}: QEMU has marked its image as damaged",
            f"repair it while the domain is off: qemu-img check -r all {path}",
        )


def disk_facts(
    disk: SourceDisk,
    info: ImageInfo,
    report: DiskReport | None,
    first_sector: bytes,
    domain: Domain,
    state: State,
) -> DiskFacts:
    """What is known of a disk.

    Args:
        disk: of the domain.
        info: of its image.
        report: of its content, None if that was not read.
        first_sector: of the disk, likewise.
        domain: whose disk it is.
        state: of the domain.
    """
    table = report.table if report else None
    kind = table.kind if table else None
    # While a QEMU has an image open, all its bitmaps are marked as in use.
    is_off = state == "shut off"
    return DiskFacts(
        disk=disk,
        size=info.size,
        allocated=info.size if disk.is_block else info.allocated,
        table="gpt" if kind == "gpt" else "dos" if kind == "dos" else None,
        areas=tuple(_areas(report)) if report else (),
        boots=boots(report, first_sector, domain.firmware) if report else False,
        keeps_bitmaps=info.version == 3,
        bad_bitmaps=tuple(name for name, used in info.bitmaps.items() if used and is_off),
    )


def _areas(report: DiskReport) -> Iterator[Area]:
    for place in report.places:
        for held in place.holds:
            yield Area(place.start, place.length, held.type, held.uuid or "", held.label or "")


def boots(report: DiskReport, first_sector: bytes, firmware: str) -> bool:
    """Whether a disk has a boot loader for this firmware.

    For UEFI that is an EFI system partition; for the BIOS, code in the first sector. The boot
    sector of a file system has code, too, which says that it cannot be booted.
    """
    if firmware == "uefi":
        partitions = report.table.partitions if report.table else ()
        return any(partition.type in _ESP for partition in partitions)
    is_of_file_system = report.table is None and any(
        held.type in ("vfat", "ntfs", "exfat") for place in report.places for held in place.holds
    )
    has_code = any(first_sector[:_BOOT_CODE]) and first_sector[510:512] == _SIGNATURE
    return has_code and not is_of_file_system


def root_first(disks: Sequence[DiskFacts]) -> tuple[DiskFacts, ...]:
    """The first disk that has a boot loader, then all others as they are.

    The first of the boot order need not have one: the firmware then goes on to the next one.
    """
    root = [each for each in disks if each.boots][:1]
    return (*root, *(each for each in disks if each not in root))
