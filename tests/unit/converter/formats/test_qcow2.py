import random
import struct
import time
import tracemalloc
from array import array
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.extents import Extent, Kind
from converter.formats import qcow2
from converter.formats.inflate import InflateError
from converter.formats.qcow2 import FormatError
from tests.unit.converter.qcow2_images import (
    COMPRESSED,
    COPIED,
    Image,
    deflated,
    disk,
    extension,
    parsed,
)

FEATURE_NAMES = 0x6803F857
BITMAPS = 0x23852875
LUKS = 0x0537BE77
DATA_FILE = 0x44415441
EXTENDED_L2 = 1 << 4


def content(number: int, size: int = 512) -> bytes:
    return random.Random(number).randbytes(size)


def mixed(**options: object) -> Image:
    """Something of every kind; several L2 tables with clusters of 512 bytes."""
    text = b"compressible " * 40
    return Image(
        clusters=150,
        data={n: content(n) for n in (0, 1, 2, 70, 71, 149)},
        compressed={5: deflated(text[:512]), 6: deflated(text[1:513])},
        zero={9: False, 10: True},
        **options,  # type: ignore[arg-type]
    )


def refused(file: bytes | bytearray, *words: str) -> FormatError:
    """That it is refused, by `parse` or `check`, with these words."""
    with pytest.raises(FormatError) as caught:
        parsed(file).check()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint
    return caught.value


def poked(image: Image, offset: int, value: int, form: str = ">Q") -> bytearray:
    file = image.build()
    struct.pack_into(form, file, offset, value)
    return file


# What is read


def test_data_holes_zeros_and_compressed_clusters() -> None:
    image = mixed()
    expected = bytearray(image.size)
    text = b"compressible " * 40
    for number, piece in {**image.data, 5: text[:512], 6: text[1:513]}.items():
        expected[number * 512 : number * 512 + 512] = piece
    assert disk(image.build()) == expected


def test_extents_are_merged_also_across_tables() -> None:
    image = Image(clusters=200, data={n: content(n) for n in range(60, 130)})
    assert list(parsed(image.build()).extents()) == [
        Extent(0, 60 * 512, Kind.ZERO),
        Extent(60 * 512, 70 * 512, Kind.DATA, image.first_data),
        Extent(130 * 512, 70 * 512, Kind.ZERO),
    ]


def test_runs_end_where_the_file_does_not_go_on() -> None:
    """At each distance that the search for a run's end may stop at."""
    for length in range(1, 64):
        image = Image(clusters=64, data={n: content(n) for n in range(64)})
        file = image.build()
        struct.pack_into(">Q", file, image.l2_entry(length), COPIED | image.first_data)
        ends = [extent.end // 512 for extent in parsed(file).extents()]
        assert ends[0] == length
        assert ends[-1] == 64


@pytest.mark.parametrize("cut", [1, 511, 512 + 100])
def test_a_disk_may_end_within_a_cluster(cut: int) -> None:
    image = Image(clusters=80, data={n: content(n) for n in range(80)}, cut=cut)
    assert disk(image.build()) == b"".join(image.data.values())[:-cut]
    packed = Image(clusters=1, compressed={0: deflated(content(0))}, cut=cut % 512)
    assert disk(packed.build()) == content(0)[: 512 - cut % 512]


@pytest.mark.parametrize("l1_offset", [0, 512, 1 << 63])
def test_an_empty_disk(l1_offset: int) -> None:
    image = parsed(Image(clusters=0, fields={"l1_offset": l1_offset}).build())
    assert (image.size, list(image.extents())) == (0, [])
    assert image.check() == qcow2.Allocation(0, 0, 0, 0, 0)


@pytest.mark.parametrize("copied", [0, COPIED])
def test_whether_a_cluster_is_shared_with_a_snapshot_does_not_matter(copied: int) -> None:
    image = Image(data={3: content(3)})
    file = poked(image, image.l2_entry(3), copied | image.first_data)
    assert disk(file)[3 * 512 : 4 * 512] == content(3)


def test_version_2() -> None:
    image = Image(version=2, data={1: content(1)}, compressed={2: deflated(bytes(512))})
    assert disk(image.build())[512:1024] == content(1)
    assert parsed(image.build()).version == 2


def test_what_is_allocated_is_counted() -> None:
    allocation = parsed(mixed().build()).check()
    assert allocation == qcow2.Allocation(
        data=6 * 512,
        compressed=2 * 512,
        zero=142 * 512,
        compressed_clusters=2,
        compressed_size=allocation.compressed_size,
    )
    assert 2 * 13 <= allocation.compressed_size <= 2 * 512


def test_features() -> None:
    directory = Image(autoclear=1).first_data
    bitmaps = extension(BITMAPS, struct.pack(">IIQQ", 3, 0, 72, directory))
    image = Image(incompatible=1, compatible=1, autoclear=1, extensions=bitmaps)
    features = parsed(image.build() + bytes(512)).features
    assert features == {
        "version": "3",
        "cluster size": "512",
        "compression": "zlib",
        "extended L2": "no",
        "refcount bits": "16",
        "lazy refcounts": "yes",
        "dirty": "yes",
        "internal snapshots": "0",
        "bitmaps": "3",
    }


@given(st.integers(0, 150 * 512))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_extents_from_any_place_are_those_from_the_beginning(start: int) -> None:
    image = parsed(mixed().build())
    whole = [e.cut(max(e.guest_offset, start), e.end) for e in image.extents() if e.end > start]
    assert list(image.extents(start)) == whole


def extended(bitmap: int, **options: object) -> Image:
    return Image(
        clusters=3,
        cluster_bits=14,
        incompatible=EXTENDED_L2,
        data={1: content(1, 1 << 14)},
        bitmaps={1: bitmap},
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    "bitmap",
    [0, 1, 1 << 31, 0xFFFFFFFF, 0x0F0F0F0F, 0xFFFF0000 << 32 | 0xFFFF, 0xFFFFFFFF << 32, 1 << 40],
)
def test_subclusters(bitmap: int) -> None:
    expected = bytearray(3 << 14)
    for number in range(32):
        if bitmap >> number & 1:
            part = slice(number * 512, number * 512 + 512)
            expected[1 << 14 : 2 << 14][part]
            begin = (1 << 14) + number * 512
            expected[begin : begin + 512] = content(1, 1 << 14)[part]
    assert disk(extended(bitmap).build()) == expected


def test_subclusters_behind_the_last_allocated_one_need_not_be_in_the_file() -> None:
    file = extended(0x3).build()
    whole = disk(file)
    assert disk(file[: extended(0x3).first_data + 1024]) == whole
    refused(file[: extended(0x3).first_data + 1023], "at least 1 bytes are missing")


def test_rows_of_extended_clusters_are_merged() -> None:
    image = Image(
        clusters=2000,
        cluster_bits=14,
        incompatible=EXTENDED_L2,
        data=dict.fromkeys((*range(10, 30), *range(40, 60)), b"x"),
        bitmaps={15: 0xFFFF, 41: 0xFFFF0000, 42: 0},
    )
    cluster, half, first = 1 << 14, 1 << 13, image.first_data
    assert list(parsed(image.build()).extents()) == [
        Extent(0, 10 * cluster, Kind.ZERO),
        Extent(10 * cluster, 5 * cluster + half, Kind.DATA, first),
        Extent(15 * cluster + half, half, Kind.ZERO),
        Extent(16 * cluster, 14 * cluster, Kind.DATA, first + 6 * cluster),
        Extent(30 * cluster, 10 * cluster, Kind.ZERO),
        Extent(40 * cluster, cluster, Kind.DATA, first + 20 * cluster),
        Extent(41 * cluster, half, Kind.ZERO),
        Extent(41 * cluster + half, half, Kind.DATA, first + 21 * cluster + half),
        Extent(42 * cluster, cluster, Kind.ZERO),
        Extent(43 * cluster, 17 * cluster, Kind.DATA, first + 23 * cluster),
        Extent(60 * cluster, 1940 * cluster, Kind.ZERO),
    ]


# What is refused: the header


@pytest.mark.parametrize("length", [0, 3, 71, 72, 100, 111])
def test_a_cut_header(length: int) -> None:
    refused(Image().build()[:length])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"magic": 0x4B444D56}, "not a qcow2 image: it begins with b'KDMV'"),
        ({"version": 1}, "version 1"),
        ({"version": 4}, "version 4"),
        ({"cluster_bits": 8}, "cluster_bits is 8"),
        ({"cluster_bits": 22}, "cluster_bits is 22"),
        ({"cluster_bits": 0xFFFFFFFF}, "cluster_bits"),
        ({"crypt_method": 1}, "encrypted (AES)"),
        ({"crypt_method": 2}, "encrypted (LUKS)"),
        ({"crypt_method": 3}, "encrypted (unknown method 3)"),
        ({"backing_offset": 400, "backing_size": 0}, "backing file, without a name"),
        ({"backing_offset": 1 << 60, "backing_size": 9}, "backing file, without a name"),
        ({"size": 1 << 63}, "L1 table has 2 entries"),
        ({"size": 128 * 512 + 1}, "needs 3"),
        ({"l1_size": 0xFFFFFFFF}, "the L1 table has 34359738360 bytes, more than"),
        ({"l1_size": 1 << 22}, "are missing"),
        ({"l1_offset": 3 * 512 + 8}, "the L1 table is at 1544"),
        ({"l1_offset": 0}, "the header and the L1 table overlap at 0"),
        ({"l1_offset": 512}, "overlap at 512"),
        ({"l1_offset": 2 * 512}, "the L1 table and an L2 table or refcount block overlap at 1024"),
        ({"l1_offset": 1 << 62}, "are missing"),
        ({"refcount_table_offset": 513}, "the refcount table is at 513"),
        ({"refcount_table_offset": 0}, "the header and the refcount table overlap at 0"),
        ({"refcount_table_offset": 1 << 63}, "are missing"),
        ({"refcount_table_clusters": 0}, "no refcount table"),
        ({"refcount_table_clusters": 0xFFFFFFFF}, "more than"),
        ({"refcount_table_clusters": 3}, "overlap at 1536"),
        ({"refcount_order": 7}, "refcount_order is 7"),
        ({"header_length": 96}, "invalid: 96"),
        ({"header_length": 108}, "invalid: 108"),
        ({"header_length": 1 << 31}, "length is invalid"),
        ({"incompatible": 2}, "marked as corrupt"),
        ({"incompatible": 4}, "external data file"),
        ({"incompatible": 8}, "contradicts"),
        ({"incompatible": 0, "compression": 1}, "contradicts"),
        ({"incompatible": 8, "compression": 2}, "compression type 2 is unknown"),
        ({"incompatible": 16}, "extended L2 entries with clusters of only 512"),
        ({"incompatible": 1 << 5 | 1 << 63}, "bit 5 (not named), bit 63 (not named)"),
        ({"autoclear": 1}, "marked to have bitmaps"),
        ({"snapshots": 65537, "snapshots_offset": 512}, "65537 snapshots"),
        ({"snapshots": 1, "snapshots_offset": 1 << 62}, "the snapshot table"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(map(str, value)),
)
def test_a_bad_header(fields: dict[str, int], words: str) -> None:
    refused(Image(fields=fields).build(), words)


def test_ways_out_are_named() -> None:
    hints = {
        name: refused(Image(fields=fields).build()).hint
        for name, fields in {
            "backing": {"backing_offset": 400},
            "data file": {"incompatible": 4},
            "encrypted": {"crypt_method": 2},
            "corrupt": {"incompatible": 2},
        }.items()
    }
    assert "qemu-img convert -O qcow2" in str(hints["backing"])
    assert "rebase -u -b ''" in str(hints["backing"])
    assert "qemu-img convert -O qcow2" in str(hints["data file"])
    assert "encrypt.key-secret" in str(hints["encrypted"])
    assert "qemu-img check -r all" in str(hints["corrupt"])


def test_a_backing_file_is_named_and_cannot_write_to_the_log() -> None:
    file = Image(fields={"backing_offset": 300, "backing_size": 21}).build()
    file[300:321] = b"/etc/passwd\nerror: \x1b["
    error = refused(file, r"backing file, '/etc/passwd\nerror: \x1b['")
    assert "\n" not in str(error) and "\x1b" not in str(error)


def test_unknown_features_have_the_names_of_the_image() -> None:
    names = b"".join(
        struct.pack(">BB46s", kind, bit, name)
        for kind, bit, name in [
            (1, 9, b"a compatible one"),
            (0, 9, b"time travel"),
            (0, 10, b"x" * 46),
        ]
    )
    image = Image(extensions=extension(FEATURE_NAMES, names), incompatible=1 << 9 | 1 << 11)
    refused(image.build(), "bit 9 ('time travel'), bit 11 (not named)")


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        (struct.pack(">II", 1, 512 - 112 - 8 + 1), "does not fit"),
        (struct.pack(">II", 1, 0xFFFFFFFF), "does not fit"),
        (extension(FEATURE_NAMES, b"") * 2, "appears twice"),
        (extension(LUKS, bytes(16)), "encrypted"),
        (extension(DATA_FILE, b"/dev/sda"), "external data file, '/dev/sda'"),
    ],
)
def test_bad_extensions(extensions: bytes, words: str) -> None:
    refused(Image(extensions=extensions).build(), words)


@pytest.mark.parametrize("length", [0, 1, 8, 512 - 112 - 8])
def test_unknown_extensions_do_not_matter(length: int) -> None:
    image = Image(extensions=extension(0x12345678, b"\xff" * length), data={0: content(0)})
    assert disk(image.build())[:512] == content(0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((0, 0, 72, 0), "0 bitmaps"),
        ((65536, 0, 72, 0), "65536 bitmaps"),
        ((1, 1, 72, 0), "damaged"),
        ((1, 0, 72, 100), "the bitmap directory is at 100"),
        ((1, 0, 72, 512), "overlap"),
        ((1, 0, 72, 1 << 40), "are missing"),
        ((1, 0, 1 << 40, 512), "more than"),
    ],
)
def test_a_bad_bitmaps_extension(fields: tuple[int, ...], words: str) -> None:
    data = extension(BITMAPS, struct.pack(">IIQQ", *fields))
    refused(Image(autoclear=1, extensions=data).build(), words)
    # Not marked as consistent, it must not be used, and so does no harm.
    assert parsed(Image(extensions=data).build()).features["bitmaps"] == "0"


def test_a_bitmaps_extension_of_another_length() -> None:
    refused(Image(autoclear=1, extensions=extension(BITMAPS, b"short")).build(), "5 bytes")


def snapshot(l1: int, entries: int, extra: int = 16, name: bytes = b"one") -> bytes:
    entry = struct.pack(">QIHHIIQII", l1, entries, 1, len(name), 0, 0, 0, 0, extra)
    entry += bytes(extra) + b"1" + name
    return entry + bytes(-len(entry) % 8)


def with_snapshots(build: Callable[[int], bytes], number: int) -> bytearray:
    image = Image(data={0: content(0)})
    at = image.first_data + 512
    image.fields = {"snapshots": number, "snapshots_offset": at}
    return image.build() + build(at).ljust(1024, b"\0") + bytes(512)


def test_snapshots_do_not_matter() -> None:
    def table(at: int) -> bytes:
        return (
            snapshot(at + 1024, 2)
            + snapshot(at + 512, 2, 24, b"longer name")
            + snapshot(0, 0)  # without an L1 table
        )

    file = with_snapshots(table, 3)
    struct.pack_into(">Q", file, len(file) - 512, 0xFFFF)  # a snapshot's entries are not read
    assert disk(file)[:512] == content(0)
    assert parsed(file).features["internal snapshots"] == "3"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda at: snapshot(at + 512 + 8, 2), "L1 table of snapshot 0 is at"),
        (lambda at: snapshot(at + 1024, 65), "at least 8 bytes are missing"),
        (lambda at: snapshot(at + 1024, 0xFFFFFFFF), "more than"),
        (lambda at: snapshot(at, 1), "overlap"),
        (lambda _: snapshot(0, 1), "overlap"),
        (lambda _: snapshot(3 * 512, 1), "overlap"),
        (lambda at: snapshot(at + 512, 1, extra=1025), "1025 bytes of extra data"),
        (lambda at: snapshot(at + 512, 1) + b"\xff" * 512, "4294967295 bytes of extra data"),
    ],
)
def test_bad_snapshots(build: Callable[[int], bytes], words: str) -> None:
    refused(with_snapshots(build, 2 if build(0)[-1] == 0xFF else 1), words)


# What is refused: the tables


def test_entries_of_the_l1_table() -> None:
    image = mixed()
    for bit in (*range(9), *range(56, 63)):
        refused(poked(image, image.l1, COPIED | image.l2 | 1 << bit), "entry 0 of the L1 table")
    refused(poked(image, image.l1, COPIED), "points to the header")
    refused(poked(image, image.l1, 1 << 55), "are missing")
    refused(poked(image, image.l1 + 8, image.l2), f"overlap at {image.l2}")
    refused(poked(image, image.l1, image.l1), "the L1 table and an L2 table")
    refused(poked(image, image.l1, image.refcount_table), "the refcount table and an L2 table")
    refused(poked(image, image.l1, 2 * 512), "overlap at 1024")
    refused(poked(Image(cluster_bits=12), 3 << 12, 4 << 12 | 512), "no cluster's start")


def test_entries_of_the_l1_table_behind_the_disks_end_are_checked_and_not_followed() -> None:
    """There may the state of a running machine be, saved with a snapshot."""
    image = Image(clusters=64, fields={"l1_size": 2}, data={3: content(3)})
    assert disk(poked(image, image.l1 + 8, COPIED | image.first_data + 512) + b"\xff" * 512)
    refused(poked(image, image.l1 + 8, 1 << 60), "entry 1 of the L1 table")
    refused(poked(image, image.l1 + 8, image.first_data), "in the L2 table or refcount block")


def test_entries_of_the_refcount_table() -> None:
    image = mixed()
    for bit in range(9):
        refused(poked(image, image.refcount_table, 1024 | 1 << bit), "entry 0 of the refcount")
    refused(poked(image, image.refcount_table, 1 << 63), "are missing")
    refused(
        poked(image, image.refcount_table + 8, 1024),
        "an L2 table or refcount block and an L2 table or refcount block overlap",
    )
    refused(
        poked(image, image.refcount_table, image.l2),
        "an L2 table or refcount block and an L2 table or refcount block overlap",
    )
    refused(
        poked(image, image.refcount_table, image.first_data), "in the L2 table or refcount block"
    )


@pytest.mark.parametrize("index", [3, 77, 149])
def test_standard_l2_entries(index: int) -> None:
    image = mixed()
    at, good = image.l2_entry(index), COPIED | image.first_data
    assert parsed(poked(image, at, good)).check()
    place = f"byte {index * 512} of the disk"
    for bit in (*range(1, 9), *range(56, 62)):
        refused(poked(image, at, good | 1 << bit), "L2 entry", place)
    refused(poked(image, at, COPIED), place, "where the header is")
    refused(poked(image, at, COPIED | 1), place, "where the header is")
    refused(poked(image, at, 1 << 55), place, "are missing")
    for metadata in (512, 1024, image.l1, image.l2, image.l2 + 512):
        refused(poked(image, at, metadata), place, f"is at {metadata} in the file, in")
        refused(poked(image, at, metadata | 1), place, f"is at {metadata} in the file, in")
    old = Image(version=2, clusters=150)
    refused(poked(old, old.l2_entry(index), 1), "reserved bits", place)


def test_a_run_may_not_go_on_into_metadata() -> None:
    """Checked as a run: its first cluster is sound, a later one is not."""
    image = Image(clusters=20, fields={"refcount_table_offset": 24 * 512})
    file = image.build() + bytes(30 * 512)
    struct.pack_into(">Q", file, 24 * 512, 2 * 512)
    for index in range(20):
        struct.pack_into(">Q", file, image.l2_entry(index), COPIED | (10 + index) * 512)
    refused(file, "in the refcount table")


def test_entries_behind_the_disks_end_are_checked() -> None:
    image = Image(clusters=10, data={3: content(3)})
    assert disk(poked(image, image.l2_entry(10), image.first_data))
    assert disk(poked(image, image.l2_entry(10), COMPRESSED | image.first_data))
    refused(poked(image, image.l2_entry(10), image.l1), "in the L1 table")
    refused(poked(image, image.l2_entry(10), 1 << 58), "byte 5120 of the disk")
    refused(poked(image, image.l2_entry(10), COMPRESSED | 1 << 40), "are missing")


def test_compressed_l2_entries() -> None:
    image = mixed()
    at = image.l2_entry(5)
    file = image.build()
    (entry,) = struct.unpack_from(">Q", file, at)
    refused(poked(image, at, entry | COPIED), "no compressed cluster")
    refused(poked(image, at, entry | 1 << 56), "no compressed cluster")
    refused(poked(image, at, COMPRESSED | len(file)), "at least 1 bytes are missing")
    refused(poked(image, at, COMPRESSED | 100), "is at 100 in the file, in the header")
    refused(poked(image, at, COMPRESSED | 1 << 61 | image.first_data - 10), "L2 table")
    refused(poked(image, at, COMPRESSED | 1 << 61 | len(file) - 512), "at least 1 bytes")
    assert parsed(poked(image, at, COMPRESSED | 1 << 61 | len(file) - 1024)).check()
    damaged = poked(image, at, COMPRESSED | image.first_data)  # no deflate stream there
    parsed(damaged).check()
    with pytest.raises(InflateError):
        disk(damaged)


def test_a_compressed_cluster_may_lack_the_rest_of_its_last_sector() -> None:
    image = Image(clusters=1, compressed={0: deflated(content(0))})
    file = image.build()
    end = image.first_data + len(image.compressed[0])
    assert end % 512
    (extent,) = parsed(file[:end]).extents()
    assert extent.host_offset + extent.stored_length == end
    assert disk(file[:end]) == content(0)
    last_sector = end // 512 * 512
    refused(file[:last_sector], "compressed", "at least 1 bytes are missing")


def test_extended_l2_entries() -> None:
    image = extended(0xFFFFFFFF)
    at = image.l2_entry(1)
    refused(poked(image, at + 8, 1 << 32 | 1), "allocated and zero at once")
    refused(poked(image, at + 8, 1 << 63 | 1 << 31), "allocated and zero at once")
    refused(poked(image, at, 0), "subclusters are allocated, and the cluster is not")
    refused(poked(image, at, image.first_data | 1), "reserved bits")
    refused(poked(image, at, image.first_data | 512), "no cluster begins there")
    packed = poked(image, at, COMPRESSED | image.first_data)
    refused(packed, "no compressed cluster")
    struct.pack_into(">Q", packed, at + 8, 0)
    assert parsed(packed).check().compressed_clusters == 1


# What is refused: truncated files


def test_every_cut_of_a_file_with_its_data_last_is_seen() -> None:
    image = Image(clusters=4, data={n: content(n) for n in range(4)})
    file = image.build()
    for length in range(len(file)):
        refused(file[:length])
    refused(file[:-700], "at least 700 bytes are missing")
    refused(file[: image.first_data], f"at least {4 * 512} bytes are missing")


def test_the_last_cluster_needs_no_more_bytes_than_the_disk_has() -> None:
    image = Image(clusters=4, data={n: content(n) for n in range(4)}, cut=100)
    file = image.build()
    assert disk(file[:-100]) == disk(file)
    refused(file[:-101], "at least 1 bytes are missing")


def test_a_missing_l2_table_is_named() -> None:
    image = Image(clusters=200, data={})
    refused(image.build()[:-10], "L1 table points to", "at least 10 bytes are missing")


def test_preallocated_zeros_must_begin_in_the_file() -> None:
    image = Image(clusters=2, zero={0: True})
    file = image.build()
    assert disk(file[:-511]) == bytes(1024)
    refused(file[:-512], "at least 1 bytes are missing")


def test_a_file_that_shrinks_while_it_is_read() -> None:
    file = mixed().build()

    def read(offset: int, length: int) -> bytes:
        return bytes(file[offset : offset + length])

    image = qcow2.parse(read, len(file))
    del file[mixed().l2 + 100 :]
    with pytest.raises(FormatError, match="the file ends 412 bytes short"):
        image.check()


# Bounds


class Sparse:
    """A file of any size: pieces of bytes, zeros between."""

    def __init__(self, size: int, pieces: dict[int, bytes]) -> None:
        self.size, self.pieces = size, pieces
        self.asked = 0

    def read(self, offset: int, length: int) -> bytes:
        self.asked += length
        out = bytearray(length)
        for at, piece in self.pieces.items():
            begin, end = max(at, offset), min(at + len(piece), offset + length)
            if begin < end:
                out[begin - offset : end - offset] = piece[begin - at : end - at]
        return bytes(out)


@pytest.mark.parametrize(
    "fields",
    [
        {"l1_size": 0xFFFFFFFF},
        {"l1_size": (32 << 20) // 8 + 1},
        {"refcount_table_clusters": 0xFFFFFFFF},
        {"snapshots": 0xFFFFFFFF, "snapshots_offset": 1 << 40},
        {"size": (1 << 64) - 1},
    ],
    ids=str,
)
def test_absurd_sizes_cost_nothing(fields: dict[str, int]) -> None:
    """Even in a sparse file that is large enough for them."""
    file = Sparse(1 << 50, {0: bytes(Image(fields=fields).build())})
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(FormatError):
        qcow2.parse(file.read, file.size)
    assert time.process_time() - started < 0.5
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert file.asked < 1 << 16


def full(clusters: int, cluster_bits: int, step: int) -> Sparse:
    """Fully allocated; from one cluster to the next in the file are `step` clusters."""
    image = Image(clusters=clusters, cluster_bits=cluster_bits)
    cluster, entries, first = image.cluster, image.cluster // 8, image.first_data
    offsets = range(COPIED | first, COPIED | first + clusters * step * cluster, step * cluster)
    pieces = {0: image.header(), image.refcount_table: struct.pack(">Q", 2 * cluster)}
    tables = [image.l2 + number * cluster for number in range(image.tables)]
    pieces[image.l1] = struct.pack(f">{len(tables)}Q", *tables)
    for number, table in enumerate(tables):
        raw = array("Q", offsets[number * entries : (number + 1) * entries])
        raw.byteswap()
        pieces[table] = raw.tobytes()
    return Sparse(first + clusters * step * cluster, pieces)


def test_twenty_gigabytes_in_a_row_are_one_extent_in_no_time() -> None:
    file = full(20 << 14, 16, 1)
    image = qcow2.parse(file.read, file.size)
    started = time.process_time()
    assert image.check().data == 20 << 30
    assert len(list(image.extents())) == 1
    assert time.process_time() - started < 0.6  # measured: 0.04


def test_memory_does_not_grow_with_the_image() -> None:
    peaks = []
    for clusters in (1 << 11, 1 << 14):  # each its own extent
        file = full(clusters, 12, 2)
        tracemalloc.start()
        qcow2.parse(file.read, file.size).check()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (16 << 10)


def test_a_nearly_empty_disk_is_read_as_little() -> None:
    clusters = 1 << 24  # 1 TiB
    image = Image(clusters=clusters, cluster_bits=16)
    pieces = {0: image.header(), image.refcount_table: struct.pack(">Q", 2 << 16)}
    pieces[image.l1 + 8 * 1000] = struct.pack(">Q", image.l2)
    pieces[image.l2 + 8] = struct.pack(">Q", image.first_data)
    file = Sparse(image.first_data + (1 << 16), pieces)
    extents = list(qcow2.parse(file.read, file.size).extents())
    assert [extent.kind for extent in extents] == [Kind.ZERO, Kind.DATA, Kind.ZERO]
    assert file.asked < 1 << 18


# Anything


POKES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.integers(0, 255).map(lambda byte: bytes([byte])),
            st.integers(0, 63).map(lambda bit: struct.pack(">Q", 1 << bit)),
            st.integers(0, 80).map(lambda number: struct.pack(">Q", number * 512)),
            st.binary(min_size=1, max_size=16),
        ),
        st.sampled_from([0, 20, 40, 60, 80, 100]),
    ),
    min_size=1,
    max_size=6,
)
IMAGES = {
    "every kind": mixed(),
    "version 2": Image(version=2, data={0: content(0)}, compressed={1: deflated(bytes(512))}),
    "extended": extended(0xFF00FF),
    "features": Image(
        extensions=extension(FEATURE_NAMES, bytes(96)) + extension(LUKS ^ 1, b"1234"),
        data={70: content(70)},
    ),
}


@pytest.mark.parametrize("name", IMAGES)
@given(pokes=POKES, kept=st.one_of(st.just(1.0), st.floats(0, 1)))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_no_damage_does_more_than_a_format_error(
    name: str, pokes: list[tuple[float, bytes, int]], kept: float
) -> None:
    """`disk` checks what is read: all in the file, in order, without gaps."""
    file = IMAGES[name].build()
    for where, data, header in pokes:
        # Mostly in the header and the tables: damage in data is no damage to the format.
        at = header if header else int(where * len(file)) // 8 * 8
        file[at : at + len(data)] = data[: len(file) - at]
    del file[int(kept * len(file)) :]
    try:
        if parsed(file).size > 1 << 30:
            parsed(file).check()
        else:
            disk(file)
    except (FormatError, InflateError):
        pass


@given(
    kinds=st.lists(st.sampled_from(["data", "hole", "zero", "kept zero", "packed"]), max_size=200),
    cut=st.integers(0, 511),
)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_any_disk_comes_back(kinds: list[str], cut: int) -> None:
    image = Image(
        clusters=len(kinds),
        data={n: content(n) for n, kind in enumerate(kinds) if kind == "data"},
        zero={n: kind == "kept zero" for n, kind in enumerate(kinds) if "zero" in kind},
        compressed={n: deflated(content(n)) for n, kind in enumerate(kinds) if kind == "packed"},
        cut=cut if kinds else 0,
    )
    expected = b"".join(
        content(n) if kind in ("data", "packed") else bytes(512) for n, kind in enumerate(kinds)
    )
    assert disk(image.build()) == expected[: image.size]
