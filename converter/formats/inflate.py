"""Inflates the compressed clusters of qcow2 images, without the GIL and without copies.

libdeflate and libzstd are called through ctypes, which releases the GIL. If libdeflate is missing,
Python's zlib is used, which is slower.
"""

import ctypes
import weakref
import zlib
from collections.abc import Callable, Iterable, Sequence
from ctypes import c_int, c_size_t, c_uint, c_void_p
from functools import cache
from typing import NamedTuple

from converter.buffers import address
from node.errors import KitError


class Cluster(NamedTuple):
    """A compressed cluster: its range in one buffer, and where it is inflated to in another.

    All figures are bytes.
    """

    begin: int  # in the source buffer
    size: int  # at most: other data may follow the compressed bytes
    place: int  # in the output buffer


# Inflates clusters from one buffer into the other; both are writable.
Inflate = Callable[[memoryview, memoryview, Sequence[Cluster]], None]

# The libraries in Debian whose ABIs are declared below.
LIBDEFLATE = "libdeflate.so.0"
LIBZSTD = "libzstd.so.1"
_RAW = -zlib.MAX_WBITS  # QEMU uses windows of 4 KiB; larger ones are inflated as well


class InflateError(ValueError):
    """A cluster does not inflate; `number` is its index among the given clusters."""

    def __init__(self, why: str, number: int) -> None:
        super().__init__(why)
        self.number = number


def inflater(compression: str, cluster_size: int) -> Inflate:
    """A function that inflates many clusters at once; each thread needs its own.

    Other bytes may follow the compressed ones: qcow2 stores their length in sectors only. If they
    do not inflate to exactly one cluster, it raises InflateError.

    Args:
        compression: zlib (raw deflate, RFC 1951) or zstd (one frame, RFC 8878).
        cluster_size: bytes.

    Raises:
        KitError: libzstd is needed and is not on this node.
    """
    inflate: Inflate
    if compression == "zstd":
        inflate = _Zstd(_libzstd(), cluster_size)
    elif (libdeflate := _libdeflate()) is not None:
        inflate = _Deflate(libdeflate, cluster_size)
    else:
        inflate = _Zlib(cluster_size)

    def checked(source: memoryview, out: memoryview, clusters: Sequence[Cluster]) -> None:
        # The C libraries do not check these figures.
        last = len(out) - cluster_size
        for begin, size, place in clusters:
            if not (0 <= begin < begin + size <= len(source) and 0 <= place <= last):
                raise IndexError(f"{(begin, size, place)} is outside of {len(source)}, {len(out)}")
        inflate(source, out, clusters)

    return checked


class _Zlib:
    """Inflates with Python's zlib. Like QEMU, it stops after one cluster of output."""

    def __init__(self, cluster_size: int) -> None:
        self._cluster_size = cluster_size

    def __call__(
        self, source: memoryview, out: memoryview, clusters: Iterable[Cluster], first: int = 0
    ) -> None:
        """Inflates clusters; `first` is the number of the first one in errors."""
        wanted = self._cluster_size
        for number, (begin, size, place) in enumerate(clusters, first):
            try:
                inflated = zlib.decompressobj(_RAW).decompress(source[begin : begin + size], wanted)
            except zlib.error as error:
                raise InflateError(f"it does not inflate: {error}", number) from error
            if len(inflated) != wanted:
                why = f"it inflates to {len(inflated)} bytes instead of {wanted}"
                raise InflateError(why, number)
            out[place : place + wanted] = inflated


class _Deflate:
    """Inflates with libdeflate (libdeflate.h)."""

    def __init__(self, library: ctypes.CDLL, cluster_size: int) -> None:
        self._decompressor = library.libdeflate_alloc_decompressor()
        if not self._decompressor:
            raise MemoryError
        weakref.finalize(self, library.libdeflate_free_decompressor, self._decompressor)
        self._decompress = library.libdeflate_deflate_decompress_ex
        self._zlib = _Zlib(cluster_size)
        self._cluster_size = cluster_size

    def __call__(self, source: memoryview, out: memoryview, clusters: Sequence[Cluster]) -> None:
        # Keep this loop short: it holds the GIL, for which other threads wait.
        decompress, decompressor, wanted = self._decompress, self._decompressor, self._cluster_size
        source_at, out_at = address(source), address(out)
        for number, (begin, size, place) in enumerate(clusters):
            # With NULL for the actual output size, less than a cluster is an error, too.
            if decompress(
                decompressor, source_at + begin, size, out_at + place, wanted, None, None
            ):
                # QEMU accepts more than a cluster, and a stream without an end; so does zlib. For
                # other errors, zlib has a message.
                self._zlib(source, out, clusters[number : number + 1], number)


class _Zstd:
    """Inflates with libzstd (zstd.h)."""

    def __init__(self, library: ctypes.CDLL, cluster_size: int) -> None:
        self._decompress = library.ZSTD_decompressDCtx
        self._quick = _libzstd_quick()
        self._context = library.ZSTD_createDCtx()
        if not self._context:
            raise MemoryError
        weakref.finalize(self, library.ZSTD_freeDCtx, self._context)
        self._cluster_size = cluster_size

    def __call__(self, source: memoryview, out: memoryview, clusters: Sequence[Cluster]) -> None:
        frame_size = self._quick.ZSTD_findFrameCompressedSize
        decompress, context, wanted = self._decompress, self._context, self._cluster_size
        source_at, out_at = address(source), address(out)
        for number, (begin, size, place) in enumerate(clusters):
            # Bytes after the frame would be read as another frame, so pass its exact length.
            length = frame_size(source_at + begin, size)
            inflated = length  # if it is an error code (larger than any size), it is reported
            if length <= size:
                inflated = decompress(context, out_at + place, wanted, source_at + begin, length)
            if inflated != wanted or length > size:
                raise InflateError(self._why(inflated), number)

    def _why(self, result: int) -> str:
        if self._quick.ZSTD_isError(result):
            name = self._quick.ZSTD_getErrorName(result).decode()
            return f"it does not inflate: {name}"
        return f"it inflates to {result} bytes instead of {self._cluster_size}"


@cache
def _libdeflate() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(LIBDEFLATE)
    except OSError:
        return None
    library.libdeflate_alloc_decompressor.restype = c_void_p
    library.libdeflate_alloc_decompressor.argtypes = []
    library.libdeflate_free_decompressor.restype = None
    library.libdeflate_free_decompressor.argtypes = [c_void_p]
    library.libdeflate_deflate_decompress_ex.restype = c_int
    library.libdeflate_deflate_decompress_ex.argtypes = [
        *(c_void_p, c_void_p, c_size_t),  # decompressor, in and its length
        *(c_void_p, c_size_t),  # out and its room
        *(c_void_p, c_void_p),  # the actual lengths of both
    ]
    return library


@cache
def _libzstd() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBZSTD)
    except OSError as error:
        raise KitError(
            f"zstd-compressed clusters: {LIBZSTD} is not on this node: {error}",
            hint="apt-get install libzstd1",
        ) from error
    library.ZSTD_createDCtx.restype = c_void_p
    library.ZSTD_createDCtx.argtypes = []
    library.ZSTD_freeDCtx.restype = c_size_t
    library.ZSTD_freeDCtx.argtypes = [c_void_p]
    library.ZSTD_decompressDCtx.restype = c_size_t
    library.ZSTD_decompressDCtx.argtypes = [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t]
    return library


@cache
def _libzstd_quick() -> ctypes.PyDLL:
    """The library libzstd, for calls that are faster than to release the GIL and take it again."""
    library = ctypes.PyDLL(LIBZSTD)
    library.ZSTD_findFrameCompressedSize.restype = c_size_t
    library.ZSTD_findFrameCompressedSize.argtypes = [c_void_p, c_size_t]
    library.ZSTD_isError.restype = c_uint
    library.ZSTD_isError.argtypes = [c_size_t]
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    library.ZSTD_getErrorName.argtypes = [c_size_t]
    return library
