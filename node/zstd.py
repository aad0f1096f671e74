"""zstd frames by libzstd, without the GIL and without copies; each thread needs its own."""

import ctypes
import weakref
from ctypes import c_int, c_size_t, c_void_p
from functools import cache

from node.errors import KitError

LIBRARY = "libzstd.so.1"  # Debian's name of the ABI that is declared below (zstd.h)
# ZSTD_cParameter
_LEVEL, _WINDOW_LOG, _HASH_LOG, _MIN_MATCH = 100, 101, 102, 105
_CONTENT_SIZE, _CHECKSUM = 200, 201


class ZstdError(ValueError):
    """The bytes are no frame, or not one of this size; in libzstd's words."""


class Compressor:
    """Makes single frames, which state their content size and have a checksum of it.

    Args:
        level: of zstd.
        window_log: how far back it looks for matches, bytes, as a power of two; by default, as the
            level does.
        hash_log: the size of its hash table, as a power of two; by default, that of the level.
        min_match: the shortest match that it looks for, in bytes; by default, the level's.
    """

    def __init__(
        self, level: int, window_log: int = 0, hash_log: int = 0, min_match: int = 0
    ) -> None:
        library = _library()
        self._compress = library.ZSTD_compress2
        self._context = library.ZSTD_createCCtx()
        if not self._context:
            raise MemoryError
        weakref.finalize(self, library.ZSTD_freeCCtx, self._context)
        for parameter, value in (
            (_LEVEL, level),
            (_WINDOW_LOG, window_log),
            (_HASH_LOG, hash_log),
            (_MIN_MATCH, min_match),
            (_CONTENT_SIZE, 1),
            (_CHECKSUM, 1),
        ):
            _checked(library.ZSTD_CCtx_setParameter(self._context, parameter, value))

    def compress(self, view: memoryview, out: memoryview) -> int:
        """Makes a frame of a writable view's bytes; returns the frame's length in `out`.

        `out` has at least `bound(len(view))` bytes.
        """
        length = self._compress(self._context, _at(out), len(out), _at(view), len(view))
        return _checked(length)


class Decompressor:
    """Reads single frames."""

    def __init__(self) -> None:
        library = _library()
        self._decompress = library.ZSTD_decompressDCtx
        self._context = library.ZSTD_createDCtx()
        if not self._context:
            raise MemoryError
        weakref.finalize(self, library.ZSTD_freeDCtx, self._context)

    def decompress(self, frame: memoryview, out: memoryview) -> None:
        """Fills `out` with the content of a frame; both are writable views.

        Raises:
            ZstdError: it is damaged, or has another size than `out`.
        """
        length = self._decompress(self._context, _at(out), len(out), _at(frame), len(frame))
        if _checked(length) != len(out):
            raise ZstdError(f"{length} bytes instead of {len(out)}")


def bound(size: int) -> int:
    """The most bytes that a frame of so many bytes can have."""
    return int(_library().ZSTD_compressBound(size))


def _at(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def _checked(result: int) -> int:
    library = _library()
    if library.ZSTD_isError(result):
        raise ZstdError(library.ZSTD_getErrorName(result).decode())
    return result


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise KitError(
            f"zstd: {LIBRARY} is not on this node: {error}", hint="apt-get install libzstd1"
        ) from error
    for name in ("ZSTD_createCCtx", "ZSTD_createDCtx"):
        getattr(library, name).restype = c_void_p
        getattr(library, name).argtypes = []
    for name in ("ZSTD_freeCCtx", "ZSTD_freeDCtx"):
        getattr(library, name).restype = c_size_t
        getattr(library, name).argtypes = [c_void_p]
    for name in ("ZSTD_compress2", "ZSTD_decompressDCtx"):
        getattr(library, name).restype = c_size_t
        getattr(library, name).argtypes = [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t]
    library.ZSTD_CCtx_setParameter.restype = c_size_t
    library.ZSTD_CCtx_setParameter.argtypes = [c_void_p, c_int, c_int]
    library.ZSTD_compressBound.restype = c_size_t
    library.ZSTD_compressBound.argtypes = [c_size_t]
    library.ZSTD_isError.argtypes = [c_size_t]
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    library.ZSTD_getErrorName.argtypes = [c_size_t]
    return library
