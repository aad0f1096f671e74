import ctypes
import random
import zlib
from contextlib import suppress

import pytest

from converter import inflate
from converter.inflate import InflateError, inflater
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


def inflated(kind: str, data: bytes, length: int = CLUSTER) -> bytes:
    out = bytearray(b"\xa5" * length)
    inflater(kind.split()[0], CLUSTER)(memoryview(data), memoryview(out))
    return bytes(out)


def test_a_cluster_is_inflated(kind: str) -> None:
    assert inflated(kind, COMPRESS[kind](CONTENT)) == CONTENT


@pytest.mark.parametrize("slack", [b"\0" * 300, b"\xff" * 511, "again"])
def test_what_follows_is_not_looked_at(kind: str, slack: bytes | str) -> None:
    stream = COMPRESS[kind](CONTENT)
    follows = slack if isinstance(slack, bytes) else stream
    assert inflated(kind, stream + follows) == CONTENT


def test_the_first_part_of_a_cluster(kind: str) -> None:
    assert inflated(kind, COMPRESS[kind](CONTENT), 1000) == CONTENT[:1000]


def test_writable_and_readonly_views_of_parts(kind: str) -> None:
    stream = COMPRESS[kind](CONTENT)
    data = bytearray(b"xyz" + stream)
    out = bytearray(b"\xa5" * (CLUSTER + 20))
    run = inflater(kind.split()[0], CLUSTER)
    run(memoryview(data)[3:], memoryview(out)[10:-10])
    assert out == b"\xa5" * 10 + CONTENT + b"\xa5" * 10
    data += b"no pointer holds the buffer any more"
    run(memoryview(data).toreadonly()[3:], memoryview(out)[20:])
    assert out[20:] == CONTENT


@pytest.mark.parametrize("length", [CLUSTER, 1000])
@pytest.mark.parametrize("short", [0, 1, CLUSTER - 1])
def test_less_than_a_cluster_is_an_error(kind: str, short: int, length: int) -> None:
    """Also where it would do for the part that is wanted."""
    with pytest.raises(InflateError, match=f"{short} bytes instead of {CLUSTER}"):
        inflated(kind, COMPRESS[kind](CONTENT[:short]), length)


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
    out = bytearray(cluster)
    inflater("zlib", cluster)(memoryview(deflated(content, 15)), memoryview(out))
    assert out == content


@pytest.mark.parametrize("kept", [0, 0.01, 0.5])
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
        inflater(kind.split()[0], CLUSTER)(memoryview(stream), memoryview(out)[100:-100])
    assert out[:100] == out[-100:] == b"\xa5" * 100


def test_one_inflater_goes_on_after_an_error(kind: str) -> None:
    run = inflater(kind.split()[0], CLUSTER)
    out = bytearray(CLUSTER)
    with pytest.raises(InflateError):
        run(memoryview(b"\x07nonsense"), memoryview(out))
    run(memoryview(COMPRESS[kind](CONTENT)), memoryview(out))
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
