"""Inflates the compressed clusters of qcow2 images, without the GIL and without copies.

libdeflate and libzstd are called through ctypes, which releases the GIL; where libdeflate is
missing, Python's zlib does its work, slower.
"""

import ctypes
import weakref
import zlib
from collections.abc import Callable
from ctypes import byref, c_char, c_int, c_size_t, c_uint, c_void_p
from functools import cache

from node.errors import KitError

Inflate = Callable[[memoryview, memoryview], None]  # compressed bytes, where the disk's go

# Debian's names of the ABIs that are declared below.
LIBDEFLATE = "libdeflate.so.0"
LIBZSTD = "libzstd.so.1"
_RAW = -zlib.MAX_WBITS  # QEMU uses windows of 4 KiB; larger ones are inflated as well


class InflateError(ValueError):
    """The bytes do not inflate to a cluster."""


def inflater(compression: str, cluster_size: int) -> Inflate:
    """What inflates one cluster after the other; each thread needs one of its own.

    The compressed bytes may be followed by others: the format knows their length in sectors only.
    The view that is filled has the length of a cluster, or less for its first part; a cluster of
    other length is an InflateError, always.

    Args:
        compression: zlib (raw deflate, RFC 1951) or zstd (one frame, RFC 8878).
        cluster_size: bytes.

    Raises:
        KitError: libzstd is needed and is not on this node.
    """
    whole: Inflate
    if compression == "zstd":
        whole = _Zstd(_libzstd(), cluster_size)
    elif (libdeflate := _libdeflate()) is not None:
        whole = _Deflate(libdeflate, cluster_size)
    else:
        whole = _zlib
    scratch = memoryview(bytearray(cluster_size))

    def inflate(data: memoryview, out: memoryview) -> None:
        if not data:
            raise InflateError("it is empty")
        if len(out) == cluster_size:
            whole(data, out)
        else:
            whole(data, scratch)
            out[:] = scratch[: len(out)]

    return inflate


def _address(view: memoryview) -> "ctypes._CArgObject":
    """A pointer to a view's bytes, which stay where they are as long as it exists."""
    # ctypes takes no address of what is read-only.
    return byref(c_char.from_buffer(bytearray(view) if view.readonly else view))


def _zlib(data: memoryview, out: memoryview) -> None:
    """By Python's zlib, which like QEMU is content with a cluster, and reads no further."""
    try:
        inflated = zlib.decompressobj(_RAW).decompress(data, len(out))
    except zlib.error as error:
        raise InflateError(f"it does not inflate: {error}") from error
    if len(inflated) != len(out):
        raise InflateError(f"it inflates to {len(inflated)} bytes instead of {len(out)}")
    out[:] = inflated


class _Deflate:
    """By libdeflate (libdeflate.h)."""

    def __init__(self, library: ctypes.CDLL, cluster_size: int) -> None:
        self._decompressor = library.libdeflate_alloc_decompressor()
        if not self._decompressor:
            raise MemoryError
        weakref.finalize(self, library.libdeflate_free_decompressor, self._decompressor)
        self._decompress = library.libdeflate_deflate_decompress_ex
        self._cluster_size = cluster_size

    def __call__(self, data: memoryview, out: memoryview) -> None:
        # Without a place for the actual size, less than a cluster is an error, too.
        result = self._decompress(
            self._decompressor,
            _address(data),
            len(data),
            _address(out),
            self._cluster_size,
            None,
            None,
        )
        if result != 0:
            # More than a cluster, or a stream without an end: neither disturbs QEMU. Else zlib
            # has the words for what is wrong.
            _zlib(data, out)


class _Zstd:
    """By libzstd (zstd.h)."""

    def __init__(self, library: ctypes.CDLL, cluster_size: int) -> None:
        self._decompress = library.ZSTD_decompressDCtx
        self._quick = _libzstd_quick()
        self._context = library.ZSTD_createDCtx()
        if not self._context:
            raise MemoryError
        weakref.finalize(self, library.ZSTD_freeDCtx, self._context)
        self._cluster_size = cluster_size

    def __call__(self, data: memoryview, out: memoryview) -> None:
        source = _address(data)
        # What follows the frame would be taken for another one.
        length = self._checked(self._quick.ZSTD_findFrameCompressedSize(source, len(data)))
        inflated = self._checked(
            self._decompress(self._context, _address(out), self._cluster_size, source, length)
        )
        if inflated != self._cluster_size:
            raise InflateError(f"it inflates to {inflated} bytes instead of {self._cluster_size}")

    def _checked(self, result: int) -> int:
        if self._quick.ZSTD_isError(result):
            name = self._quick.ZSTD_getErrorName(result).decode()
            raise InflateError(f"it does not inflate: {name}")
        return result


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
    """What takes less than letting go of the GIL and getting it back, which others contend for."""
    library = ctypes.PyDLL(LIBZSTD)
    library.ZSTD_findFrameCompressedSize.restype = c_size_t
    library.ZSTD_findFrameCompressedSize.argtypes = [c_void_p, c_size_t]
    library.ZSTD_isError.restype = c_uint
    library.ZSTD_isError.argtypes = [c_size_t]
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    library.ZSTD_getErrorName.argtypes = [c_size_t]
    return library
