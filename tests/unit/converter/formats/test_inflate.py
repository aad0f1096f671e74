import ctypes
import random
import zlib
from contextlib import suppress

import pytest

from converter.formats import inflate
from converter.formats.inflate import Cluster, InflateError, inflater
from node.errors import KitError
from tests.unit.converter.qcow2_images import deflated

CLUSTER = 4096
CONTENT = random.Random(3).randbytes(CLUSTER // 2) + b"ab" * (CLUSTER // 4)


def zstd(data: bytes) -> bytes:
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(2 * len(data) + 100)
    size = library.ZSTD_compress(
        out, ctypes.c_size_t(len(out)), data, ctypes.c_size_t(len(data)), ctypes.c_int(3)
    )
    return out.raw[:size]


COMPRESS = {"zlib": deflated, "zlib without libdeflate": deflated, "zstd": zstd}


@pytest.fixture(params=COMPRESS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "zlib without libdeflate":
        monkeypatch.setattr(inflate, "_libdeflate", lambda: None)
    else:
        assert inflate._libdeflate() is not None, "else the fast way is not tested"
    return str(request.param)


def inflated(kind: str, data: bytes, cluster: int = CLUSTER) -> bytes:
    out = bytearray(b"\xa5" * cluster)
    run = inflater(kind.split()[0], cluster)
    run(memoryview(bytearray(data)), memoryview(out), [Cluster(0, len(data), 0)])
    return bytes(out)


def test_a_cluster_is_inflated(kind: str) -> None:
    assert inflated(kind, COMPRESS[kind](CONTENT)) == CONTENT


@pytest.mark.parametrize("slack", [b"\0" * 300, b"\xff" * 511, "again"])
def test_what_follows_is_not_looked_at(kind: str, slack: bytes | str) -> None:
    stream = COMPRESS[kind](CONTENT)
    follows = slack if isinstance(slack, bytes) else stream
    assert inflated(kind, stream + follows) == CONTENT


def test_many_clusters_between_other_bytes(kind: str) -> None:
    contents = [CONTENT, bytes(CLUSTER), CONTENT[::-1]]
    source, clusters = bytearray(b"xyz"), []
    for number, content in enumerate(contents):
        stream = COMPRESS[kind](content)
        clusters.append(Cluster(len(source), len(stream), 10 + number * CLUSTER))
        source += stream + b"between"
    out = bytearray(b"\xa5" * (3 * CLUSTER + 20))
    run = inflater(kind.split()[0], CLUSTER)
    run(memoryview(source), memoryview(out), clusters)
    assert out == b"\xa5" * 10 + b"".join(contents) + b"\xa5" * 10
    source += b"no pointer holds the buffer any more"


def test_the_cluster_that_is_damaged_is_told(kind: str) -> None:
    stream = COMPRESS[kind](CONTENT)
    source = bytearray(stream + b"\x07nonsense" + stream)
    places = [Cluster(0, len(stream), 0), Cluster(len(stream), 9, CLUSTER)]
    out = bytearray(2 * CLUSTER)
    with pytest.raises(InflateError) as caught:
        inflater(kind.split()[0], CLUSTER)(memoryview(source), memoryview(out), places)
    assert caught.value.number == 1


@pytest.mark.parametrize(
    "outside", [(-1, 9, 0), (0, 10, 0), (9, 1, 0), (0, 9, 1), (0, 9, -1), (3, 0, 0)]
)
def test_nothing_is_done_outside_of_the_buffers(kind: str, outside: tuple[int, int, int]) -> None:
    """What libraries are given are addresses: they would read and write whatever is there."""
    run = inflater(kind.split()[0], CLUSTER)
    with pytest.raises(IndexError):
        run(memoryview(bytearray(9)), memoryview(bytearray(CLUSTER)), [Cluster(*outside)])


@pytest.mark.parametrize("short", [0, 1, CLUSTER - 1])
def test_less_than_a_cluster_is_an_error(kind: str, short: int) -> None:
    with pytest.raises(InflateError, match=f"{short} bytes instead of {CLUSTER}"):
        inflated(kind, COMPRESS[kind](CONTENT[:short]))


def test_more_than_a_cluster(kind: str) -> None:
    """QEMU stops at a cluster's end with deflate, and refuses it with zstd."""
    stream = COMPRESS[kind](CONTENT + b"more")
    if kind == "zstd":
        with pytest.raises(InflateError, match="too small"):
            inflated(kind, stream)
    else:
        assert inflated(kind, stream) == CONTENT


def test_a_deflate_stream_without_an_end_is_enough_if_it_has_a_cluster() -> None:
    compressor = zlib.compressobj(wbits=-12)
    stream = compressor.compress(CONTENT) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert inflated("zlib", stream) == CONTENT


def test_a_window_larger_than_qemus() -> None:
    cluster = 65536
    content = random.Random(4).randbytes(20000) * 3
    content = content.ljust(cluster, b"\0")
    assert inflated("zlib", deflated(content, 15), cluster) == content


@pytest.mark.parametrize("kept", [0.01, 0.5])
def test_a_cut_stream_is_an_error(kind: str, kept: float) -> None:
    stream = COMPRESS[kind](CONTENT)
    with pytest.raises(InflateError):
        inflated(kind, stream[: int(kept * len(stream))])


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_an_error_and_not_a_crash(kind: str, seed: int) -> None:
    noise = b"\x07" + random.Random(seed).randbytes(600)  # an invalid block type, an invalid magic
    with pytest.raises(InflateError, match="does not inflate"):
        inflated(kind, noise)


@pytest.mark.parametrize("seed", range(200))
def test_damage_stays_within_the_view(kind: str, seed: int) -> None:
    random_ = random.Random(seed)
    stream = bytearray(COMPRESS[kind](CONTENT))
    for _ in range(3):
        stream[random_.randrange(len(stream))] = random_.randrange(256)
    out = bytearray(b"\xa5" * (CLUSTER + 200))
    with suppress(InflateError):
        run = inflater(kind.split()[0], CLUSTER)
        run(memoryview(stream), memoryview(out), [Cluster(0, len(stream), 100)])
    assert out[:100] == out[-100:] == b"\xa5" * 100


def test_one_inflater_goes_on_after_an_error(kind: str) -> None:
    run = inflater(kind.split()[0], CLUSTER)
    out = bytearray(CLUSTER)
    with pytest.raises(InflateError):
        run(memoryview(bytearray(b"\x07nonsense")), memoryview(out), [Cluster(0, 9, 0)])
    stream = COMPRESS[kind](CONTENT)
    run(memoryview(bytearray(stream)), memoryview(out), [Cluster(0, len(stream), 0)])
    assert out == CONTENT


def test_without_libdeflate_zlib_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "LIBDEFLATE", "libdeflate-is-not-here.so.0")
    inflate._libdeflate.cache_clear()
    try:
        assert inflate._libdeflate() is None
        assert inflated("zlib", deflated(CONTENT)) == CONTENT
    finally:
        inflate._libdeflate.cache_clear()


def test_without_libzstd_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "LIBZSTD", "libzstd-is-not-here.so.1")
    inflate._libzstd.cache_clear()
    try:
        with pytest.raises(KitError, match="libzstd-is-not-here") as caught:
            inflater("zstd", CLUSTER)
        assert caught.value.hint == "apt-get install libzstd1"
    finally:
        inflate._libzstd.cache_clear()
