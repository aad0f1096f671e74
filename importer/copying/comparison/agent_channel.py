"""Requests to the agent, and its replies, over one socket. The KVM host is not trusted."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from typing import NoReturn

from converter.errors import SourceLost
from importer.copying.comparison import agent
from node.cleanup import signal_waits, signals_blocked
from node.errors import KitError

START_SECONDS = 60.0
SILENCE_SECONDS = 600.0  # timeout of a reply: the disks there may be slow
STOPPING_SECONDS = 5.0  # the same after a signal
TICK = 1.0  # seconds until a thread that waits looks for a signal
MAX_WORDS = 300  # characters of the agent's own errors
NUMBERS = 1 << 32  # of requests


class ViolationError(Exception):
    """The agent does not keep to the protocol."""


class Reply:
    """A reply that is awaited: of at least `least` bytes, at most those of `view`, which it fills.

    Nothing is written into the view any more once `wait` has returned or raised.
    """

    def __init__(self, channel: "AgentChannel", least: int, view: memoryview) -> None:
        self._channel = channel
        self.least, self.most = least, len(view)
        self.view = view
        self.length: int | None = None  # of what is in the view, once it is there
        self.refused: str | None = None
        self.arrived = threading.Event()

    def wait(self) -> memoryview:
        """The bytes of the reply.

        Raises:
            SourceLost: the connection is lost.
            KitError: the agent cannot read the disk there.
        """
        self._channel.wait_for(self)
        assert self.length is not None
        return self.view[: self.length]

    def receive(self, length: int, fill: Callable[[memoryview], None]) -> None:
        """Takes a reply that has come, of a length that it may have.

        Args:
            length: bytes.
            fill: fills a view with the next bytes of the connection.

        Raises:
            OSError: the connection is lost.
            ViolationError: it does not keep to the protocol.
        """
        fill(self.view[:length])
        self.length = length


class ReadReply(Reply):
    """A reply to READ, which has no bytes of blocks that are zero; the view gets all of them."""

    def __init__(self, channel: "AgentChannel", view: memoryview) -> None:
        super().__init__(channel, 0, view)
        self.least = -(-len(view) // agent.BLOCK)
        self.most = self.least + len(view)
        self.sent = 0  # bytes of the disk that came, once they are there

    def receive(self, length: int, fill: Callable[[memoryview], None]) -> None:
        """See `Reply.receive`."""
        blocks = bytearray(self.least)
        fill(memoryview(blocks))
        left, start = length - len(blocks), 0
        for sent, run in groupby(blocks):
            part = self.view[start:][: len(list(run)) * agent.BLOCK]
            start += len(part)
            if not sent:
                part[:] = bytes(len(part))
            elif sent == 1 and len(part) <= left:
                fill(part)
                left -= len(part)
            else:
                raise ViolationError(f"a block of {left} bytes at most, marked {sent}")
        if left:
            raise ViolationError(f"{left} bytes more than its blocks have")
        self.length, self.sent = start, length - len(blocks)


class AgentChannel:
    """Sends requests and receives their replies; several threads may use it at once.

    Args:
        stream: a connected stream socket.
        name: of the disk, for errors.
        last_words: returns what the program at the other end said last.

    Attributes:
        sent, received: bytes on the wire.
    """

    def __init__(self, stream: socket.socket, name: str, last_words: Callable[[], str]) -> None:
        self.name = name
        self.sent = self.received = 0
        self._stream = stream
        self._last_words = last_words
        self._turn = threading.Lock()  # for all below
        self._number = 0
        self._pending: dict[int, Reply] = {}
        self._failure: str | None = None
        self._heard = time.monotonic()
        self._receiver: threading.Thread | None = None
        stream.settimeout(START_SECONDS)

    def lost(self, why: str) -> SourceLost:
        """An error for users."""
        return SourceLost(
            f"source {self.name}: the agent on the KVM host: {why}",
            hint="does `ssh` to that host still work, and has it python3 (3.5 or newer)?",
        )

    def refused(self, why: str) -> KitError:
        """The same, of an error that the agent states."""
        said = "".join(letter if letter.isprintable() else "?" for letter in why[:MAX_WORDS])
        return KitError(
            f"source {self.name}: the agent on the KVM host: {said}",
            hint="the NBD server there does not run, or cannot read the disk: see the logs of"
            " libvirt and QEMU",
        )

    def send(self, data: bytes) -> None:
        """Writes bytes; raises OSError."""
        self._stream.sendall(data)
        self.sent += len(data)

    def take(self, length: int) -> bytes:
        """Reads as many bytes, before `serve` only; raises OSError."""
        found = bytearray(length)
        self._fill(memoryview(found))
        return bytes(found)

    def serve(self) -> None:
        """From now on, replies are received."""
        self._stream.settimeout(None)
        with signals_blocked():
            self._receiver = threading.Thread(target=self._receive, daemon=True)
            self._receiver.start()

    def ask(self, kind: int, offset: int, length: int, least: int, view: memoryview) -> Reply:
        """Sends a request.

        Args:
            kind: of `agent`'s requests, but READ.
            offset, length: of the range of the disk.
            least: bytes that the reply has at least.
            view: is filled with the reply; it has no more bytes than that.

        Raises:
            SourceLost: the connection is lost.
        """
        reply = Reply(self, least, view)
        self._ask(kind, offset, length, reply)
        return reply

    def ask_to_read(self, offset: int, view: memoryview) -> ReadReply:
        """Asks for the bytes of the disk from `offset` on, which fill the view.

        Raises:
            SourceLost: the connection is lost.
        """
        reply = ReadReply(self, view)
        self._ask(agent.READ, offset, len(view), reply)
        return reply

    def _ask(self, kind: int, offset: int, length: int, reply: Reply) -> None:
        with self._turn:
            if self._failure is not None:
                raise self.lost(self._failure)
            self._number = number = (self._number + 1) % NUMBERS
            if not self._pending:
                self._heard = time.monotonic()
            self._pending[number] = reply
            with suppress(OSError):  # the receiver notices what has happened
                self.send(agent.REQUEST.pack(kind, number, offset, length))

    def wait_for(self, reply: Reply) -> None:
        """Waits for a reply; see `Reply.wait`."""
        while not reply.arrived.wait(TICK):
            patience = STOPPING_SECONDS if signal_waits() else SILENCE_SECONDS
            if time.monotonic() > self._heard + patience:
                self._give_up(f"no answer in {patience:.0f} s")
        if reply.refused is not None:
            raise self.refused(reply.refused)
        if reply.length is None:
            assert self._failure is not None
            raise self.lost(self._failure)

    def violated(self, why: str) -> NoReturn:
        """Gives the connection up, as the agent does not keep to the protocol.

        Raises:
            SourceLost: always.
        """
        self._give_up(_not_an_answer(why))
        raise self.lost(_not_an_answer(why))

    def _receive(self) -> None:
        try:
            while True:
                status, number, length = agent.REPLY.unpack(self.take(agent.REPLY.size))
                with self._turn:
                    reply = self._pending.pop(number, None)
                if reply is None:
                    raise ViolationError("an answer to nothing")
                try:
                    self._receive_one(reply, status, length)
                except BaseException:
                    with self._turn:
                        self._pending[number] = reply  # to be told by `_give_up`
                    raise
                reply.arrived.set()
        except OSError:
            self._give_up(self._failure or self._last_words())
        except ViolationError as error:
            self._give_up(_not_an_answer(str(error)))

    def _receive_one(self, reply: Reply, status: int, length: int) -> None:
        if status == agent.ERROR and length <= agent.MAX_MESSAGE:
            reply.refused = self.take(length).decode("utf-8", "replace")
            return
        if status != agent.DONE or not reply.least <= length <= reply.most:
            raise ViolationError(f"an answer of {length} bytes with the status {status}")
        reply.receive(length, self._fill)

    def _give_up(self, why: str) -> None:
        """Ends the connection, and all who wait for a reply."""
        with self._turn:
            self._failure = self._failure or why
            pending = list(self._pending.values())
            self._pending.clear()
        with suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        for reply in pending:
            reply.arrived.set()

    def _fill(self, view: memoryview) -> None:
        while len(view):
            count = self._stream.recv_into(view)
            if not count:
                raise ConnectionResetError
            self._heard = time.monotonic()
            self.received += count
            view = view[count:]

    def close(self) -> None:
        """Lets the agent end; requests that are under way fail."""
        self._give_up("the connection is closed")
        if self._receiver is not None:
            self._receiver.join()


def _not_an_answer(why: str) -> str:
    return f"not an answer of the agent: {why}"
