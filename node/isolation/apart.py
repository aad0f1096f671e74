"""Work in a process of its own namespaces, with which we exchange messages and descriptors."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from node.cleanup import SIGNALS, signals_blocked
from node.errors import KitError
from node.isolation.namespace import contained
from node.log import flush, log
from node.syscalls import killed_with_parent

MOST = 1 << 17  # bytes of a message: fits into the buffer of a socket

Message = dict[str, Any]


class Channel:
    """One end of the connection: messages that JSON can hold, each with a descriptor or without."""

    def __init__(self, end: socket.socket, what: str) -> None:
        self._end = end
        self._what = what

    def fileno(self) -> int:
        """The descriptor, for poll(2)."""
        return self._end.fileno()

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Sends a message; a descriptor stays open here, too.

        Raises:
            KitError: it has more than MOST bytes.
            OSError: the other end is closed.
        """
        descriptors = [] if descriptor is None else [descriptor]
        data = json.dumps(message).encode()
        if len(data) > MOST:
            raise KitError(
                f"{self._what}: names or attributes of more than {MOST} bytes",
                hint="this guest may be hostile",
            )
        socket.send_fds(self._end, [data], descriptors)

    def receive(self) -> tuple[Message, int | None]:
        """Waits for the next message, and the descriptor that came with it.

        Raises:
            KitError: the other end failed, and says why; or it is closed.
        """
        data, descriptors, _, _ = socket.recv_fds(self._end, MOST, 1)
        if not data:
            raise KitError(
                f"{self._what}: its process ended unexpectedly",
                hint="see dmesg, perhaps it was the kernel's OOM killer; then run it again",
            )
        message: Message = json.loads(data)
        if "error" in message:
            raise KitError(message["error"], hint=message["hint"])
        return message, next(iter(descriptors), None)

    def close(self) -> None:
        """Closes this end."""
        self._end.close()


@contextmanager
def apart(work: Callable[[Channel], None], what: str) -> Iterator[Channel]:
    """Does some work in a contained process of its own session; yields our end of the connection.

    Signals of a terminal do not reach it. It is killed at the end of the block, also if SIGKILL
    ends us. What it raises, `Channel.receive` raises here.

    Args:
        work: gets the other end.
        what: how errors name the work.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    flush()
    parent = os.getpid()
    child = 0
    try:
        with signals_blocked():
            child = os.fork()
            if child == 0:
                _begin(work, Channel(theirs, what), ours, parent)
        theirs.close()
        yield Channel(ours, what)
    finally:
        ours.close()
        if child:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _begin(
    work: Callable[[Channel], None], channel: Channel, other: socket.socket, parent: int
) -> None:
    """The process: never returns."""
    code = 1
    try:
        other.close()
        os.setsid()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        killed_with_parent()
        if os.getppid() == parent:
            code = contained(lambda: _work(work, channel))
    except KitError as error:
        _fail(channel, error.message, error.hint)
    finally:
        flush()
        os._exit(code)


def _work(work: Callable[[Channel], None], channel: Channel) -> int:
    """The first process of the PID namespace: signals have no effect on it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        work(channel)
    except KitError as error:
        _fail(channel, error.message, error.hint)
    except Exception as error:  # whatever it is, the other end has to know
        log.debug("what failed, and where:", exc_info=error)
        _fail(
            channel,
            f"unexpected: {type(error).__name__}: {error}",
            "this is a bug: debug mode shows where it is; report it",
        )
    else:
        return 0
    return 1


def _fail(channel: Channel, message: str, hint: str) -> None:
    with suppress(OSError):  # nobody waits for it any more
        channel.send({"error": message, "hint": hint})
