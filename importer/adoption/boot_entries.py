"""Boot entries in a file of UEFI variables of OVMF. Pure.

Sources: UEFI specification 2.10, 3.1.3 (load options) and 10.3 (device paths); EDK II,
MdeModulePkg/Include/Guid/VariableFormat.h (the store) and OvmfPkg/Library/PlatformBootManagerLib.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

_VOLUME = UUID("fff12b8d-7696-4c8b-a985-2747075b4f50").bytes_le  # EFI_SYSTEM_NV_DATA_FV_GUID
_STORE = UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le  # EFI_AUTHENTICATED_VARIABLE_GUID
_GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c").bytes_le  # EFI_GLOBAL_VARIABLE
# Start, state, attributes, (count, time, key,) bytes of the name, bytes of the data, vendor.
_HEADER = struct.Struct("<HBxI28xII16s")
_STORE_HEADER = struct.Struct("<16sI8x")
_START = 0x55AA
_NOT_DELETED = 0x02  # VAR_DELETED clears this bit of the state
_ENTRY = re.compile(r"Boot[0-9A-F]{4}\0")
_HARD_DRIVE = b"\x04\x01"  # type and subtype: a partition by its GUID, on any disk


@dataclass(frozen=True)
class _Variable:
    """One that is in use or was; `state` is the offset of its state in the file."""

    state: int
    vendor: bytes
    name: str
    data: bytes


def without_old_hardware(content: bytes) -> bytes:
    """The variables without the boot entries that do not begin with a partition.

    Those name PCI addresses of the old machine or a program in the firmware. The firmware makes
    its own for what it finds, but behind all that there are: its shell would come before the disk,
    and wait there.

    Args:
        content: of the whole file.

    Raises:
        ValueError: it is no such file.
    """
    changed = bytearray(content)
    for variable in _variables(content):
        entry = variable.vendor == _GLOBAL and _ENTRY.fullmatch(variable.name)
        if entry and not _is_on_partition(variable.data):
            changed[variable.state] &= ~_NOT_DELETED
    return bytes(changed)


def _is_on_partition(option: bytes) -> bool:
    """Whether a load option has the path of a partition: attributes, length, description, path."""
    for end in range(6, len(option) - 1, 2):
        if option[end : end + 2] == b"\0\0":
            return option[end + 2 : end + 4] == _HARD_DRIVE
    return False


def _variables(content: bytes) -> Iterator[_Variable]:
    try:
        (start,) = struct.unpack_from("<H", content, 48)
        kind, size = _STORE_HEADER.unpack_from(content, start)
        if content[16:32] != _VOLUME or content[40:44] != b"_FVH" or kind != _STORE:
            raise ValueError("no variables of OVMF")
        at, end = start + _STORE_HEADER.size, start + size
        while at + _HEADER.size <= end:
            mark, _, _, name, data, vendor = _HEADER.unpack_from(content, at)
            if mark != _START:
                return
            text = at + _HEADER.size
            if text + name + data > min(end, len(content)):
                raise ValueError("a variable is longer than the file")
            yield _Variable(
                state=at + 2,
                vendor=vendor,
                name=content[text : text + name].decode("utf-16-le", errors="replace"),
                data=content[text + name : text + name + data],
            )
            at = -(-(text + name + data) // 4) * 4
    except struct.error as error:
        raise ValueError("no variables of OVMF") from error
