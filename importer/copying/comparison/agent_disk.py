"""A disk on the KVM host, as the agent there reads it: its digests, its holes, its bytes."""

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path

from importer.copying.comparison import agent
from importer.copying.comparison.agent_channel import (
    START_SECONDS,
    AgentChannel,
    Reply,
    ViolationError,
)
from node.errors import KitError
from node.service import BinaryService

SALT = 16  # bytes
CONNECTIONS = 4  # threads of the agent
MAX_NOISE = 64 << 10  # bytes that startup files of a login shell may print before the greeting
MAX_SIZE = 1 << 62  # bytes of a disk
HELD = 64  # blocks of small reads
LAST_WORDS_SECONDS = 2.0

# Reads the agent's text from stdin, so that it is neither in a file nor in the process list.
_STARTER = (
    "import sys; i = sys.stdin.buffer;"
    " exec(compile(i.read(int(i.readline())), 'agent', 'exec'), {'__name__': '__main__'})"
)


def command() -> list[str]:
    """The command line that starts the agent on the KVM host; `agent_disk` then sends its text."""
    return ["python3", "-IS", "-c", _STARTER]


def best_algorithm(here: dict[str, float], there: dict[str, object]) -> str:
    """The algorithm that is the fastest on the host on which it is slower.

    On one core, blocks of 64 KiB: BLAKE2b 1.3-1.5 GB/s; SHA-256 2.1 GB/s, but 0.8 GB/s without the
    instructions that most servers before 2020 lack.

    Args:
        here, there: the seconds that each takes on the node and on the KVM host.

    Raises:
        ViolationError: they have none in common.
    """
    slower = {
        name: max(seconds, other)
        for name, seconds in here.items()
        if isinstance(other := there.get(name), float)
    }
    if not slower:
        raise ViolationError("no algorithm that the node has")
    return min(slower, key=slower.__getitem__)


class AgentDisk:
    """The disk that an agent reads; it must not change. Several threads may use it at once.

    Args:
        stream: a stream socket to a program that was started with `command`.
        name: of the disk, for errors.
        path: the unix socket on which an NBD server listens there.
        export: its name; "" is the default one.
        last_words: returns what that program said last.

    Attributes:
        size: of the disk, bytes.
        hasher: computes the digests that the agent computes.

    Raises:
        SourceLost: the agent does not start.
        KitError: it cannot open the disk.
    """

    def __init__(
        self,
        stream: socket.socket,
        name: str,
        path: str,
        export: str,
        last_words: Callable[[], str],
    ) -> None:
        self.name = name
        self._channel = AgentChannel(stream, name, last_words)
        try:
            self.size, self.hasher = self._greeted(path, export)
        except TimeoutError as error:
            raise self._channel.lost(f"no answer in {START_SECONDS:.0f} s") from error
        except OSError as error:
            raise self._channel.lost(last_words()) from error
        except (ValueError, RecursionError, ViolationError) as error:
            raise self._channel.lost(f"not an answer of the agent: {error}") from error
        self._channel.serve()
        self._held = lru_cache(HELD)(self._read_block)

    @property
    def on_the_wire(self) -> int:
        """Bytes sent and received so far."""
        return self._channel.sent + self._channel.received

    def _greeted(self, path: str, export: str) -> tuple[int, agent.Hasher]:
        """Starts the agent, and tells it which disk to read; returns its size, and the hasher."""
        channel, salt = self._channel, secrets.token_bytes(SALT)
        text = Path(agent.__file__).read_bytes()
        channel.send(b"%d\n%b" % (len(text), text))
        said = b""
        while not said.endswith(agent.GREETING):
            if len(said) > MAX_NOISE:
                raise ViolationError("no greeting")
            said += channel.take(1)
        algorithm = best_algorithm(agent.speeds(), self._message())
        wanted = {
            "socket": path,
            "export": export,
            "algorithm": algorithm,
            "salt": salt.hex(),
            "connections": CONNECTIONS,
        }
        content = json.dumps(wanted).encode()
        channel.send(agent.LENGTH.pack(len(content)) + content)
        answer = self._message()
        if "error" in answer:
            raise channel.refused(str(answer["error"]))
        size = answer.get("size")
        if type(size) is not int or not 0 <= size <= MAX_SIZE:
            raise ViolationError("no size of the disk")
        return size, agent.Hasher(algorithm, salt)

    def _message(self) -> dict[str, object]:
        (length,) = agent.LENGTH.unpack(self._channel.take(agent.LENGTH.size))
        if length > agent.MAX_MESSAGE:
            raise ViolationError(f"a message of {length} bytes")
        message = json.loads(self._channel.take(length))
        if not isinstance(message, dict):
            raise ViolationError("a message without fields")
        return message

    def runs(self, offset: int, length: int) -> list[tuple[int, bool]]:
        """Runs from an offset on, at least one and none beyond `length`: bytes, whether all zero.

        Raises:
            KitError: see `Reply.wait`.
        """
        view = memoryview(bytearray(agent.MAX_EXTENTS * agent.EXTENT.size))
        rest = min(length, agent.MAX_STATUS)
        reply = self._channel.ask(agent.MAP, offset, rest, agent.EXTENT.size, view).wait()
        if len(reply) % agent.EXTENT.size:
            self._channel.violated("a map that ends within a run")
        found = []
        for run, flags in agent.EXTENT.iter_unpack(reply):
            if not run:
                self._channel.violated("a map with an empty run")
            if rest:  # servers may describe more than was asked for
                found.append((min(run, rest), flags & agent.STATE_ZERO != 0))
            rest -= min(run, rest)
        return found

    def all_runs(self) -> Iterator[tuple[int, bool]]:
        """The runs of all of the disk: bytes, whether all zero.

        Raises:
            KitError: see `Reply.wait`.
        """
        place = 0
        while place < self.size:
            for length, is_zero in self.runs(place, self.size - place):
                yield length, is_zero
                place += length

    def digests(self, offset: int, length: int) -> Reply:
        """Asks for the digests of the blocks of a range of up to MAX_DATA bytes.

        `offset` is a multiple of BLOCK, and so is the end, if it is not that of the disk.

        Raises:
            SourceLost: the connection is lost.
        """
        count = -(-length // agent.BLOCK) * agent.DIGEST
        view = memoryview(bytearray(count))
        return self._channel.ask(agent.DIGESTS, offset, length, count, view)

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fills a writable view with the disk's bytes from `offset` on.

        Returns:
            How many bytes of the disk crossed the wire for that: zeros do not.

        Raises:
            KitError: see `Reply.wait`.
        """
        replies = []
        for place in range(0, len(view), agent.MAX_DATA):
            part = view[place : place + agent.MAX_DATA]
            replies.append(self._channel.ask_to_read(offset + place, part))
        for reply in replies:
            reply.wait()
        return sum(reply.sent for reply in replies)

    def read(self, offset: int, length: int) -> bytes:
        """A `converter.reading.Read`.

        Blocks are held, and read once: to find partitions and swap takes some sixty small reads,
        twice for each copy, each of which would be a round trip while the machine is suspended.

        Raises:
            KitError: the range is not within the disk; or see `Reply.wait`.
        """
        if not 0 <= offset <= offset + length <= self.size:
            raise KitError(
                f"source {self.name}: bytes {offset} to {offset + length} are not on the disk",
                hint="its partition table or a boot sector names them: it is damaged",
            )
        if length > agent.BLOCK:
            found = bytearray(length)
            self.read_into(offset, memoryview(found))
            return bytes(found)
        first = offset // agent.BLOCK
        blocks = range(first, -(-(offset + length) // agent.BLOCK))
        held = b"".join(map(self._held, blocks))
        return held[offset - first * agent.BLOCK :][:length]

    def _read_block(self, number: int) -> bytes:
        start = number * agent.BLOCK
        found = bytearray(min(agent.BLOCK, self.size - start))
        self.read_into(start, memoryview(found))
        return bytes(found)

    def close(self) -> None:
        """Lets the agent end; requests that are under way fail."""
        self._channel.close()


@contextmanager
def agent_disk(program: BinaryService, path: str, export: str, name: str) -> Iterator[AgentDisk]:
    """Starts the agent in a program that was started with `command`, and opens a disk with it.

    Args:
        program: on the KVM host.
        path: the unix socket on which an NBD server listens there.
        export: its name; "" is the default one.
        name: of the disk, for errors.

    Raises:
        SourceLost: the agent does not start.
        KitError: it cannot open the disk.
    """

    def last_words() -> str:
        # What ssh or Python says may come after the end of the connection.
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while not program.complaints and time.monotonic() < deadline:
            time.sleep(0.02)
        return program.last_words

    with closing(AgentDisk(program.channel, name, path, export, last_words)) as disk:
        yield disk
