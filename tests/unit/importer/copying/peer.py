"""A peer of the node: an agent that keeps to the protocol, or does not."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from importer.copying.comparison import agent
from importer.copying.comparison.agent_disk import AgentDisk

# To a request (kind, number, offset, length): what to send.
Answer = Callable[[int, int, int, int], bytes]


def replied(number: int, content: bytes, status: int = agent.DONE) -> bytes:
    """A reply."""
    return agent.REPLY.pack(status, number, len(content)) + content


def read(number: int, content: bytes) -> bytes:
    """The reply to READ with these bytes of the disk."""
    parts = agent.without_zeros(bytearray(content), len(content))
    return replied(number, b"".join(parts))


def message(**fields: Any) -> bytes:
    """A message."""
    content = json.dumps(fields).encode()
    return agent.LENGTH.pack(len(content)) + content


class Peer:
    """Talks as an agent at the other end of a socket, until that is closed.

    Args:
        hello: what it sends once it was told which disk to read.
        answer: returns what it sends when a request comes.
        closes: whether it closes the connection after its first answer.
        greeting: what it sends first, before its speeds.
        speeds: it takes so many seconds for a digest.
    """

    def __init__(
        self,
        hello: bytes,
        answer: Answer = lambda *_: b"",
        greeting: bytes = agent.GREETING,
        *,
        speeds: bytes = message(sha256=0.1),
        closes: bool = False,
    ) -> None:
        self.text = b""
        self.wanted: dict[str, Any] = {}
        self._hello = hello
        self._answer = answer
        self._greeting = greeting + speeds
        self._closes = closes
        self.node, self._own = socket.socketpair()
        self._thread = threading.Thread(target=self._talk)

    def _talk(self) -> None:
        with self._own, self._own.makefile("rb") as stream:
            try:
                self.text = stream.read(int(stream.readline()))
                self._own.sendall(self._greeting)
                (length,) = agent.LENGTH.unpack(stream.read(agent.LENGTH.size))
                self.wanted = json.loads(stream.read(length))
                self._own.sendall(self._hello)
                while len(request := stream.read(agent.REQUEST.size)) == agent.REQUEST.size:
                    self._own.sendall(self._answer(*agent.REQUEST.unpack(request)))
                    if self._closes:
                        return
            except (OSError, ValueError, agent.struct.error):
                return  # the node has gone

    def __enter__(self) -> "Peer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.node.close()
        self._thread.join()


@contextmanager
def disk_of(peer: Peer) -> Iterator[AgentDisk]:
    """The disk that a peer gives."""
    with (
        peer,
        closing(AgentDisk(peer.node, "web1: vda", "/run/x/nbd", "vda", lambda: "no more")) as disk,
    ):
        yield disk
