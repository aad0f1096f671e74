"""Checks images of the formats that qemu-nbd reads for us, before QEMU opens them.

An image that names another file (a parent, an extent) is refused, since QEMU would read that file.
So is a truncated image, since QEMU reads the missing part as zeros. No input or output.
"""

import re
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator

from converter.reading import Read

NAMES = ("vmdk", "vdi", "vhdx", "vpc", "qed", "parallels")
# The formats whose QEMU drivers support a parent image (they have an option "backing").
WITH_PARENT = ("qcow2", "vmdk", "qed")

SECTOR = 512  # bytes, in all these formats
_CHUNK = 4 << 20  # bytes of tables read at once
_MOST_TABLES = 1 << 21  # in a VMDK: 64 TiB with the usual 512 grains of 64 KiB in each
MOST_CLUSTERS = 1 << 26  # in a Parallels image: 64 TiB with the usual clusters of 1 MiB
_MAGICS = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "vmdk",
    b"COWD": "vmdk",
    b"# Disk DescriptorFile": "vmdk",
    b"vhdxfile": "vhdx",
    b"conectix": "vpc",
    b"QED\0": "qed",
    b"WithoutFreeSpace": "parallels",
    b"WithouFreSpacExt": "parallels",
    b"LUKS\xba\xbe": "luks",
}
_VDI_MAGIC = struct.pack("<I", 0xBEDA107F)  # at 64
VHD_MAGIC = b"conectix"
_PARENT = "it needs a parent image"


class ForeignError(ValueError):
    """An image that QEMU must not read: it has another format, is damaged, or cannot be checked."""


class NotAloneError(ForeignError):
    """An image that needs another file."""


def recognised(read: Read, size: int) -> str | None:
    """The format by an image's first bytes (a fixed VHD: its last ones); None if unknown."""
    head = read(0, min(size, SECTOR))
    for magic, name in _MAGICS.items():
        if head.startswith(magic):
            return name
    if head[64:68] == _VDI_MAGIC:
        return "vdi"
    has_footer = size >= SECTOR and read(size - SECTOR, 8) == VHD_MAGIC
    return "vpc" if has_footer else None


def contradicts(found: str | None, image_format: str) -> bool:
    """Whether the result of `recognised` contradicts a format.

    LUKS does not contradict raw: a guest may encrypt its whole disk, which is copied as it is.
    """
    return found not in (None, image_format) and (found, image_format) != ("luks", "raw")


def check(image_format: str, read: Read, size: int) -> None:
    """Checks that an image has the given format, is complete, and needs no other file.

    Args:
        image_format: one of NAMES.
        read: reads the file.
        size: of the file, bytes.

    Raises:
        NotAloneError: it names another file.
        ForeignError: it is of another format, truncated, damaged, or cannot be checked.
    """
    found = recognised(read, size)
    if found != image_format:
        raise ForeignError(
            f"it is {found}, not {image_format}" if found else f"it is not a {image_format} image"
        )

    _CHECKS[image_format](within(read, size), size)


def within(read: Read, size: int) -> Read:
    """Wraps `read` for a file of `size` bytes: a read beyond its end is a ForeignError."""

    def inside(offset: int, length: int) -> bytes:
        require(max(offset, 0) + length, size)
        return read(max(offset, 0), length)

    return inside


def require(end: int, size: int) -> None:
    """Raises ForeignError if a file of `size` bytes ends before offset `end`."""
    if end > size:
        raise ForeignError(f"it is truncated: it has {size} bytes, but needs {end}")


def _check_vmdk(read: Read, size: int) -> None:
    """VMware's Virtual Disk Format 5.0, "Hosted Sparse Extent Header" and "The Descriptor File".

    Only a sparse extent with an embedded descriptor needs no other file. QEMU treats an extent of
    capacity 0 as a descriptor of other files.
    """
    if (start := read(0, 4)) != b"KDMV":
        what = "an ESX extent" if start == b"COWD" else "a descriptor"
        raise NotAloneError(f"it is {what}: parts of the disk are in other files")
    header = read(0, SECTOR)
    capacity, _grain, at, length = struct.unpack_from("<QQQQ", header, 12)
    if not (at and capacity) or length > _CHUNK // SECTOR:
        raise NotAloneError("it is a part of a disk that another file describes")
    text = vmdk_descriptor(read, header)
    values = dict(re.findall(r'^\s*(\w+)\s*=\s*"?([^"\r\n]*?)"?\s*$', text, re.M))
    extents = re.findall(r"^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\w+)", text, re.M)
    kind = values.get("createType", "")
    if values.get("parentCID", "").lower() != "ffffffff" or "parentFileNameHint" in text:
        raise NotAloneError(_PARENT)
    if kind not in ("monolithicSparse", "streamOptimized") or extents != ["SPARSE"]:
        raise NotAloneError(f"parts of it are in other files ({kind or 'no createType'})")
    _check_grains(read, size, header)


def vmdk_descriptor(read: Read, header: bytes) -> str:
    """The descriptor within a sparse extent whose header was checked."""
    at, length = struct.unpack_from("<QQ", header, 28)
    return read(at * SECTOR, length * SECTOR).split(b"\0")[0].decode("utf-8", "replace")


def _check_grains(read: Read, size: int, header: bytes) -> None:
    """Checks that the file does not end before its last grain."""
    if struct.unpack_from("<Q", header, 56)[0] == 2**64 - 1:  # only the footer has the directory's
        header = read(size - 2 * SECTOR, SECTOR)  # offset; it repeats the header
        if not header.startswith(b"KDMV"):
            raise ForeignError("it is truncated: its footer is missing")
    flags, capacity, grain = struct.unpack_from("<IQQ", header, 8)
    entries, _, directory = struct.unpack_from("<IQQ", header, 44)
    if not (8 <= grain <= 2048 and 1 <= entries <= 4096):
        raise ForeignError("its vmdk header is damaged")
    tables = -(-capacity // (grain * entries))
    if tables > _MOST_TABLES:
        raise ForeignError(f"its vmdk header is damaged: a disk of {capacity} sectors")
    compressed = bool(flags & 1 << 16)
    last = 0
    for place in _runs(words(read, directory * SECTOR, tables, "<I"), entries * 4):
        last = max(last, max(_u32_of(read(*place))))
    if last > 1:  # 0: nothing was ever written; 1: zeros
        end = last * SECTOR
        end += struct.unpack("<8xI", read(end, 12))[0] + 12 if compressed else grain * SECTOR
        require(end, size)


def _runs(sectors: Iterable[int], length: int) -> Iterator[tuple[int, int]]:
    """Offsets and lengths of tables, bytes; adjacent tables are joined."""
    start = end = 0
    for sector in sectors:
        if not sector:
            continue
        if sector * SECTOR != end or end - start >= _CHUNK:
            if end:
                yield start, end - start
            start = sector * SECTOR
            end = start
        end += length
    if end:
        yield start, end - start


def _u32_of(data: bytes) -> "array[int]":
    """Little-endian 32-bit numbers."""
    return _numbers(data, "<I")


def _numbers(data: bytes, form: str) -> "array[int]":
    numbers = array(form[1], data)
    if struct.pack(f"={form[1]}", 1) != struct.pack(form, 1):
        numbers.byteswap()
    return numbers


def words(read: Read, offset: int, count: int, form: str) -> Iterator[int]:
    """Reads `count` numbers of a `struct` format, piece by piece."""
    length = count * struct.calcsize(form)
    for done in range(0, length, _CHUNK):
        yield from _numbers(read(offset + done, min(_CHUNK, length - done)), form)


def _check_vdi(read: Read, size: int) -> None:
    """VirtualBox's VDICore.h, VDIHEADER1PLUS."""
    header = read(0, SECTOR)
    (kind,) = struct.unpack_from("<I", header, 0x4C)
    (data,) = struct.unpack_from("<I", header, 0x158)
    block, extra, _blocks, allocated = struct.unpack_from("<IIII", header, 0x178)
    link, parent = struct.unpack_from("16s16s", header, 0x1A8)
    if kind not in (1, 2) or any(link) or any(parent):  # dynamic, fixed
        raise NotAloneError(_PARENT)
    require(data + allocated * (block + extra), size)


def _check_vpc(read: Read, size: int) -> None:
    """Microsoft's Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format".

    QEMU uses the copy at the beginning of a dynamic disk, and reads a differencing disk as if its
    parent were all zeros.
    """
    parts = (read(0, SECTOR), read(size - SECTOR, SECTOR))
    footers = [part for part in parts if part.startswith(VHD_MAGIC)]
    if not footers:
        raise ForeignError("it is truncated: its footer is missing")
    if any(int.from_bytes(footer[60:64], "big") not in (2, 3) for footer in footers):
        raise NotAloneError(_PARENT)


# [MS-VHDX] 2.2.3 and 2.6; the GUIDs in their on-disk form.
_VHDX_REGIONS = (192 << 10, 256 << 10)  # the table and its copy, of 64 KiB each
_VHDX_TABLE = 64 << 10
_VHDX_METADATA = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
VHDX_BAT = bytes.fromhex("6677c22d23f600429d64115e9bfd4a08")
VHDX_PARAMETERS = bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b")
VHDX_SECTOR = bytes.fromhex("1dbf41816fa90947ba47f233a8faab5f")
VHDX_SIZE = bytes.fromhex("2442a52f1bcd7648b2115dbed83bf4b8")


def _check_vhdx(read: Read, _size: int) -> None:
    """Checks both copies of the tables: QEMU uses the first one with a correct checksum."""
    for place in vhdx_metadata(read, VHDX_PARAMETERS):
        if read(place, 8)[4] & 2:
            raise NotAloneError(_PARENT)


def vhdx_metadata(read: Read, item: bytes) -> Iterator[int]:
    """The offsets of a metadata item (a GUID), by the region table and by its copy."""
    for metadata in vhdx_regions(read, _VHDX_METADATA):
        entry = _vhdx_entry(read(metadata, _VHDX_TABLE), 32, item)
        yield metadata + int.from_bytes(entry[16:20], "little")


def vhdx_regions(read: Read, region: bytes) -> Iterator[int]:
    """The offsets of a region (a GUID), by the region table and by its copy."""
    for place in _VHDX_REGIONS:
        entry = _vhdx_entry(read(place, _VHDX_TABLE), 16, region)
        yield int.from_bytes(entry[16:24], "little")


def _vhdx_entry(table: bytes, first: int, guid: bytes) -> bytes:
    for place in range(first, len(table) - 31, 32):
        if table[place : place + 16] == guid:
            return table[place : place + 32]
    raise ForeignError("its vhdx tables are damaged")


def _check_qed(read: Read, _size: int) -> None:
    """QEMU's docs/interop/qed_spec.txt, "Header"."""
    if struct.unpack("<Q", read(16, 8))[0] & 1:
        raise NotAloneError("it needs a backing file")


def _check_parallels(read: Read, size: int) -> None:
    """QEMU's docs/interop/parallels.txt: offsets are sectors, with the new magic clusters."""
    header = read(0, 64)
    sectors, entries = struct.unpack_from("<II", header, 28)
    unit = SECTOR if header.startswith(b"WithoutFreeSpace") else sectors * SECTOR
    if not sectors or entries > MOST_CLUSTERS:
        raise ForeignError("its parallels header is damaged")
    last = max(words(read, 64, entries, "<I"), default=0)
    require(last * unit + sectors * SECTOR if last else 0, size)


_CHECKS: dict[str, Callable[[Read, int], None]] = {
    "vmdk": _check_vmdk,
    "vdi": _check_vdi,
    "vhdx": _check_vhdx,
    "vpc": _check_vpc,
    "qed": _check_qed,
    "parallels": _check_parallels,
}
