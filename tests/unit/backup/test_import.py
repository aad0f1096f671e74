"""Whatever a stream states, a disk is its content, or begins with zeros."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from backup import import_
from backup.disks import held_back
from backup.disks.held_back import EDGE
from backup.errors import DiskTooSmallError
from backup.kinds import Kind
from backup.options import ImportOptions
from backup.streams import stream
from backup.streams.frames import Frames
from backup.streams.stream import Header, StreamError
from converter.progress import Silent
from node.errors import KitError
from tests.unit.backup.disks.test_held_back import Disk
from tests.unit.backup.made import made, opened

PAGE, KIB = 4096, 1 << 10
FRAME = 256 * KIB
OPTIONS = ImportOptions("/dev/memory", "import of disk 0 of web1", "the stream", "web1-disk0")


@pytest.fixture(autouse=True)
def _in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_back, "Zeroer", lambda target: target)
    monkeypatch.setattr(import_, "HEADS", tmp_path / "heads")


def imported(data: bytes, disk: Disk) -> None:
    with opened(data) as file:
        import_._kit(OPTIONS, Frames(file, "the stream"), disk.as_target, Silent())


def content(size: int, used: int, seed: int) -> list[bytes]:
    """Frames of a disk; behind `used` there are zeros. No table is in it."""
    chance = random.Random(seed)
    whole = (bytes(512) + chance.randbytes(used)[512:]).ljust(size, b"\0")[:size]
    return [whole[place : place + FRAME] for place in range(0, size, FRAME)]


RIGHT = Header(disk_size=3 * EDGE, kit="1", frame_size=FRAME)
DATA = made(content(3 * EDGE, 3 * EDGE, 1), RIGHT)
ENDS = b"".join(map(stream.end, range(stream.END_FRAMES)))
sizes = st.integers(1, 3 * EDGE // 512).map(lambda sectors: sectors * 512)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes, sizes, st.integers(0, 3 * EDGE), st.integers(0, 3 * EDGE), st.integers(0, 9))
def test_sizes_that_may_lie(size: int, target: int, used: int, smallest: int, seed: int) -> None:
    frames = content(size, used, seed)
    header = Header(disk_size=size, kit="1", frame_size=FRAME, smallest=min(smallest, size))
    disk = Disk(b"\xa5" * target)
    before = bytes(disk.content)
    try:
        imported(made(frames, header) + ENDS, disk)
    except DiskTooSmallError:
        assert disk.content == before and target < (header.smallest or size)
    except StreamError:
        assert any(b"".join(frames)[target:])
        assert not any(disk.content[:EDGE])
    else:
        assert disk.content == b"".join(frames)[:target].ljust(target, b"\0")
        assert not any(b"".join(frames)[target:])


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 1 << 63) | sizes,
    st.integers(0, 1 << 63) | sizes,
    st.integers(0, stream.FRAME_SIZE // PAGE).map(lambda pages: pages * PAGE),
)
def test_a_header_of_another_stream(size: int, smallest: int, frame_size: int) -> None:
    other = replace(RIGHT, disk_size=size, smallest=smallest, frame_size=frame_size)
    assume(other != RIGHT)
    disk = Disk(b"\xa5" * 4 * EDGE)
    before = bytes(disk.content)
    with pytest.raises((StreamError, KitError)):
        imported(other.encode() + DATA[len(RIGHT.encode()) :] + ENDS, disk)
    assert disk.content == before or not any(disk.content[:EDGE])


def test_a_dump_is_refused_with_its_remedy() -> None:
    with (
        opened(b"any") as file,
        pytest.raises(KitError, match=r"it is of ganeti-instance-debootstrap") as error,
    ):
        import_.import_(OPTIONS, Frames(file, "the stream"), Kind.DUMP, Silent())
    assert error.value.hint.startswith("gnt-backup import restores such backups")
