"""What a target must not be: something in use, the source itself, or somebody's data."""

import os
import resource
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from converter.errors import TargetInUse, TargetIsSource, TargetNotEmpty
from converter.target.facts import TargetFacts
from converter.target.probe import probe
from node.devices.stack import backing_chain, backing_id
from node.errors import KitError
from node.processes import PROC

# Ganeti's pathutils.py; hypervisor/hv_kvm: a file for each running instance.
GANETI = Path("/var/run/ganeti")
DRBD_MAJOR = 147  # Documentation/admin-guide/devices.txt of Linux
# LVM2's lib/format_text/layout.h: a label in one of the first four sectors.
LABEL, LABEL_TYPE, LABEL_SECTORS, SECTOR = b"LABELONE", b"LVM2 001", 4, 512
FILE_SIZES = "ulimit -f of the shell, LimitFSIZE of its unit; its file system has a limit, too"


def refuse_source(facts: TargetFacts, source: os.stat_result) -> None:
    """Refuses a target that is the source, that the source stands on, or that stands on it.

    Raises:
        TargetIsSource: it does.
    """
    source_id, target_id, name = backing_id(source), facts.id, facts.name
    if source_id == target_id:
        raise TargetIsSource(name, "it is the source itself")
    # A file stands on the device of its file system; that others are there is no harm.
    if target_id in backing_chain(source_id):
        raise TargetIsSource(name, "the source is stored on it")
    if source_id in backing_chain(target_id):
        raise TargetIsSource(name, "it is stored on the source")


def refuse_running(facts: TargetFacts) -> None:
    """Refuses a disk that Ganeti has active for an instance that KVM runs on this node.

    Of a stopped instance, active disks are fine: that is the usual target. Instances of Xen show
    in the kernel instead (`node.devices.holders.block_user`).

    Raises:
        TargetInUse: an instance runs from it.
    """
    for owner in sorted(_owners(facts)):
        if process := _kvm_process(owner):
            raise TargetInUse(
                f"target {facts.name}: a disk of instance {owner}, which runs here"
                f" (process {process})",
                hint=f"gnt-instance shutdown {owner}, then gnt-instance activate-disks {owner}",
            )


def _owners(facts: TargetFacts) -> set[str]:
    """The instances that Ganeti has activated a disk for.

    Its bdev-cache has a file for each path (backend.py, DevCacheManager: "owner state name"), and
    instance-disks a link `owner:index` for each disk of an instance that was started.
    """
    owners = set()
    for each in facts.names:
        cached = GANETI / f"bdev-cache/bdev_{str(each).removeprefix('/dev/').replace('/', '_')}"
        try:
            owners.add(cached.read_text().split()[0])
        except (OSError, IndexError):
            continue
    for link in GANETI.glob("instance-disks/*:*"):
        try:
            # Files may be on a server that does not answer any more: no device is there.
            if facts.is_block and not link.readlink().is_relative_to("/dev"):
                continue
            if backing_id(link.stat()) == facts.id:
                owners.add(link.name.rpartition(":")[0])
        except OSError:
            continue
    return owners


def _kvm_process(instance: str) -> int | None:
    """The process that runs an instance: it is alive, and its command line names the instance."""
    try:
        number = int((GANETI / "kvm-hypervisor/pid" / instance).read_text())
        words = (PROC / str(number) / "cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return number if any(instance.encode() in word for word in words) else None


def refuse_pv(facts: TargetFacts, head: bytes) -> None:
    """Refuses a physical volume of this node's LVM, also one of an inactive group.

    On a logical volume, a DRBD device or in a file it is the business of a guest, and counts as
    content like any other: LVM does not look for its own there (lvm.conf(5), scan_lvs).

    Args:
        facts: of the target.
        head: its first 4 sectors of 512 bytes.

    Raises:
        TargetInUse: it is one.
    """
    if not facts.is_block or os.major(facts.number) == DRBD_MAJOR or facts.volume is not None:
        return
    if has_pv_label(head) or facts.properties.get("ID_FS_TYPE") == "LVM2_member":
        raise TargetInUse(
            f"target {facts.name}: a physical volume of LVM",
            hint="vgreduce and pvremove it first, if its volume group can do without it",
        )


def has_pv_label(head: bytes) -> bool:
    """Whether the first sectors of a device have the label of a physical volume."""
    for start in range(0, LABEL_SECTORS * SECTOR, SECTOR):
        label = head[start : start + 32]
        if label.startswith(LABEL) and label[24:] == LABEL_TYPE:
            return True
    return False


def content(fd: int) -> str | None:
    """What is on an open target already, in words; None if nothing is known to be.

    A device is asked for signatures, as a file is; of a file all data count.
    """
    # The open file, whatever its name is by now, and whatever that may hold.
    probed = probe(f"/proc/{os.getpid()}/fd/{fd}")
    if probed.fields:
        return described(probed.fields)
    if probed.unclear:
        return probed.unclear
    if stat.S_ISREG(os.fstat(fd).st_mode) and _has_data(fd):
        return "data without a signature that blkid knows"
    return None


def _has_data(fd: int) -> bool:
    try:
        os.lseek(fd, 0, os.SEEK_DATA)
    except OSError:  # ENXIO: nothing but a hole, lseek(2)
        return False
    return True


def described(found: Mapping[str, str]) -> str:
    """What blkid's `-o export` says, in words: ext4, label data, UUID 1b2c."""
    parts = []
    if "TYPE" in found:
        parts.append(found["TYPE"])
    if "PTTYPE" in found:
        parts.append(f"partition table {found['PTTYPE']}")
    if "LABEL" in found:
        parts.append(f"label {found['LABEL']}")
    if uuid := found.get("UUID", found.get("PTUUID")):
        parts.append(f"UUID {uuid}")
    return ", ".join(parts) or "a signature without a name"


def require_consent(name: str, found: str, confirm: Callable[[str], bool] | None) -> None:
    """Sees to it that content is overwritten only where a person says so.

    Raises:
        TargetNotEmpty: nobody did.
    """
    if confirm is not None and confirm(f"{name} holds {found}. Overwrite it?"):
        return
    raise TargetNotEmpty(name, found)


def require_size_allowed(name: str, size: int) -> None:
    """Refuses a target file that is larger than this process may write (setrlimit(2)).

    Raises:
        KitError: it is.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and limit < size:
        raise KitError(
            f"target {name}: a file of {size} bytes is needed, and this process may write {limit}",
            hint=FILE_SIZES,
        )
