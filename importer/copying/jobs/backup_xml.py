"""The XML of libvirt's backup jobs and checkpoints (formatbackup, formatcheckpoint). Pure.

libvirt backs up all disks that a job does not name, so every disk of the domain is named.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from importer.domains.domain_xml import Volumes, single_slashes
from importer.domains.libvirt_xml import tree
from node.errors import KitError

NEVER = re.compile(r"[^\w.@-]")  # no character of a target or checkpoint name


@dataclass(frozen=True)
class JobDisk:
    """A disk of a backup job.

    Attributes:
        target: its name in the domain, such as vda.
        since: the checkpoint from which on changes are given, or None for the whole disk.
    """

    target: str
    since: str | None = None


@dataclass(frozen=True)
class RunningJob:
    """A backup job of a domain, as libvirt tells it.

    Attributes:
        socket: the unix socket of its NBD server on the KVM host; "" if it has none.
        since: by disk of the job, such as vda: the checkpoint, or None for the whole disk.
        bitmaps: by disk: the name of the dirty bitmap that is exported with it, if any.
    """

    socket: str
    since: Mapping[str, str | None]
    bitmaps: Mapping[str, str]


def backup_xml(disks: Sequence[JobDisk], left_out: Sequence[str], socket: str, scratch: str) -> str:
    """A backup job in pull mode: QEMU exports each disk as it was at the begin of the job.

    Args:
        disks: those that are exported, under their targets' names.
        left_out: the targets of all other disks of the domain.
        socket: the path of the unix socket on the KVM host.
        scratch: a directory there; what the guest overwrites is kept there for the export.
    """
    lines = [
        "<domainbackup mode='pull'>",
        f"  <server transport='unix' socket={quoteattr(socket)}/>",
        "  <disks>",
    ]
    for disk in disks:
        mode = "backupmode='full'"
        if disk.since is not None:
            mode = f"backupmode='incremental' incremental={quoteattr(disk.since)}"
        lines += [
            f"    <disk name={quoteattr(disk.target)} backup='yes' type='file' {mode}>",
            "      <driver type='qcow2'/>",
            f"      <scratch file={quoteattr(f'{scratch}/{disk.target}')}/>",
            "    </disk>",
        ]
    lines += [f"    <disk name={quoteattr(target)} backup='no'/>" for target in left_out]
    return "\n".join([*lines, "  </disks>", "</domainbackup>", ""])


def checkpoint_xml(name: str, disks: Sequence[str], left_out: Sequence[str]) -> str:
    """A checkpoint: from now on, bitmaps of its name note what the guest changes.

    Args:
        name: of the checkpoint.
        disks: the targets of the disks that get a bitmap.
        left_out: the targets of all other disks of the domain.
    """
    lines = ["<domaincheckpoint>", f"  <name>{name}</name>", "  <disks>"]
    lines += [
        f"    <disk name={quoteattr(target)} checkpoint='bitmap' bitmap={quoteattr(name)}/>"
        for target in disks
    ]
    lines += [f"    <disk name={quoteattr(target)} checkpoint='no'/>" for target in left_out]
    return "\n".join([*lines, "  </disks>", "</domaincheckpoint>", ""])


def running_job(xml: str) -> RunningJob:
    """What `virsh backup-dumpxml` tells.

    Raises:
        KitError: it is not such XML.
    """
    top = tree(xml, "domainbackup")
    server = top.find("server")
    since: dict[str, str | None] = {}
    bitmaps = {}
    for disk in top.iterfind("disks/disk"):
        name = disk.get("name", "")
        if disk.get("backup") == "no":
            continue
        if not name or NEVER.search(name):
            raise KitError(
                f"backup job: it names a disk {name[:40]!r}", hint="see virsh backup-dumpxml"
            )
        since[name] = disk.get("incremental")
        if bitmap := disk.get("exportbitmap"):
            bitmaps[name] = bitmap
    return RunningJob(server.get("socket", "") if server is not None else "", since, bitmaps)


def dirty_bytes(xml: str) -> Mapping[str, int | None]:
    """What `virsh checkpoint-dumpxml --size` tells of a running domain.

    Returns:
        By disk that has a bitmap of the checkpoint: bytes that changed since, or None if its
        bitmap is lost or inconsistent: QEMU was killed since.

    Raises:
        KitError: it is not such XML.
    """
    found: dict[str, int | None] = {}
    for disk in tree(xml, "domaincheckpoint").iterfind("disks/disk"):
        if disk.get("checkpoint") == "bitmap":
            size = disk.get("size", "")
            found[disk.get("name", "")] = int(size) if size.isdecimal() and size.isascii() else None
    return found


def disk_sources(xml: str, volumes: Volumes) -> Mapping[str, str]:
    """The disks of a domain's XML: by target, such as vda, the path of the image; "" without one.

    Of a volume of a pool that libvirt does not know, it is pool/volume.

    Args:
        xml: of the domain.
        volumes: of storage pools that the disks name.

    Raises:
        KitError: it is not such XML.
    """
    found: dict[str, str] = {}
    for disk in tree(xml, "domain").iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        if target is not None:
            attributes = source.attrib if source is not None else {}
            path = attributes.get("file") or attributes.get("dev") or ""
            if disk.get("type") == "volume":
                key = (attributes.get("pool", ""), attributes.get("volume", ""))
                path = volumes[key].path if key in volumes else "/".join(filter(None, key))
            found[target.get("dev", "")] = single_slashes(path)
    return found
