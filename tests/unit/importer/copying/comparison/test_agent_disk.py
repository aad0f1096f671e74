"""What an agent says is checked: it gives the disk, or an error; never a hang or other bytes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import SourceLost
from importer.copying.comparison import agent, agent_channel
from importer.copying.comparison.agent import BLOCK, DIGEST, ERROR, EXTENT, MAP, MAX_DATA, READ
from importer.copying.comparison.agent_disk import AgentDisk, best_algorithm
from node.errors import KitError
from tests.unit.importer.copying.peer import Peer, disk_of, message, read, replied

SIZE = 8 * MAX_DATA
HELLO = message(size=SIZE)
DISK = bytes(n % 251 for n in range(1 << 16)) * (SIZE >> 16)


def right(kind: int, number: int, offset: int, length: int) -> bytes:
    """The answer of an agent whose disk has a hole after its first half."""
    if kind == READ:
        return read(number, DISK[offset : offset + length])
    if kind == MAP:
        return replied(number, EXTENT.pack(SIZE // 2, 0) + EXTENT.pack(SIZE, 3))
    return replied(number, b"".join(b"%016d" % n for n in range(-(-length // BLOCK))))


def fetch(disk: AgentDisk, offset: int, length: int) -> bytes:
    """Reads by one request, as copies do."""
    found = bytearray(length)
    disk.read_into(offset, memoryview(found))
    return bytes(found)


def test_the_agent_gets_its_text_and_its_disk() -> None:
    peer = Peer(HELLO, right, greeting=b"Welcome!\n\0" + agent.GREETING)
    with disk_of(peer) as disk:
        assert disk.size == SIZE
        assert disk.runs(0, SIZE) == [(SIZE // 2, False), (SIZE // 2, True)]
        assert bytes(disk.digests(0, BLOCK + 1).wait()) == b"%016d%016d" % (0, 1)
        assert fetch(disk, 5, 3 * MAX_DATA) == DISK[5 : 5 + 3 * MAX_DATA]
        assert disk.on_the_wire > 3 * MAX_DATA
    assert peer.text == Path(agent.__file__).read_bytes()
    assert (peer.wanted["socket"], peer.wanted["export"]) == ("/run/x/nbd", "vda")


@given(
    blocks=st.lists(
        st.sampled_from([b"", b"x", b"\0" * (BLOCK - 1) + b"x"]), min_size=1, max_size=40
    ),
    offset=st.integers(0, 2 * BLOCK),
    rest=st.integers(1, BLOCK),
)
def test_zeros_do_not_cross_the_wire(blocks: list[bytes], offset: int, rest: int) -> None:
    """Blocks are counted from the offset on; the last one may be shorter."""
    content = b"".join(block.ljust(BLOCK, b"\0") for block in blocks)[: rest - BLOCK or None]
    held = bytes(offset) + content

    def sparse(kind: int, number: int, place: int, length: int) -> bytes:
        assert kind == READ
        return read(number, held[place : place + length])

    found = bytearray(b"?" * len(content))
    hello = message(size=len(held))
    with disk_of(Peer(hello, sparse)) as disk:
        before = disk.on_the_wire
        sent = disk.read_into(offset, memoryview(found))
        crossed = disk.on_the_wire - before
    assert found == content
    there = [content[place : place + BLOCK] for place in range(0, len(content), BLOCK)]
    assert sent == sum(len(block) for block in there if any(block))
    requests = -(-len(content) // MAX_DATA)
    assert crossed == sent + len(there) + requests * (agent.REQUEST.size + agent.REPLY.size)


def test_threads_get_their_own_answers_in_any_order() -> None:
    held: list[bytes] = []

    def late(kind: int, number: int, offset: int, length: int) -> bytes:
        """Answers pairs of requests, the second one first."""
        held.insert(0, right(kind, number, offset, length))
        if len(held) < 2:
            return b""
        answer = b"".join(held)
        held.clear()
        return answer

    def fetched(n: int) -> bytes:
        together.wait()
        return fetch(disk, n * BLOCK, BLOCK)

    together = threading.Barrier(4)
    with disk_of(Peer(HELLO, late)) as disk, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fetched, range(16)))
    assert found == [DISK[n * BLOCK : (n + 1) * BLOCK] for n in range(16)]


def test_an_error_of_the_disk_does_not_end_the_connection() -> None:
    def failing(kind: int, number: int, offset: int, length: int) -> bytes:
        if offset:
            return right(kind, number, offset, length)
        return replied(number, b"[Errno 5] Input/output\x1b[31m error" + b"!" * 500, ERROR)

    with disk_of(Peer(HELLO, failing)) as disk:
        with pytest.raises(KitError) as caught:
            fetch(disk, 0, 512)
        assert caught.value.message.startswith(
            "source web1: vda: the agent on the KVM host: [Errno 5] Input/output?[31m error!"
        )
        assert len(caught.value.message) < 400
        assert fetch(disk, 512, 512) == DISK[512:1024]


@given(st.integers(0, SIZE), st.integers(0, 3 * BLOCK))
def test_small_reads_give_the_disk_and_are_held(offset: int, length: int) -> None:
    asked: list[int] = []

    def counting(kind: int, number: int, place: int, count: int) -> bytes:
        asked.append(place)
        return right(kind, number, place, count)

    size = SIZE - 100  # it ends within a block
    length = min(length, max(0, size - offset))
    with disk_of(Peer(message(size=size), counting)) as disk:
        offset = min(offset, size)
        assert disk.read(offset, length) == DISK[offset : offset + length]
        assert disk.read(offset, length) == DISK[offset : offset + length]
    assert length > BLOCK or len(asked) == len(set(asked)) <= 2


@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (SIZE, 1), (0, SIZE + 1)])
def test_nothing_beyond_the_disk_is_asked_for(offset: int, length: int) -> None:
    with disk_of(Peer(HELLO, right)) as disk, pytest.raises(KitError, match="not on the disk"):
        disk.read(offset, length)


@pytest.mark.parametrize(
    "hello",
    [
        b"",
        b"\0\0",
        agent.LENGTH.pack(1 << 31),
        agent.LENGTH.pack(5) + b"{....",
        agent.LENGTH.pack(2) + b"[]",
        agent.LENGTH.pack(2) + b"\xff\xff",
        agent.LENGTH.pack(60000) + b"[" * 60000,
        message(),
        message(size=-1),
        message(size=1 << 63),
        message(size=1.5),
        message(size=True),
        message(size="1"),
    ],
)
def test_a_message_that_lacks_something_is_refused(
    hello: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_channel, "START_SECONDS", 0.2)
    with pytest.raises(SourceLost, match="the agent on the KVM host: "), disk_of(Peer(hello)):
        pass


@pytest.mark.parametrize(
    "speeds", [message(), message(md5=0.1), message(sha256="fast"), message(sha256=None), b"\0" * 4]
)
def test_without_a_common_algorithm_it_is_no_agent(speeds: bytes) -> None:
    words, peer = "not an answer of the agent: ", Peer(HELLO, speeds=speeds)
    with pytest.raises(SourceLost, match=words), disk_of(peer):
        pass


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ((1.0, 2.0), (1.0, 2.0), "blake2b"),
        ((2.0, 1.0), (2.0, 1.0), "sha256"),
        ((1.0, 3.0), (2.0, 1.0), "blake2b"),  # the node lacks the instructions for SHA-256
        ((2.0, 1.0), (1.0, 3.0), "blake2b"),  # the KVM host lacks them
    ],
)
def test_the_slower_host_decides_between_algorithms(
    here: tuple[float, float], there: tuple[float, float], expected: str
) -> None:
    first = dict(zip(agent.ALGORITHMS, here, strict=True))
    second = dict[str, object](zip(agent.ALGORITHMS, there, strict=True))
    assert best_algorithm(first, second) == expected
    assert best_algorithm(first, {"sha256": 9.0, "sha1": 0.1}) == "sha256"


def test_the_agent_is_told_the_algorithm() -> None:
    peer = Peer(HELLO, right, speeds=message(blake2b=9.0, sha256=0.1))
    with disk_of(peer) as disk:
        salt = bytes.fromhex(peer.wanted["salt"])
        assert peer.wanted["algorithm"] == "sha256"
        assert disk.hasher.zero == agent.Hasher("sha256", salt).zero


def test_an_agent_that_cannot_open_the_disk_says_why() -> None:
    hello = message(error="[Errno 13] Permission denied\n")
    words = r"\[Errno 13\] Permission denied\?$"
    with pytest.raises(KitError, match=words), disk_of(Peer(hello)):
        pass


@pytest.mark.parametrize("greeting", [b"x" * (1 << 17), b"bash: python3: not found\n"])
def test_noise_is_no_greeting(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_channel, "START_SECONDS", 0.2)
    with pytest.raises(SourceLost), disk_of(Peer(HELLO, greeting=greeting)):
        pass


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _: b"",
        lambda _: b"\0",
        lambda number: read(number + 1, bytes(512)),
        lambda number: replied(number, b""),
        lambda number: replied(number, b"\1"),
        lambda number: replied(number, b"\1" + bytes(511)),
        lambda number: replied(number, b"\1" + bytes(513)),
        lambda number: replied(number, b"\0" + bytes(512)),
        lambda number: replied(number, b"\2" + bytes(512)),
        lambda number: replied(number, b"\0", status=2),
        lambda number: agent.REPLY.pack(ERROR, number, 1 << 31),
        lambda number: read(number, bytes(512)) + read(number, bytes(512)),
    ],
)
def test_an_answer_that_does_not_fit_ends_the_connection(wrong: object) -> None:
    def answer(_kind: int, number: int, _offset: int, _length: int) -> bytes:
        return bytes(wrong(number)) if callable(wrong) else b""

    with disk_of(Peer(HELLO, answer, closes=True)) as disk:
        with pytest.raises(SourceLost):
            assert len(fetch(disk, 0, 512) + fetch(disk, 0, 512)) == 1024
        with pytest.raises(SourceLost):  # and it stays so
            disk.digests(0, BLOCK)


@pytest.mark.parametrize("runs", [b"\0" * 8, EXTENT.pack(512, 0) + b"\0", b"", EXTENT.pack(0, 0)])
def test_a_map_that_describes_nothing_ends_the_connection(runs: bytes) -> None:
    answer = lambda _kind, number, _offset, _length: replied(number, runs)  # noqa: E731
    with disk_of(Peer(HELLO, answer)) as disk, pytest.raises(SourceLost):
        disk.runs(0, SIZE)


@given(runs=st.lists(st.tuples(st.integers(1, SIZE), st.integers(0, 7)), min_size=1, max_size=9))
def test_a_map_stays_within_what_was_asked_for(runs: list[tuple[int, int]]) -> None:
    content = b"".join(EXTENT.pack(*run) for run in runs)
    with disk_of(Peer(HELLO, lambda _k, number, _o, _l: replied(number, content))) as disk:
        found = disk.runs(0, SIZE)
    assert sum(length for length, _ in found) == min(SIZE, sum(length for length, _ in runs))
    for (length, zero), (stated, flags) in zip(found, runs, strict=False):
        assert length <= stated
        assert zero is bool(flags & 2)


@given(answer=st.binary(max_size=60))
def test_any_bytes_give_an_error_or_what_they_are(answer: bytes) -> None:
    """They may by chance be an answer, but not one of another length."""
    with disk_of(Peer(HELLO, lambda *_: answer, closes=True)) as disk:
        with suppress(KitError):
            found = fetch(disk, 0, 8)
            sent, content = answer[agent.REPLY.size], answer[agent.REPLY.size + 1 :]
            assert found == (content[:8] if sent else bytes(8))
        with pytest.raises(SourceLost):
            fetch(disk, 0, 8)


def test_silence_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_channel, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(agent_channel, "TICK", 0.02)
    held = threading.Event()

    def silent(_kind: int, _number: int, _offset: int, _length: int) -> bytes:
        held.wait(10)
        return b""

    with disk_of(Peer(HELLO, silent)) as disk:
        with pytest.raises(SourceLost, match="no answer in"):
            fetch(disk, 0, 512)
        held.set()


def test_a_disk_that_is_closed_tells_so() -> None:
    with disk_of(Peer(HELLO, right)) as disk:
        disk.close()
        with pytest.raises(SourceLost, match="the connection is closed"):
            fetch(disk, 0, DIGEST)
