import os
import random
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter import buffers
from converter.errors import FormatMismatch
from converter.extents import Extent, Kind
from converter.sources import local
from converter.sources.base import Disk
from converter.sources.image_file import LocalFile
from converter.sources.local import GAP, SCATTERED, RawSource
from node.errors import KitError
from tests.unit.converter.qcow2_images import Image, deflated

K64 = 64 << 10


def sparse(path: Path, size: int, *data: tuple[int, int]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for start, length in data:
            os.pwrite(file.fileno(), b"\x5a" * length, start)
    return path


@pytest.mark.parametrize(
    ("size", "data", "wanted"),
    [
        (0, [], []),
        (5 * K64 + 7, [], [(0, 5 * K64 + 7, Kind.ZERO)]),
        (1000, [(0, 1000)], [(0, 1000, Kind.DATA)]),
        (
            9 * K64,
            [(2 * K64, K64), (6 * K64, K64)],
            [
                (0, 2 * K64, Kind.ZERO),
                (2 * K64, K64, Kind.DATA),
                (3 * K64, 3 * K64, Kind.ZERO),
                (6 * K64, K64, Kind.DATA),
                (7 * K64, 2 * K64, Kind.ZERO),
            ],
        ),
        # A hole too small to be worth two reads.
        (4 * K64, [(0, K64), (K64 + 8192, 3 * K64 - 8192)], [(0, 4 * K64, Kind.DATA)]),
    ],
)
def test_holes_of_a_raw_file_are_zeros(
    tmp_path: Path, size: int, data: list[tuple[int, int]], wanted: list[tuple[int, int, Kind]]
) -> None:
    path = sparse(tmp_path / "disk", size, *data)
    with local.local_source(path, "disk", "raw") as source:
        assert source.size == size
        extents = [Extent(s, n, kind, s if kind is Kind.DATA else 0) for s, n, kind in wanted]
        assert list(source.extents()) == extents
        for start in range(0, size, 4096):
            rest = [e.cut(max(e.guest_offset, start), e.end) for e in extents if e.end > start]
            assert list(source.extents(start)) == rest


def test_the_holes_stay_where_they_were_found(tmp_path: Path) -> None:
    """Blocks that are allocated but unwritten turn from holes into data when they are read."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 16 * K64)
        os.pwrite(file.fileno(), b"x" * K64, K64)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with local.local_source(path, "disk", "raw") as source:
        before = list(source.extents())
        path.read_bytes()
        assert list(source.extents()) == before


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), max_size=6),
    st.integers(0, 4095),
)
def test_a_reader_gives_the_bytes(runs: list[tuple[int, int]], odd: int) -> None:
    fd = os.memfd_create("disk")
    try:
        size = 48 * K64 + odd
        os.ftruncate(fd, size)
        for start, length in runs:
            os.pwrite(fd, os.urandom(length * K64 // 2), start * K64)
        file = LocalFile(fd, "disk")
        source = RawSource(file)
        reader = source.reader()
        found = buffers.buffer(size)
        extents = list(source.extents())
        assert [e.guest_offset for e in extents] == [0, *(e.end for e in extents)][: len(extents)]
        reader.read([e for e in extents if e.kind is Kind.DATA], found, 0)
        assert found[:size] == os.pread(fd, size, 0)
        assert all(e.length >= GAP for e in extents[1:-1] if e.kind is Kind.ZERO)
        reader.close()
        file.pages.close()
    finally:
        os.close(fd)


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def refused(path: Path, image_format: str | None) -> KitError:
    before = open_files()
    with pytest.raises(KitError) as caught, local.local_source(path, "name", image_format):
        pass
    assert open_files() == before
    assert "source name" in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("head", "image_format", "words"),
    [
        (b"QFI\xfb", "raw", "it is a qcow2 image, not raw"),
        (b"KDMV", "raw", "it is a vmdk image, not raw"),
        (b"vhdxfile", None, "it is a vhdx image, not qcow2"),
        (b"\0\0\0\0", None, "it begins with 00 00 00 00"),
        (b"", None, "it begins with nothing"),
    ],
)
def test_what_the_first_bytes_contradict_is_refused(
    tmp_path: Path, head: bytes, image_format: str | None, words: str
) -> None:
    (tmp_path / "image").write_bytes(head)
    error = refused(tmp_path / "image", image_format)
    assert words in error.message and error.hint


def test_what_is_no_disk_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "a directory, neither" in refused(tmp_path, "raw").message
    assert "neither a regular file" in refused(tmp_path / "fifo", "raw").message
    assert "neither a regular file" in refused(Path("/dev/null"), "raw").message
    assert "No such file" in refused(tmp_path / "none", "raw").message


@pytest.mark.parametrize("change", ["head", "end", "longer", "shorter", "nothing"])
def test_a_source_that_changed_is_told(tmp_path: Path, change: str) -> None:
    path = sparse(tmp_path / "disk", 4 * K64, (0, 4 * K64))
    os.utime(path, ns=(0, 0))
    with local.local_source(path, "disk", "raw") as source:
        with path.open("r+b") as file:
            if change == "longer":
                file.truncate(5 * K64)
            elif change == "shorter":
                file.truncate(3 * K64)
            elif change != "nothing":
                os.pwrite(file.fileno(), b"y", 0 if change == "head" else 4 * K64 - 1)
        if change == "head":
            os.utime(path, ns=(0, 0))  # a clock that stands still
        if change == "nothing":
            source.check_unchanged()
        else:
            with pytest.raises(KitError, match="changed while it was copied"):
                source.check_unchanged()


def test_a_file_that_ends_early_is_named_with_the_byte(tmp_path: Path) -> None:
    path = sparse(tmp_path / "disk", 4 * K64, (0, 4 * K64))
    with local.local_source(path, "disk", "raw") as source:
        os.truncate(path, K64)
        [extent] = source.extents()
        reader = source.reader()
        with pytest.raises(KitError, match=f"at byte {K64}: the file ends"):
            reader.read([extent], buffers.buffer(extent.length), extent.guest_offset)
        reader.close()


@pytest.mark.parametrize("places", [SCATTERED - 1, SCATTERED])
def test_a_scattered_piece_is_read_through_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    # Not every file system has direct I/O: a second descriptor stands for that.
    past_the_cache: list[int] = []

    def direct(fd: int, _flags: int) -> int:
        past_the_cache.append(os.dup(fd))
        return past_the_cache[-1]

    used: list[int] = []
    real = LocalFile.read_into

    def read_into(
        self: LocalFile, view: memoryview, offset: int, fd: int, enough: int | None = None
    ) -> None:
        used.append(fd)
        real(self, view, offset, fd, enough)

    monkeypatch.setattr(buffers, "direct", direct)
    monkeypatch.setattr(buffers.PageCache, "holds", lambda *_: False)
    content = random.Random(places).randbytes(2 * SCATTERED * K64)
    path = tmp_path / "disk"
    path.write_bytes(content)
    with local.local_source(path, "disk", "raw") as source, closing(source.reader()) as reader:
        monkeypatch.setattr(LocalFile, "read_into", read_into)
        offsets = [len(content) - (2 * n + 1) * K64 for n in range(places)]
        found = buffers.buffer(places * K64)
        extents = [Extent(n * K64, K64, Kind.DATA, at) for n, at in enumerate(offsets)]
        reader.read(extents, found, 0)
        assert found == b"".join(content[at : at + K64] for at in offsets)
        assert len(used) == places
        assert {fd in past_the_cache for fd in used} == {places < SCATTERED}


def test_a_raw_disk_may_be_encrypted_by_its_guest(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"LUKS\xba\xbe" + bytes(4090))
    with local.local_source(path, "disk", "raw") as source:
        assert source.size == 4096
    with pytest.raises(FormatMismatch, match="luks image, not qcow2") as caught:
        local.local_source(path, "disk", None).__enter__()
    assert caught.value.fits == "raw"


@pytest.mark.parametrize("place", [0, 100, K64 - 1])
@pytest.mark.parametrize("length", [1, 5000, K64 - 511])
def test_a_part_of_a_compressed_cluster(tmp_path: Path, place: int, length: int) -> None:
    """The last cluster is not a whole one of the disk."""
    inside = random.Random(5).randbytes(K64 // 2) + b"ab" * (K64 // 4)
    image = Image(
        clusters=2,
        cluster_bits=16,
        cut=512,
        compressed={0: deflated(inside), 1: deflated(inside[::-1])},
    )
    path = tmp_path / "image.qcow2"
    path.write_bytes(image.build())
    wanted = (inside + inside[::-1])[place : place + length]
    with local.local_source(path, str(path), None) as source, closing(Disk(source)) as disk:
        assert disk.read(place, length) == wanted


def test_a_part_of_a_cluster_is_an_error_where_the_cluster_is_short(tmp_path: Path) -> None:
    """Also where what there is would do."""
    path = tmp_path / "image.qcow2"
    path.write_bytes(
        Image(clusters=1, cluster_bits=16, compressed={0: deflated(bytes(K64 - 1))}).build()
    )
    with (
        local.local_source(path, str(path), None) as source,
        closing(Disk(source)) as disk,
        pytest.raises(KitError, match=f"byte 0 of the disk.*{K64 - 1} bytes instead of {K64}"),
    ):
        disk.read(0, 1000)
