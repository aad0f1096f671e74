"""Builds small qcow2 images in memory, for tests that then damage them, and reads them whole."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from converter.extents import Kind
from converter.formats import qcow2
from converter.formats.inflate import Cluster, inflater

COPIED = 1 << 63
COMPRESSED = 1 << 62


def deflated(data: bytes, window: int = 12) -> bytes:
    """As QEMU writes a compressed cluster: raw deflate."""
    stream = zlib.compressobj(wbits=-window)
    return stream.compress(data) + stream.flush()


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


@dataclass
class Image:
    """An image of `clusters` clusters; those given are data, and it can be taken apart.

    The file: header, refcount table, refcount block, L1 table, L2 tables, data. Every L2 table
    exists. Offsets are bytes of the file.
    """

    clusters: int = 100
    data: Mapping[int, bytes] = field(default_factory=dict)
    compressed: Mapping[int, bytes] = field(default_factory=dict)  # streams
    zero: Mapping[int, bool] = field(default_factory=dict)  # with a cluster of the file, or not
    bitmaps: Mapping[int, int] = field(default_factory=dict)  # of subclusters; else all allocated
    version: int = 3
    cluster_bits: int = 9
    cut: int = 0  # bytes that the disk lacks to full clusters
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    extensions: bytes = b""
    fields: Mapping[str, int] = field(default_factory=dict)  # of the header, replaced

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits

    @property
    def extended(self) -> bool:
        return bool(self.incompatible & 16)

    @property
    def entry(self) -> int:
        return 16 if self.extended else 8

    @property
    def size(self) -> int:
        return self.clusters * self.cluster - self.cut

    @property
    def refcount_table(self) -> int:
        return self.cluster

    @property
    def l1(self) -> int:
        return 3 * self.cluster

    @property
    def tables(self) -> int:
        return -(-self.clusters * self.entry // self.cluster)

    @property
    def l2(self) -> int:
        """Of the first L2 table; the others follow."""
        return self.l1 + self.cluster * -(-self.tables * 8 // self.cluster)

    def l2_entry(self, index: int) -> int:
        """Where the L2 entry of a cluster of the disk stands."""
        return self.l2 + index * self.entry

    @property
    def first_data(self) -> int:
        return self.l2 + self.tables * self.cluster

    def build(self) -> bytearray:
        file = bytearray(self.first_data)
        table = bytearray(self.tables * self.cluster)

        def map_to(index: int, entry: int, bitmap: int = 0) -> None:
            struct.pack_into(">Q", table, index * self.entry, entry)
            if self.extended:
                struct.pack_into(">Q", table, index * self.entry + 8, bitmap)

        for index, content in self.data.items():
            map_to(index, COPIED | len(file), self.bitmaps.get(index, 0xFFFFFFFF))
            file += content.ljust(self.cluster, b"\0")
        for index, allocated in self.zero.items():
            entry = 0 if self.extended else 1
            map_to(index, entry | (COPIED | len(file) if allocated else 0), 0xFFFFFFFF << 32)
            file += bytes(self.cluster) if allocated else b""
        for index, stream in self.compressed.items():
            last = (len(file) + len(stream) - 1) // 512
            sectors = last - len(file) // 512  # besides the first one
            map_to(index, COMPRESSED | sectors << 62 - (self.cluster_bits - 8) | len(file))
            file += stream
        file += bytes(-len(file) % 512)
        file[self.l2 : self.l2 + len(table)] = table
        for number in range(self.tables):
            entry = COPIED | self.l2 + number * self.cluster
            struct.pack_into(">Q", file, self.l1 + 8 * number, entry)
        struct.pack_into(">Q", file, self.refcount_table, 2 * self.cluster)
        header = self.header()
        file[: len(header)] = header
        return file

    def header(self) -> bytes:
        v2 = {
            "magic": 0x514649FB,
            "version": self.version,
            "backing_offset": 0,
            "backing_size": 0,
            "cluster_bits": self.cluster_bits,
            "size": self.size,
            "crypt_method": 0,
            "l1_size": self.tables,
            "l1_offset": self.l1,
            "refcount_table_offset": self.refcount_table,
            "refcount_table_clusters": 1,
            "snapshots": 0,
            "snapshots_offset": 0,
        }
        v3 = {
            "incompatible": self.incompatible,
            "compatible": self.compatible,
            "autoclear": self.autoclear,
            "refcount_order": 4,
            "header_length": 112,
            "compression": 0,
        }
        known = v2 | v3
        assert self.fields.keys() <= known.keys()
        v2, v3 = ({name: self.fields.get(name, part[name]) for name in part} for part in (v2, v3))
        header = struct.pack(">IIQIIQIIQQIIQ", *v2.values())
        if self.version > 2:
            header += struct.pack(">QQQIIB7x", *v3.values())
        return header + self.extensions


def parsed(file: bytes | bytearray) -> qcow2.Image:
    def read(offset: int, length: int) -> bytes:
        assert offset >= 0
        assert offset + length <= len(file), "nothing behind the file's end may be asked for"
        return bytes(file[offset : offset + length])

    return qcow2.parse(read, len(file))


def disk(file: bytes | bytearray) -> bytes:
    """The disk's bytes; every extent is checked to follow the one before and to be in the file."""
    image = parsed(file)
    inflate = inflater(image.compression, image.cluster_size)
    writable, whole = memoryview(bytearray(file)), memoryview(bytearray(image.cluster_size))
    out = bytearray(image.size)
    view, place = memoryview(out), 0
    for extent in image.extents():
        assert extent.guest_offset == place and extent.length > 0
        place = extent.end
        assert place <= image.size
        if extent.kind is Kind.DATA:
            assert 0 < extent.host_offset <= extent.host_offset + extent.length <= len(file)
            view[extent.guest_offset : place] = file[
                extent.host_offset : extent.host_offset + extent.length
            ]
        elif extent.kind is Kind.COMPRESSED:
            assert 0 < extent.stored_length <= len(file) - extent.host_offset
            inflate(writable, whole, [Cluster(extent.host_offset, extent.stored_length, 0)])
            view[extent.guest_offset : place] = whole[: extent.length]
    assert place == image.size
    view.release()
    return bytes(out)
