"""NBD sources, against a server that is a few lines of Python."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.errors import ContextMissing, SourceLost
from converter.extents import Extent, Kind
from converter.sources import nbd as tested
from converter.sources import nbd_connect, nbd_connection
from converter.sources.nbd import NbdSource, nbd_source, unix_uri
from node.errors import KitError

UNIT = 512
MARKS = "qemu:dirty-bitmap:before"
HOLE, ZERO = tested.nbd.STATE_HOLE, tested.nbd.STATE_ZERO


class Server:
    """What all handles are connected to."""

    def __init__(self, disk: bytes, runs: list[tuple[int, int]] | None = None) -> None:
        self.disk = disk
        self.runs = runs  # lengths and flags of the whole disk; None: no block status
        self.marks: list[tuple[int, int]] | None = None  # the same of MARKS
        self.unit = 1
        self.most = 0
        self.per_answer = 1000
        self.longer = 0  # bytes by which an answer goes beyond what was asked, at most
        self.multi_conn = True
        self.fails_at: int | None = None
        self.error = errno.EIO
        self.dies = False
        self.handles = 0
        self.clients = 99  # that are let in
        self.silent = False  # to those who are not, else they are turned away
        self.reads: list[tuple[int, int]] = []

    def of(self, context: str) -> list[tuple[int, int]] | None:
        return self.marks if context == MARKS else self.runs


class Handle:
    """As much of nbd.NBD as a source uses."""

    server: Server
    context: str

    def __init__(self) -> None:
        self.server.handles += 1
        self._is_in = self.server.handles <= self.server.clients
        self._dead = False
        self._work: list[Callable[[], None]] = []
        self._done = 0

    def add_meta_context(self, name: str) -> None:
        self.context = name

    def set_pread_initialize(self, _flag: bool) -> None: ...

    def get_strict_mode(self) -> int:
        return 0x1F

    def set_strict_mode(self, _mode: int) -> None: ...

    def aio_connect_uri(self, _uri: str) -> None: ...

    def aio_is_connecting(self) -> bool:
        return self.server.silent and not self._is_in

    def aio_is_negotiating(self) -> bool:
        return False

    def get_size(self) -> int:
        if not self._is_in:
            raise tested.nbd.Error("turned away", 0)
        return len(self.server.disk)

    def can_multi_conn(self) -> bool:
        return self.server.multi_conn

    def can_meta_context(self, name: str) -> bool:
        assert name == self.context
        return self.server.of(name) is not None

    def get_block_size(self, which: int) -> int:
        return self.server.unit if which == tested.nbd.SIZE_MINIMUM else self.server.most

    def aio_is_dead(self) -> bool:
        return self._dead

    def aio_is_closed(self) -> bool:
        return False

    def poll(self, _milliseconds: int) -> int:
        if self.server.silent and not self._is_in:
            return 0
        self._work[self._done]()
        self._done += 1
        return 1

    def aio_command_completed(self, cookie: int) -> bool:
        return self._done >= cookie

    def _later(self, work: Callable[[], None]) -> int:
        self._work.append(work)
        return len(self._work)

    def aio_pread(self, buffer: Any, offset: int) -> int:
        view = memoryview(buffer.to_buffer())
        server = self.server
        assert offset % server.unit == len(view) % server.unit == 0
        assert len(view) <= (server.most or nbd_connection.MAX_READ)
        assert offset >= 0 and offset + len(view) <= len(server.disk)

        def work() -> None:
            if server.fails_at is not None and offset <= server.fails_at < offset + len(view):
                self._dead = server.dies
                raise tested.nbd.Error("nbd_poll: it fails", server.error)
            server.reads.append((offset, len(view)))
            view[:] = server.disk[offset : offset + len(view)]

        return self._later(work)

    def aio_block_status(self, count: int, start: int, describe: Callable[..., int]) -> int:
        server = self.server
        assert server.runs is not None and start % server.unit == 0
        assert 0 < count <= 2**32 - 1 and start + count <= len(server.disk)

        def work() -> None:
            entries: list[int] = []
            place = 0
            end = min(start + count + server.longer, len(server.disk))
            for length, flags in server.of(self.context) or []:
                first, last = max(place, start), min(place + length, end)
                if first < last:
                    entries += [last - first, flags]
                place += length
            describe("of:another", start, [7, 7], None)
            describe(self.context, start, entries[: 2 * server.per_answer], None)
            describe(self.context, start, [1 << 31, 3], None)  # more than the protocol allows

        return self._later(work)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Server]:
    def start(disk: bytes, runs: list[tuple[int, int]] | None = None) -> Server:
        Handle.server = Server(disk, runs)
        monkeypatch.setattr(tested.nbd, "NBD", Handle)
        return Handle.server

    return start


def source() -> NbdSource:
    return NbdSource("nbd://host/x", "the disk", "raw", {"uri": "nbd://host/x"})


def contents(opened: NbdSource, start: int = 0) -> bytes:
    reader = opened.reader()
    found = b""
    for extent in opened.extents(start):
        assert extent.guest_offset == start + len(found)
        view = memoryview(bytearray(extent.length))
        if extent.kind is Kind.DATA:
            reader.read([extent], view, extent.guest_offset)
        found += view
    reader.close()
    return found


RUNS = st.lists(
    st.tuples(st.integers(1, 20), st.sampled_from([0, HOLE, ZERO, HOLE | ZERO])), min_size=1
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    runs=RUNS,
    unit=st.sampled_from([1, UNIT]),
    most=st.sampled_from([0, UNIT, 4 * UNIT]),
    per_answer=st.integers(1, 5),
    longer=st.integers(0, 5),
    status=st.integers(UNIT, 10 * UNIT),
    start=st.floats(0, 1),
)
def test_extents_are_the_disk_whatever_way_the_server_answers(
    runs: list[tuple[int, int]],
    unit: int,
    most: int,
    per_answer: int,
    longer: int,
    status: int,
    start: float,
) -> None:
    runs = [(length * UNIT, flags) for length, flags in runs]
    disk = b"".join(bytes([0 if f & ZERO else 1 + n % 255]) * s for n, (s, f) in enumerate(runs))
    with pytest.MonkeyPatch.context() as patch:
        server = Server(disk, runs)
        server.unit, server.most, server.per_answer = unit, most, per_answer
        server.longer = longer * UNIT
        patch.setattr(Handle, "server", server, raising=False)
        patch.setattr(tested.nbd, "NBD", Handle)
        patch.setattr(nbd_connection, "MAX_STATUS", status - status % UNIT)
        opened = source()
        begin = int(start * len(disk))
        assert contents(opened, begin) == disk[begin:]
        kinds = {extent.kind for extent in opened.extents()}
        assert (Kind.ZERO in kinds) == any(flags & ZERO for _, flags in runs)


@pytest.mark.parametrize("beyond", [0, 1, 1 << 20])
@pytest.mark.parametrize("per_answer", [1, 2, 9])
def test_runs_of_another_context_stay_on_the_disk(
    beyond: int, per_answer: int, serve: Callable[..., Server]
) -> None:
    """However far the server's answer goes; each run begins where the one before ends."""
    server = serve(bytes(3 * UNIT), [(3 * UNIT, ZERO)])
    server.marks = [(UNIT, 0), (UNIT, 1), (0, 7), (UNIT + beyond, 2)]
    server.per_answer = per_answer
    server.longer = beyond
    with nbd_source("nbd://host/x", context=MARKS) as opened:
        wanted = [(0, UNIT, 0), (UNIT, 2 * UNIT, 1), (2 * UNIT, 3 * UNIT, 2)]
        assert list(opened.runs()) == wanted
        assert list(opened.runs(UNIT + 5)) == [(UNIT + 5, 2 * UNIT, 1), wanted[2]]
        assert list(opened.extents()) == [Extent(0, 3 * UNIT, Kind.ZERO)]
        assert list(opened.extents_within(5, 9)) == [Extent(5, 4, Kind.ZERO)]
        assert list(opened.extents_within(5, 5)) == []


def test_a_context_that_the_server_lacks(serve: Callable[..., Server]) -> None:
    serve(bytes(UNIT), [(UNIT, 0)])
    with (
        pytest.raises(ContextMissing, match="does not offer the meta context qemu:dirty-bitmap"),
        nbd_source("nbd://host/x", name="vda of web1", context=MARKS),
    ):
        pass


def test_the_caller_says_what_identifies_a_disk(serve: Callable[..., Server]) -> None:
    serve(b"a" * UNIT)
    origin = {"host": "kvm1", "disk": "vda"}
    with (
        nbd_source("nbd+unix:///vda?socket=/run/1", name="vda", origin=origin) as one,
        nbd_source("nbd+unix:///vda?socket=/run/2", origin=origin) as other,
    ):
        assert one.name == "vda"
        assert one.identity == other.identity
        assert one.identity["host"] == "kvm1" and "uri" not in one.identity


def test_without_block_status_all_is_data(serve: Callable[..., Server]) -> None:
    serve(b"a" * UNIT + bytes(UNIT))
    assert list(source().extents()) == [Extent(0, 2 * UNIT, Kind.DATA, 0)]


def test_an_empty_answer_is_an_error(serve: Callable[..., Server]) -> None:
    server = serve(bytes(UNIT), [(UNIT, 0)])
    server.per_answer = 0
    with pytest.raises(KitError, match="block status of the disk at byte 0: the answer is empty"):
        list(source().extents())


def test_reads_that_are_no_whole_blocks_are_widened(serve: Callable[..., Server]) -> None:
    disk = bytes(range(256)) * 64
    server = serve(disk)
    server.unit = 4096
    opened = source()
    server.reads.clear()
    view = memoryview(bytearray(5000))
    opened.reader().read([Extent(1000, 5000, Kind.DATA, 1000)], view, 1000)
    assert view == disk[1000:6000]
    assert server.reads == [(0, 8192)]


def test_readers_share_a_connection_only_where_they_must(serve: Callable[..., Server]) -> None:
    server = serve(bytes(UNIT))
    opened = source()
    opened.reader()
    assert server.handles == 1  # what looks at the disk first needs none of its own
    assert opened.readers == 8
    assert server.handles == 9
    for _ in range(8):
        opened.reader()
    assert server.handles == 9
    server = serve(bytes(UNIT))
    server.multi_conn = False
    opened = source()
    assert opened.readers == 8
    reader = opened.reader()
    assert server.handles == 1
    reader.close()
    opened.reader().read([Extent(0, UNIT, Kind.DATA)], memoryview(bytearray(UNIT)), 0)


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(("clients", "readers"), [(1, 1), (2, 1), (5, 4), (9, 8), (99, 8)])
def test_as_many_readers_as_the_server_lets_in(
    clients: int,
    readers: int,
    silent: bool,
    serve: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others are turned away, or get no answer at all."""
    server = serve(bytes(UNIT))
    server.clients, server.silent = clients, silent
    monkeypatch.setattr(tested, "ADMIT_SECONDS", 0.01)
    opened = source()
    assert opened.readers == readers
    all_of_them = [opened.reader() for _ in range(readers)]
    for reader in all_of_them:
        reader.read([Extent(0, UNIT, Kind.DATA)], memoryview(bytearray(UNIT)), 0)
    assert opened.readers == readers  # and not asked again
    assert server.handles == 9


def test_a_server_that_lets_nobody_in(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(bytes(UNIT))
    server.clients = 0
    with pytest.raises(SourceLost, match="source the disk: the NBD connection fails: turned away"):
        source()
    server.silent = True
    monkeypatch.setattr(nbd_connect, "CONNECT_SECONDS", 0.01)
    with pytest.raises(SourceLost, match="source the disk: no answer in 0 s"):
        source()


def test_a_server_that_talks_on_without_letting_anybody_in_is_not_waited_for(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(bytes(UNIT))
    server.clients, server.silent = 1, True
    polls = 0

    def poll(_handle: Handle, _milliseconds: int) -> int:
        nonlocal polls
        polls += 1
        assert polls < 1_000_000, "for ever"
        return 1  # something has come

    opened = source()
    monkeypatch.setattr(Handle, "poll", poll)
    monkeypatch.setattr(nbd_connect, "CONNECT_SECONDS", 0.01)
    assert opened.readers == 1


def test_a_failing_read_names_the_byte(serve: Callable[..., Server]) -> None:
    server = serve(bytes(4 * UNIT))
    server.most = UNIT
    opened = source()
    server.fails_at = 2 * UNIT + 5
    with pytest.raises(KitError) as caught:
        contents(opened)
    assert caught.value.message == "read of the disk at byte 1024: Input/output error (EIO)"


def test_a_lost_connection_is_told_from_a_failing_read(serve: Callable[..., Server]) -> None:
    server = serve(bytes(2 * UNIT))
    opened = NbdSource("nbd://x", "the disk", "raw", {}, last_words=lambda: "out of memory")
    reader = opened.reader()
    server.fails_at, server.dies, server.error = 0, True, errno.ENOTCONN
    extents, view = [Extent(0, UNIT, Kind.DATA)], memoryview(bytearray(UNIT))
    with pytest.raises(SourceLost, match="byte 0: the connection was lost: out of memory"):
        reader.read(extents, view, 0)
    with pytest.raises(SourceLost, match="the connection is closed"):
        reader.read(extents, view, 0)


def test_a_silent_server_is_an_error(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(bytes(UNIT))
    opened = source()
    monkeypatch.setattr(Handle, "poll", lambda _handle, _milliseconds: 0)
    monkeypatch.setattr(nbd_connection, "SILENCE_SECONDS", 0.01)
    with pytest.raises(SourceLost, match="read of the disk at byte 0: no answer"):
        contents(opened)


def test_a_signal_does_not_wait_for_a_silent_server(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(bytes(UNIT))
    opened = source()
    polls = 0

    def poll(_handle: Handle, _milliseconds: int) -> int:
        nonlocal polls
        polls += 1
        assert polls < 1_000_000, "for minutes"
        return 0

    monkeypatch.setattr(Handle, "poll", poll)
    monkeypatch.setattr(nbd_connection, "STOPPING_SECONDS", 0.01)
    monkeypatch.setattr(nbd_connection, "signal_waits", lambda: polls > 100)
    with pytest.raises(KitError, match="read of the disk at byte 0: no answer in 0 s"):
        contents(opened)
    assert polls > 100


def test_the_identity_follows_the_content(serve: Callable[..., Server]) -> None:
    serve(b"a" * UNIT)
    opened = source()
    assert opened.identity == source().identity
    assert opened.identity["uri"] == "nbd://host/x" and opened.identity["disk_size"] == UNIT
    opened.check_unchanged()
    server = Handle.server
    server.disk = b"b" * UNIT
    assert source().identity != opened.identity
    with pytest.raises(KitError, match="it changed while it was copied"):
        opened.check_unchanged()


def test_only_raw_disks_come_from_servers() -> None:
    with pytest.raises(KitError, match="raw disk"), nbd_source("nbd://host", "qcow2"):
        pass


def test_unix_sockets_have_uris() -> None:
    assert unix_uri("/run/a b&c") == "nbd+unix:///?socket=/run/a%20b%26c"
    assert unix_uri("/run/s", "vda/1") == "nbd+unix:///vda%2F1?socket=/run/s"
