"""Files of UEFI variables, as OVMF writes them."""

import struct
from collections.abc import Collection
from uuid import UUID

GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
SIZE = 540672
_STORE = 0x3FFB8  # bytes of the store in a file of that size


def option(description: str, path: bytes) -> bytes:
    """A load option."""
    name = description.encode("utf-16-le") + b"\0\0"
    path += b"\x7f\xff\x04\x00"
    return struct.pack("<IH", 1, len(path)) + name + path


# Device paths begin with a partition, a program in the firmware, and PciRoot(0x0)/Pci(0x1,0x3).
DISK = option("debian", b"\x04\x01\x2a\x00" + bytes(38))
SHELL = option("EFI Internal Shell", b"\x04\x07\x14\x00" + bytes(16))
OLD_PCI = option(
    "UEFI Misc Device",
    b"\x02\x01\x0c\x00\xd0A\x03\n\x00\x00\x00\x00\x01\x01\x06\x00\x03\x01",
)


def file_of(
    *variables: tuple[str, bytes], deleted: Collection[str] = (), vendor: UUID = GLOBAL
) -> bytes:
    """A file with these variables; those in `deleted` have the mark of it."""
    store = b"".join(_variable(*both, both[0] in deleted, vendor) for both in variables)
    volume = struct.pack(
        "<16x16sQ4sIH22x",
        UUID("fff12b8d-7696-4c8b-a985-2747075b4f50").bytes_le,
        SIZE,
        b"_FVH",
        0x4FEFF,
        72,
    )
    kind = UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le
    head = volume + struct.pack("<16sIBB6x", kind, _STORE, 0x5A, 0xFE)
    return (head + store).ljust(SIZE, b"\xff")


def _variable(name: str, data: bytes, deleted: bool, vendor: UUID) -> bytes:
    text = name.encode("utf-16-le") + b"\0\0"
    state = 0x3D if deleted else 0x3F
    sizes = struct.pack("<II16s", len(text), len(data), vendor.bytes_le)
    made = struct.pack("<HBxI28x", 0x55AA, state, 7) + sizes + text + data
    return made + b"\xff" * (-len(made) % 4)
