"""The pipes and files that carry a backup: waited for so that a signal ends the wait."""

import fcntl
import os
import select
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

from node.errors import KitError

WAIT = 200  # milliseconds between two questions whether to go on
# Bytes. Writing: what fcntl(2) allows everyone. Reading: what a pipe holds counts as read for the
# sender, so it must be much less than stream.ENDS_SIZE.
WRITTEN_PIPE, READ_PIPE = 1 << 20, 256 << 10
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, of which Python 3.11 knows, and mypy does not everywhere

Going = Callable[[], None]  # raises where the wait is to end


def enlarge(fd: int, size: int) -> None:
    """Lets a pipe hold more bytes, so that its two ends wait less for each other."""
    with suppress(OSError):  # it is no pipe, or there are too many large ones
        fcntl.fcntl(fd, _SET_PIPE_SIZE, size)


def readable(fd: int, require_going: Going) -> None:
    """Waits until something can be read, or the end is there."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not poll.poll(WAIT):
        require_going()


class Output:
    """Where an export goes: all of what is written, or an error.

    A pipe gets a description of its own, which does not block: the one that we were given is
    shared with the shell that started us. A socket, as of sshd, is told with each write.

    Args:
        fd: of the pipe or file.
        name: what errors call it.

    Raises:
        KitError: it is a terminal.
    """

    def __init__(self, fd: int, name: str = "stdout") -> None:
        self._name = name
        self._given = fd
        self._fd = fd
        self._own: int | None = None
        self.written = 0  # bytes
        if os.isatty(fd):
            raise KitError(
                f"{name}: a terminal, and the stream of a disk would go to it",
                hint="redirect it to a file or a program",
            )
        self._socket: socket.socket | None = None
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        if stat.S_ISFIFO(mode):
            enlarge(fd, WRITTEN_PIPE)
            with suppress(OSError):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
                self._own = self._fd = os.open(f"/proc/self/fd/{fd}", flags)

    def write(self, data: memoryview | bytes, require_going: Going) -> None:
        """Writes all of it.

        Raises:
            KitError: who reads it has ended, or a file takes no more.
        """
        rest = memoryview(data)
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while rest:
            try:
                if self._socket is not None:
                    count = self._socket.send(rest, socket.MSG_DONTWAIT)
                else:
                    count = os.write(self._fd, rest)
            except BlockingIOError:
                if not poll.poll(WAIT):
                    require_going()
                continue
            except BrokenPipeError as error:
                raise KitError(
                    f"{self._name}: what reads the stream has ended",
                    hint="its own log tells why: on the node that imports, or dd's and socat's"
                    " lines above",
                ) from error
            except OSError as error:
                raise KitError(
                    f"write to {self._name} at byte {self.written}: {error.strerror}",
                    hint="see df: is there room for the stream?",
                ) from error
            rest = rest[count:]
            self.written += count

    def close(self) -> None:
        """Ends our part of the stream, and sees to it that a file or disk has all of it.

        Raises:
            KitError: it is not.
        """
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        elif self._own is not None:
            os.close(self._own)
            self._own = None
        elif _is_storage(self._given):
            try:
                os.fsync(self._given)
            except OSError as error:
                raise KitError(
                    f"flush of {self._name}: {error.strerror}", hint="see df and dmesg"
                ) from error


def _is_storage(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)
