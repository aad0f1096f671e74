"""An open image file or block device of this node: complete reads, identity, and its writers."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import xxhash

from converter import buffers
from converter.errors import SourceChanged, SourceInUse
from converter.identity import Identity, identity_of
from node.devices import qemu_locks
from node.devices.holders import loop_over
from node.devices.settling import InUseError, settled
from node.devices.stack import backing_id, sectors_changed
from node.devices.writers import writer
from node.errors import KitError

HEAD = 64 << 10  # of the file, for its identity


class LocalFile:
    """An open file or block device; nobody else writes to it. All figures are bytes."""

    def __init__(self, fd: int, name: str) -> None:
        status = os.fstat(fd)
        self.fd = fd
        self.name = name
        self.is_block = stat.S_ISBLK(status.st_mode)
        self._check_unused()
        self.size = os.lseek(fd, 0, os.SEEK_END)
        self._sectors = self._sectors_changed()
        self.pages = buffers.PageCache(fd, self.size)
        self.head = self.pread(0, min(HEAD, self.size))
        self._mtime_ns = 0 if self.is_block else status.st_mtime_ns
        self.identity: Identity = {
            **identity_of(fd, self.size),
            "mtime_ns": self._mtime_ns,
            "head": xxhash.xxh3_128_hexdigest(self.head),
        }

    def _check_unused(self) -> None:
        """Checks that nobody writes to it now; locks QEMU out while it is open."""
        try:
            if qemu_locks.is_written(self.fd):
                raise SourceInUse(
                    f"source {self.name}: in use: a running QEMU writes to it",
                    hint="shut that machine down, or copy from a snapshot",
                )
            kept = qemu_locks.keep_writers_out(self.fd)
        except OSError:
            kept = True  # the file system does not support locks
        if not kept:
            raise SourceInUse(
                f"source {self.name}: in use: another process has it locked",
                hint="wait for that process, or end it",
            )
        settled(
            self._require_no_writer,
            f"source {self.name}",
            "stop what writes to it, or unmount or detach it; or copy from a snapshot",
            in_use=SourceInUse,
        )

    def _require_no_writer(self) -> None:
        if user := writer(self.fd):
            raise InUseError(user)

    def pread(self, offset: int, length: int) -> bytes:
        """Reads a range through the page cache; raises KitError if it is not complete."""
        data = bytearray(length)
        self.read_into(memoryview(data), offset, self.fd)
        return bytes(data)

    def read_into(self, view: memoryview, offset: int, fd: int, enough: int | None = None) -> None:
        """Fills a view, or at least its first `enough` bytes (direct I/O reads whole pages)."""
        wanted = len(view) if enough is None else enough
        done = 0
        while done < wanted:
            try:
                count = os.preadv(fd, [view[done:]], offset + done)
            except OSError as error:
                raise KitError(
                    f"read of {self.name} at byte {offset + done}: {error.strerror}",
                    hint="the disk or file system under it fails: see dmesg",
                ) from error
            if count == 0:
                raise SourceChanged(
                    f"read of {self.name} at byte {offset + done}: the file ends there",
                    hint="it was cut off while it was read: copy it again",
                )
            done += count

    def _sectors_changed(self) -> tuple[int, int] | None:
        """Of a block device, what `node.devices.stack.sectors_changed` says.

        Pages that a program wrote earlier reach the device now: they must not count as a change.
        """
        if not self.is_block:
            return None
        with suppress(OSError):  # of a device whose writes fail: reads tell of it
            os.fsync(self.fd)
        return sectors_changed(os.fstat(self.fd).st_rdev)

    def check_unchanged(self) -> None:
        """Raises KitError if it was or may have been written to after it was opened."""
        status = os.fstat(self.fd)
        same_time = self.is_block or status.st_mtime_ns == self._mtime_ns
        same_head = self.pread(0, len(self.head)) == self.head
        same_sectors = self._sectors_changed() == self._sectors
        same_size = os.lseek(self.fd, 0, os.SEEK_END) == self.size
        if not (same_time and same_sectors and same_head and same_size):
            raise SourceChanged(
                f"source {self.name}: it changed while it was copied",
                hint="stop what writes to it, and copy again",
            )
        # A replaced file is an error, as the copy is out of date; a removed one does not matter.
        with suppress(OSError):
            if backing_id(Path(self.name).stat()) != backing_id(status):
                raise SourceChanged(
                    f"source {self.name}: it was replaced by another while it was copied",
                    hint="copy again, if you want the new one",
                )
        # Data written through a loop device may not have reached the file yet.
        if loop := loop_over(status, writing=True):
            raise SourceChanged(
                f"source {self.name}: it was attached as {loop} while it was copied",
                hint="detach it, and copy again",
            )
