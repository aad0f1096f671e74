"""Checks that refuse a target: it is in use, is the source itself, or holds data."""

import errno
import os
import resource
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress

from converter.errors import TargetInUse, TargetIsSource, TargetNotEmpty
from converter.target.facts import TargetFacts
from converter.target.probe import probe
from node import ganeti
from node.devices.stack import backing_chain, backing_id
from node.errors import KitError

DRBD_MAJOR = 147  # Documentation/admin-guide/devices.txt of Linux
# LVM2's lib/format_text/layout.h: the label is in one of the first four sectors.
LABEL, LABEL_TYPE, LABEL_SECTORS, SECTOR = b"LABELONE", b"LVM2 001", 4, 512
FILE_SIZES = "see ulimit -f of the shell, LimitFSIZE of the unit, the limit of the file system"


def refuse_source(facts: TargetFacts, source: os.stat_result) -> None:
    """Refuses a target that is the source, holds the source, or is stored on the source.

    Raises:
        TargetIsSource: it is.
    """
    source_id, target_id, name = backing_id(source), facts.id, facts.name
    if source_id == target_id:
        raise TargetIsSource(name, "it is the source itself")
    # The chain of a file has the device of its file system; other files on that do not matter.
    if target_id in backing_chain(source_id):
        raise TargetIsSource(name, "the source is stored on it")
    if source_id in backing_chain(target_id):
        raise TargetIsSource(name, "it is stored on the source")


def refuse_running(facts: TargetFacts) -> None:
    """Refuses a disk of an instance that KVM runs on this node.

    An activated disk of a stopped instance is accepted: that is the usual target. Xen's use of a
    disk is visible in the kernel (`node.devices.holders.block_user`).

    Raises:
        TargetInUse: a running instance uses it.
    """
    for owner in sorted(_owners(facts)):
        if process := ganeti.kvm_process(owner):
            raise TargetInUse(
                f"target {facts.name}: a disk of instance {owner}, which runs here"
                f" (process {process})",
                hint=f"gnt-instance shutdown {owner}, then gnt-instance activate-disks {owner}",
            )


def _owners(facts: TargetFacts) -> set[str]:
    """The instances for which Ganeti has activated this disk, or which have started with it."""
    owners = {owner for each in facts.names if (owner := ganeti.owner_of(each))}
    for instance, _, path in ganeti.disk_links():
        # A link to a file may lead to a server that does not answer: only ask for devices.
        if facts.is_block and not path.is_relative_to("/dev"):
            continue
        with suppress(OSError):
            if backing_id(path.stat()) == facts.id:
                owners.add(instance)
    return owners


def refuse_pv(facts: TargetFacts, head: bytes) -> None:
    """Refuses a physical volume of this node's LVM, also one of an inactive group.

    A label on a logical volume, on a DRBD device or in a file belongs to a guest, and counts as
    ordinary content: LVM does not look for physical volumes there (lvm.conf(5), scan_lvs).

    Args:
        facts: of the target.
        head: its first 4 sectors of 512 bytes.

    Raises:
        TargetInUse: it is a physical volume.
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
    """A description of an open target's content; None if it seems empty.

    Devices and files are searched for signatures; in a file, any data counts as content.
    """
    # By descriptor: the path may lead to another file by now.
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
    """The output of blkid's `-o export` as text: ext4, label data, UUID 1b2c."""
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
    """Asks the user whether content may be overwritten.

    Raises:
        TargetNotEmpty: the user did not agree, or there is nobody to ask.
    """
    if confirm is not None and confirm(f"{name} holds {found}. Overwrite it?"):
        return
    raise TargetNotEmpty(name, found)


def failure_hint(error: OSError) -> str:
    """What to do about an error of a write, a read or a flush."""
    if error.errno == errno.EFBIG:
        return FILE_SIZES
    if error.errno == errno.ENOSPC:
        return "thin volume: its pool is full (lvs shows Data%), lvextend the pool; file: see df"
    return "dmesg shows errors of its device; lvs shows whether a thin pool is full"


def require_size_allowed(name: str, size: int) -> None:
    """Refuses a target file that is larger than this process may write (setrlimit(2)).

    Raises:
        KitError: it is larger.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and limit < size:
        raise KitError(
            f"target {name}: {size} bytes are needed, but this process may only write {limit}",
            hint=FILE_SIZES,
        )
