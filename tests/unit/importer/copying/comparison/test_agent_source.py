"""All of a disk, as an agent reads it: what NBD gives, but zeros do not cross the wire."""

from pathlib import Path

import pytest

from converter import CopyFailed, CopyOptions, Kind, SourceChanged, SourceLost, copy
from converter.engine.journal import Journal
from converter.sources.served import HEAD, head_digest, identity
from importer.copying.comparison import agent
from importer.copying.comparison.agent import BLOCK, EXTENT, MAP, READ, STATE_ZERO
from importer.copying.comparison.agent_source import all_of
from tests.unit.importer.copying.peer import Peer, disk_of, message, read, replied

ORIGIN = {"domain": "web", "disk": "vda"}
SIZE = 64 * BLOCK + 512
DATA = [0, 1, 20, 40, 41, 42, 63]  # blocks
OPTIONS = CopyOptions(force=True, allow_file=True, verify=True)
HOLES = EXTENT.pack(BLOCK + 1, 0) + EXTENT.pack(9 * BLOCK, STATE_ZERO)


def content() -> bytearray:
    found = bytearray(SIZE)
    for number in DATA:
        found[number * BLOCK : number * BLOCK + 100] = bytes([number + 1]) * 100
    return found


class Device(Peer):
    """An agent whose disk is a block device: its map knows of no holes, unless it is given some.

    Args:
        held: the disk.
        holes: the map's first runs.
        lasts: the number of READs that are answered.
    """

    def __init__(self, held: bytearray, holes: bytes = b"", lasts: int = 1 << 30) -> None:
        super().__init__(message(size=len(held)), self._answered)
        self._held, self._holes, self._lasts = held, holes, lasts
        self.hasher = agent.Hasher("sha256", b"")

    def _answered(self, kind: int, number: int, offset: int, length: int) -> bytes:
        if kind == MAP:
            return replied(number, self._holes + EXTENT.pack(length, 0))
        part = self._held[offset : offset + length]
        if kind == READ:
            self._lasts -= 1
            if self._lasts < 0:
                raise OSError("it was killed")
            return read(number, part)
        return replied(number, self.hasher.digests(part, length))


@pytest.fixture(autouse=True)
def _journals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Journal.__init__, "__defaults__", (tmp_path / "journals",))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.write_bytes(b"x" * SIZE)
    return path


def test_it_is_the_disk_that_nbd_gives() -> None:
    """So a copy that one of them began goes on with the other one."""
    held = content()
    with disk_of(Device(held)) as disk:
        source = all_of(disk, ORIGIN)
    assert source.identity == identity(ORIGIN, SIZE, head_digest(held[:HEAD]))
    assert source.identity["disk_size"] == SIZE
    assert (source.name, source.size, source.format, source.status) == (
        *("web1: vda", SIZE, "raw"),
        None,
    )
    assert [(each.length, each.kind) for each in source.extents()] == [(SIZE, Kind.DATA)]


def test_holes_of_the_map_are_zeros_as_far_as_they_are_whole_blocks() -> None:
    with disk_of(Device(content(), HOLES)) as disk:
        source = all_of(disk, ORIGIN)
        assert [(each.guest_offset, each.kind) for each in source.extents()] == [
            (0, Kind.DATA),
            (2 * BLOCK, Kind.ZERO),
            (10 * BLOCK, Kind.DATA),
        ]


@pytest.mark.parametrize("holes", [b"", HOLES])
def test_a_copy_takes_the_data_only(target: Path, holes: bytes) -> None:
    held, crossed = content(), list[int]()
    with disk_of(Device(held, holes)) as disk:
        copy(all_of(disk, ORIGIN, crossed.append), target, OPTIONS)
        wire = disk.on_the_wire
    assert target.read_bytes() == held
    assert len(DATA) * BLOCK <= sum(crossed) <= wire
    text = len(Path(agent.__file__).read_bytes())
    in_head = sum(number < HEAD // BLOCK for number in DATA)  # read for its identity, too
    assert wire < (len(DATA) + in_head + 3) * BLOCK + text


def test_a_rate_has_fewer_readers() -> None:
    with disk_of(Device(content())) as disk:
        assert all_of(disk, ORIGIN, lambda _: None, 3).readers == 3


def test_a_change_of_the_first_bytes_is_noticed() -> None:
    held = content()
    with disk_of(Device(held)) as disk:
        source = all_of(disk, ORIGIN)
        source.check_unchanged()
        held[5] = 99
        with pytest.raises(SourceChanged, match="web1: vda: it changed"):
            source.check_unchanged()


def test_an_empty_disk_has_nothing() -> None:
    with disk_of(Device(bytearray())) as disk:
        source = all_of(disk, ORIGIN)
        assert list(source.extents()) == []
        source.check_unchanged()


def test_a_copy_whose_agent_is_lost_goes_on(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("converter.engine.copy_run.SYNC_SECONDS", 0.0)
    monkeypatch.setattr("converter.engine.pool.TICK", 0.001)
    held = bytearray(b"y" * (8 * agent.MAX_DATA))
    target.write_bytes(b"x" * len(held))
    monkeypatch.setattr("importer.copying.comparison.agent_disk.LAST_WORDS_SECONDS", 0.0)
    with disk_of(Device(held, lasts=6)) as disk, pytest.raises(CopyFailed) as failed:
        copy(all_of(disk, ORIGIN, readers=1), target, OPTIONS)
    assert isinstance(failed.value.cause, SourceLost)
    begun = failed.value.left.resumable_at
    assert begun
    options = CopyOptions(force=True, allow_file=True, verify=True, resume=True)
    with disk_of(Device(held)) as disk:
        assert copy(all_of(disk, ORIGIN), target, options).resumed_at == begun
    assert target.read_bytes() == held
