"""Which names and values are safe: as names in LVM, Ganeti and libvirt, and as arguments. Pure.

All of them come from files that users edit, or from the KVM host.
"""

import re
from ipaddress import ip_address
from uuid import UUID

# lvm(8), "Valid names". The kernel's limit for a device mapper name, DM_NAME_LEN, has 128 bytes
# with the NUL at its end; hyphens in names count twice.
_LVM = re.compile(r"[A-Za-z0-9_+.][A-Za-z0-9_+.-]*")
_LVM_RESERVED = re.compile(
    r"\.\.?|(snapshot|pvmove).*|.*_(cdata|cmeta|corig|iorig|imeta|mimage|mlog|pmspare|rimage|rmeta"
    r"|tdata|tmeta|vdata|vorigin)(_.*|\d.*)?"
)
_DM_NAME_MAX = 127
# ssh(1) takes user@host; a host that begins with a hyphen would be an option.
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")  # of nodes, networks, bridges
# Ganeti's netutils.py, Hostname.GetNormalizedName(): it would change other names to these.
_INSTANCE = re.compile(r"[a-z0-9_](?:\.?[a-z0-9_-]){0,254}")
_OS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:\+[A-Za-z0-9_.-]+)?")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_TARGET = re.compile(r"[a-z][a-z0-9]{0,15}")
_SWAP_LABEL_MAX = 16  # bytes
PARAMETER = re.compile(r"[a-z][a-z0-9_]*")


def is_volume(vg: str, lv: str) -> bool:
    """Whether a volume can have this name in that volume group."""
    joined = len(vg.replace("-", "--")) + 1 + len(lv.replace("-", "--"))
    return is_group(vg) and _is_lvm(lv) and joined <= _DM_NAME_MAX


def is_group(vg: str) -> bool:
    """Whether it can be the name of a volume group."""
    return _LVM.fullmatch(vg) is not None and vg not in (".", "..")


def _is_lvm(name: str) -> bool:
    return _LVM.fullmatch(name) is not None and _LVM_RESERVED.fullmatch(name) is None


def is_ssh_host(host: str) -> bool:
    """Whether it can be [user@]host of ssh(1)."""
    return _HOST.fullmatch(host) is not None


def is_instance(name: str) -> bool:
    """Whether it is the name of an instance as Ganeti writes it: lower case, no dot at its end."""
    return len(name) < 256 and _INSTANCE.fullmatch(name) is not None


def is_name(name: str) -> bool:
    """Whether it can be the name of a node, network or bridge."""
    return _NAME.fullmatch(name) is not None


def is_domain(name: str) -> bool:
    """Whether it can be libvirt's name of a domain, and is no option of virsh(1)."""
    return bool(name) and name.isprintable() and "/" not in name and not name.startswith("-")


def is_os(name: str) -> bool:
    """Whether it can be the name of an OS, with or without a variant."""
    return _OS.fullmatch(name) is not None


def is_uuid(text: str) -> bool:
    """Whether it is a UUID in its usual form."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def is_swap_label(label: str) -> bool:
    """Whether the header of a swap area has room for a label, and it is printable."""
    return (label.isprintable() or not label) and len(label.encode()) <= _SWAP_LABEL_MAX


def is_mac(text: str) -> bool:
    """Whether it is a MAC address in lower case."""
    return _MAC.fullmatch(text) is not None


def is_target(name: str) -> bool:
    """Whether it can be a disk's name in a domain, such as vda."""
    return _TARGET.fullmatch(name) is not None


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # no scope


def is_path(path: str) -> bool:
    """Whether it is absolute and printable, without `.`, `..` and empty parts."""
    parts = path.split("/")
    odd = {"", ".", ".."}
    return path.isprintable() and parts[0] == "" and len(parts) > 1 and not odd & set(parts[1:])
