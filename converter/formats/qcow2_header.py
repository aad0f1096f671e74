"""Parses the header of a qcow2 file, and refuses images that need other files.

By QEMU's docs/interop/qcow2; limits that are QEMU's own are marked so. No input or output.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from converter.reading import Read
from node.text import printable

MAGIC = b"QFI\xfb"
# magic, version, backing_file_offset and _size, cluster_bits, size, crypt_method, l1_size,
# l1_table_offset, refcount_table_offset and _clusters, nb_snapshots, snapshots_offset
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
# incompatible, compatible and autoclear features, refcount_order, header_length
_V3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")  # type, length
_BITMAPS = struct.Struct(">IIQQ")  # nb_bitmaps, reserved, directory size, directory offset

_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION_TYPE, _EXTENDED_L2 = range(5)  # incompatible bits
_KNOWN = 0b11111
_LAZY_REFCOUNTS = 0  # compatible bit
_BITMAPS_CONSISTENT = 0  # autoclear bit
_COMPRESSIONS = {0: "zlib", 1: "zstd"}

_EXT_END = 0x00000000
_EXT_BACKING_FORMAT = 0xE2792ACA
_EXT_FEATURE_NAMES = 0x6803F857
_EXT_BITMAPS = 0x23852875
_EXT_LUKS = 0x0537BE77
_EXT_DATA_FILE = 0x44415441
_FEATURE_NAME = 48  # bytes of an entry of the feature name table

_MIN_CLUSTER_BITS, _MAX_CLUSTER_BITS = 9, 21  # the maximum is QEMU's
_MIN_EXTENDED_CLUSTER_BITS = 14
_MAX_BITMAPS = 65535  # QEMU's

DAMAGED = (
    "the image is damaged: fetch it again, or let `qemu-img check -r all` repair a copy of it"
    " and examine the result"
)
TRUNCATED = (
    "the file is truncated or damaged: compare its size and checksum with the original's,"
    " and fetch it again"
)
_FLATTEN = (
    "flatten it: qemu-img convert -O qcow2 IMAGE FLAT.qcow2; but first see with `qemu-img info`"
    " which files it names: a hostile image may name any file of this node"
)
_NEWER = (
    "convert it with a QEMU that knows these features: qemu-img convert -O qcow2 IMAGE NEW.qcow2"
)


class FormatError(ValueError):
    """The file is not a qcow2 image that can be copied; `hint` is the remedy."""

    def __init__(self, message: str, hint: str = DAMAGED) -> None:
        super().__init__(message)
        self.hint = hint


class Bitmaps(NamedTuple):
    """The bitmaps extension: the number of bitmaps, and their directory (bytes)."""

    number: int
    offset: int
    size: int


@dataclass(frozen=True)
class Header:
    """The parsed header; offsets and sizes are bytes of the file, except `size`."""

    version: int
    size: int  # of the disk
    cluster_bits: int
    compression: str  # zlib, zstd
    extended_l2: bool
    refcount_bits: int
    lazy_refcounts: bool
    dirty: bool  # not closed cleanly, refcounts may be wrong; the mappings are right
    l1_offset: int
    l1_size: int  # entries
    refcount_table_offset: int
    refcount_table_size: int
    snapshots: int
    snapshots_offset: int
    bitmaps: Bitmaps | None  # None also if they are marked inconsistent

    @property
    def cluster_size(self) -> int:
        """Bytes."""
        return 1 << self.cluster_bits

    @property
    def l2_span(self) -> int:
        """Bytes of the disk that one L2 table (one cluster) maps."""
        return self.cluster_size * (self.cluster_size // (16 if self.extended_l2 else 8))


def read_exactly(read: Read, offset: int, length: int) -> bytes:
    """Reads a range of the file.

    Raises:
        FormatError: the file ends within the range.
    """
    data = read(offset, length)
    if len(data) != length:
        missing = length - len(data)
        raise FormatError(f"the file ends {missing} bytes short of {offset + length}", TRUNCATED)
    return data


def parse_header(read: Read, file_size: int) -> Header:
    """Parses and checks the header and its extensions.

    Raises:
        FormatError: it is no valid qcow2 header, or the image is damaged, encrypted, needs other
            files, or uses unknown features.
    """
    if file_size < _V2.size:
        raise FormatError(f"not a qcow2 image: the file has {file_size} bytes", TRUNCATED)
    (
        magic,
        version,
        backing_offset,
        backing_size,
        cluster_bits,
        size,
        crypt_method,
        l1_size,
        l1_offset,
        refcount_table_offset,
        refcount_table_clusters,
        snapshots,
        snapshots_offset,
    ) = _V2.unpack(read_exactly(read, 0, _V2.size))
    if magic != MAGIC:
        raise FormatError(
            f"not a qcow2 image: it begins with {magic!r} instead of {MAGIC!r}",
            "if it has another format (raw, vmdk, vdi, vhdx, …), name that",
        )
    if version not in (2, 3):
        raise FormatError(f"qcow2 version {version} is unknown: 2 and 3 are supported", _NEWER)
    if not _MIN_CLUSTER_BITS <= cluster_bits <= _MAX_CLUSTER_BITS:
        raise FormatError(
            f"cluster_bits is {cluster_bits}, not {_MIN_CLUSTER_BITS} to {_MAX_CLUSTER_BITS}"
        )
    cluster_size = 1 << cluster_bits
    head = read_exactly(read, 0, min(cluster_size, file_size))

    incompatible = compatible = autoclear = 0
    refcount_order, header_length = 4, _V2.size
    if version == 3:
        minimum = _V2.size + _V3.size
        if len(head) < minimum:
            raise FormatError(f"the header is cut off at {len(head)} bytes", TRUNCATED)
        incompatible, compatible, autoclear, refcount_order, header_length = _V3.unpack_from(
            head, _V2.size
        )
        if header_length < minimum or header_length % 8 or header_length > len(head):
            raise FormatError(f"the header's length is invalid: {header_length} bytes")
    if refcount_order > 6:
        raise FormatError(f"refcount_order is {refcount_order}, more than 6")

    extensions = _extensions(head, header_length)
    _refuse_dependent(incompatible, crypt_method, extensions)
    if backing_offset:
        raise FormatError(
            f"it has a backing file, {_backing_name(head, backing_offset, backing_size)}",
            f"{_FLATTEN}; if it needs none, qemu-img rebase -u -b '' IMAGE",
        )
    _refuse_unknown(incompatible, extensions.get(_EXT_FEATURE_NAMES, b""))
    extended_l2 = _bit(incompatible, _EXTENDED_L2)
    if extended_l2 and cluster_bits < _MIN_EXTENDED_CLUSTER_BITS:
        raise FormatError(f"extended L2 entries with clusters of only {cluster_size} bytes")
    if refcount_table_clusters == 0:
        raise FormatError("it has no refcount table")
    return Header(
        version=version,
        size=size,
        cluster_bits=cluster_bits,
        compression=_compression(head, header_length, _bit(incompatible, _COMPRESSION_TYPE)),
        extended_l2=extended_l2,
        refcount_bits=1 << refcount_order,
        lazy_refcounts=_bit(compatible, _LAZY_REFCOUNTS),
        dirty=_bit(incompatible, _DIRTY),
        l1_offset=l1_offset,
        l1_size=l1_size,
        refcount_table_offset=refcount_table_offset,
        refcount_table_size=refcount_table_clusters * cluster_size,
        snapshots=snapshots,
        snapshots_offset=snapshots_offset,
        bitmaps=_bitmaps(extensions, _bit(autoclear, _BITMAPS_CONSISTENT)),
    )


def _bit(features: int, number: int) -> bool:
    return bool(features >> number & 1)


def _extensions(head: bytes, at: int) -> dict[int, bytes]:
    """The header extensions that we know; all must end within `head`, the first cluster."""
    known = {_EXT_BACKING_FORMAT, _EXT_FEATURE_NAMES, _EXT_BITMAPS, _EXT_LUKS, _EXT_DATA_FILE}
    found: dict[int, bytes] = {}
    while at + _EXTENSION.size <= len(head):
        kind, length = _EXTENSION.unpack_from(head, at)
        if kind == _EXT_END:
            break
        at += _EXTENSION.size
        if length > len(head) - at:
            raise FormatError(f"header extension {kind:#x} does not fit the first cluster")
        if kind in found:
            raise FormatError(f"header extension {kind:#x} appears twice")
        if kind in known:
            found[kind] = head[at : at + length]
        at += (length + 7) & ~7
    return found


def _refuse_dependent(incompatible: int, crypt_method: int, extensions: dict[int, bytes]) -> None:
    """Refuses an image that is marked corrupt, is encrypted, or has its data in another file."""
    if _bit(incompatible, _CORRUPT):
        raise FormatError("it is marked as corrupt: QEMU once found its metadata damaged")
    if crypt_method or _EXT_LUKS in extensions:
        method = {0: "LUKS header without a method", 1: "AES", 2: "LUKS"}.get(crypt_method)
        raise FormatError(
            f"it is encrypted ({method or f'unknown method {crypt_method}'})",
            "decrypt it first: qemu-img convert --object secret,id=s,file=PASSPHRASE_FILE"
            " --image-opts driver=qcow2,file.filename=IMAGE,encrypt.key-secret=s"
            " -O qcow2 PLAIN.qcow2",
        )
    if _bit(incompatible, _EXTERNAL_DATA) or _EXT_DATA_FILE in extensions:
        name = extensions.get(_EXT_DATA_FILE)
        named = f", {_quoted(name)}" if name is not None else ""
        raise FormatError(f"its data is in an external data file{named}", _FLATTEN)


def _backing_name(head: bytes, offset: int, size: int) -> str:
    name = head[offset : offset + size] if offset < len(head) else b""
    return _quoted(name) if name else "without a name"


def _quoted(name: bytes) -> str:
    """A name from the image for messages: at most 1023 bytes (QEMU's limit), escaped."""
    return f"'{printable(name[:1023].decode('utf-8', 'surrogateescape'))}'"


def _refuse_unknown(incompatible: int, names: bytes) -> None:
    unknown = [bit for bit in range(64) if _bit(incompatible & ~_KNOWN, bit)]
    if not unknown:
        return
    named = {}
    for at in range(0, len(names) - _FEATURE_NAME + 1, _FEATURE_NAME):
        kind, bit = names[at], names[at + 1]
        if kind == 0:
            named[bit] = _quoted(names[at + 2 : at + _FEATURE_NAME].rstrip(b"\0"))
    listed = ", ".join(f"bit {bit} ({named.get(bit, 'not named')})" for bit in unknown)
    raise FormatError(
        f"it uses unknown features: {listed}",
        _NEWER,
    )


def _compression(head: bytes, header_length: int, other: bool) -> str:
    """The compression; `other` is the header's bit for "not the default"."""
    at = _V2.size + _V3.size
    number = head[at] if header_length > at else 0
    if other != (number != 0):
        raise FormatError(f"compression type {number} contradicts the header's compression bit")
    if number not in _COMPRESSIONS:
        raise FormatError(f"compression type {number} is unknown", _NEWER)
    return _COMPRESSIONS[number]


def _bitmaps(extensions: dict[int, bytes], consistent: bool) -> Bitmaps | None:
    if not consistent:
        return None  # the extension must then be ignored
    data = extensions.get(_EXT_BITMAPS)
    if data is None:
        raise FormatError("it is marked to have bitmaps, but has none")
    if len(data) != _BITMAPS.size:
        raise FormatError(f"the bitmaps extension has {len(data)} bytes")
    count, reserved, size, offset = _BITMAPS.unpack(data)
    if not 1 <= count <= _MAX_BITMAPS or reserved:
        raise FormatError(f"the bitmaps extension is damaged: {count} bitmaps")
    return Bitmaps(count, offset, size)
