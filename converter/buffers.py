"""Buffers for direct I/O, fast comparisons of their bytes, and the state of the page cache."""

import ctypes
import errno
import mmap
import os

PAGE = 4096  # alignment of direct I/O, bytes: the largest logical block size of Linux disks

_libc = ctypes.CDLL(None, use_errno=True)
_libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_libc.memcmp.restype = ctypes.c_int
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
_libc.mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
# PyDLL keeps the GIL: these calls take less time than releasing and taking it again.
_quick = ctypes.PyDLL(None, use_errno=True)
_quick.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
_MAP_FAILED = ctypes.c_void_p(-1).value


def buffer(size: int) -> memoryview:
    """Zeroed memory of `size` bytes, aligned to a page."""
    return memoryview(mmap.mmap(-1, size))


def address(view: memoryview) -> int:
    """The memory address of a writable view's bytes."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def is_aligned(view: memoryview, offset: int) -> bool:
    """Whether a view can be read or written at this offset by direct I/O (open(2), O_DIRECT)."""
    return not (offset % PAGE or len(view) % PAGE or address(view) % PAGE)


def equal(one: memoryview, other: memoryview) -> bool:
    """Whether two writable views hold the same bytes; memoryview's own == compares single bytes."""
    if len(one) != len(other):
        return False
    return not len(one) or _libc.memcmp(address(one), address(other), len(one)) == 0


def is_zero(view: memoryview) -> bool:
    """Whether all bytes of a writable view are zero.

    That is so if the first byte is zero and each byte equals the next one.
    """
    if not len(view):
        return True
    start = address(view)
    return view[0] == 0 and _libc.memcmp(start, start + 1, len(view) - 1) == 0


class PageCache:
    """Tells which parts of an open file the page cache holds (mincore(2)).

    This starts no reads; probing with RWF_NOWAIT would start read-ahead.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._size = size
        mapped = None
        if size:
            mapped = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        self._start: int | None = None if mapped == _MAP_FAILED else mapped

    def holds(self, offset: int, length: int) -> bool:
        """Whether most of a range is in the page cache; False if that is not known."""
        first = offset - offset % PAGE
        length = min(offset + length, self._size) - first
        if self._start is None or length <= 0:
            return False
        pages = -(-length // PAGE)
        there = ctypes.create_string_buffer(pages)
        if _quick.mincore(self._start + first, length, there) != 0:
            return False
        return there.raw.count(b"\x01") * 8 >= pages * 7

    def close(self) -> None:
        """Unmaps the file."""
        if self._start is not None:
            _libc.munmap(self._start, self._size)
            self._start = None


def direct(fd: int, flags: int) -> int | None:
    """A second descriptor of an open file, for direct I/O; None if that is not supported."""
    try:
        return os.open(f"/proc/self/fd/{fd}", flags | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return None


def direct_of_pages(fd: int, mode: int) -> int | None:
    """Like `direct`; None also if it cannot read whole pages (PAGE bytes)."""
    own = direct(fd, mode)
    if own is None:
        return None
    try:
        os.preadv(own, [buffer(PAGE)], 0)
    except OSError as error:
        if error.errno == errno.EINVAL:
            os.close(own)
            return None
    return own  # other errors, such as a bad sector, are reported when data is read
