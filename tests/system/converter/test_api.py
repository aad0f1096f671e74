"""The converter as another program uses it: of the kit, it imports the public API."""

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from converter import (
    CopyFailed,
    CopyOptions,
    CopyStopped,
    Extent,
    FormatMismatch,
    HibernatedSwap,
    Kind,
    NotOneSwapArea,
    ResumeMismatch,
    TargetInUse,
    TargetIsFile,
    TargetIsSource,
    TargetMissing,
    TargetNotEmpty,
    TargetState,
    TargetTooSmall,
    compare,
    copy,
    describe,
    make_swap,
    new_swap,
    open_source,
    open_target,
    plan,
    signals_raise,
)
from tests.system.converter import support
from tests.system.converter.nbd_device import served
from tests.system.converter.support import JOURNALS, MIB, Write
from tests.unit.converter.memory_source import MemorySource

SIZE = 12 * MIB
TARGET = 16 * MIB
UUID = "1c4f0e2a-7d5b-4c47-9f3a-0b1a2c3d4e5f"
FORCE = CopyOptions(force=True)
# Threads end what they are at: 16 pieces of 2 MiB.
SLOW_SIZE, STOP_AT = 64 * MIB, 8 * MIB


class Told:
    """A progress of the caller's own, which may do something when so many bytes are done."""

    def __init__(self, at: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.phases: dict[str, list[int]] = {}
        self.totals: dict[str, int] = {}
        self.ended = 0
        self._phase = ""
        self._at = at
        self._act = act

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        self._phase = phase
        self.phases[phase], self.totals[phase] = [done], total

    def update(self, done: int) -> None:
        self.phases[self._phase].append(done)
        if done >= self._at:
            self._act()

    def end(self) -> None:
        self.ended += 1


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.devices.settling.SETTLE_SECONDS", 0.3)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return support.qcow2(
        tmp_path / "image.qcow2",
        SIZE,
        Write(0, support.noise(2 * MIB, 1)),
        Write(3 * MIB, support.prose(2 * MIB, 2), compressed=True),
        Write(6 * MIB, MIB),
    )


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    with support.target(tmp_path / "target", TARGET) as device:
        yield device


def no_journals() -> bool:
    return not JOURNALS.exists() or not any(JOURNALS.iterdir())


@pytest.mark.quick
def test_a_copy_and_a_comparison(image: Path, device: Path, tmp_path: Path) -> None:
    told = Told()
    options = CopyOptions(verify=True, digest="sha256")
    reference = support.raw_of(image, tmp_path / "reference")
    with open_source(image) as source:
        planned = plan(source, device, options)
        result = copy(source, device, options, told)
        assert compare(source, device).first_difference is None
    support.require_same(device, reference)
    assert result.plan == planned
    assert (planned.size, planned.target_size, planned.format) == (SIZE, TARGET, "qcow2")
    assert planned.extents[Kind.DATA] == planned.extents[Kind.COMPRESSED] == 2 * MIB
    assert sum(planned.extents.values()) == TARGET
    assert result.digest == support.digest(reference)
    assert (result.verified, result.resumed_at) == (True, 0)
    assert set(result.seconds) == {"check", "copy", "flush", "verify"}
    assert result.zeroing is not None and result.zeroing.strategy == "punch"
    assert set(told.phases) == {"copy", "verify"} and told.ended == 2
    for phase, done in told.phases.items():
        assert done == sorted(done) and done[-1] == told.totals[phase]
    with device.open("r+b") as file:
        os.pwrite(file.fileno(), b"\1", 15 * MIB)
        os.fsync(file.fileno())
    with open_source(image) as source:
        found = compare(source, device)
    assert (found.first_difference, found.different_bytes) == (15 * MIB, 4096)
    assert no_journals()


@pytest.mark.quick
def test_errors_have_types_and_leave_the_target_alone(
    image: Path, device: Path, tmp_path: Path
) -> None:
    small = support.dirty(tmp_path / "small", SIZE - MIB)
    support.output("mkfs.ext4", "-q", "-F", device)
    before = support.digest(device)
    with open_source(image) as source:
        with pytest.raises(TargetNotEmpty) as not_empty:
            copy(source, device)
        assert not_empty.value.holds.startswith("ext4")
        with pytest.raises(TargetMissing):
            copy(source, "/dev/no-such-vg/volume", FORCE)
        with pytest.raises(TargetIsFile):
            copy(source, small, FORCE)
        with pytest.raises(TargetIsSource):
            copy(source, image, CopyOptions(force=True, allow_file=True))
        with (
            support.loop(small, read_only=False) as other,
            pytest.raises(TargetTooSmall) as too_small,
        ):
            copy(source, other, FORCE)
        assert (too_small.value.size, too_small.value.needed) == (SIZE - MIB, SIZE)
        with open_target(device, size_needed=SIZE, force=True), pytest.raises(TargetInUse):
            copy(source, device, FORCE)
        with pytest.raises(NotOneSwapArea):
            make_swap(source, device, FORCE)
        for error in (not_empty, too_small):
            assert error.value.hint and "--force" not in error.value.hint
    with pytest.raises(FormatMismatch) as mismatch, open_source(str(image), "raw"):
        pytest.fail("it was opened")
    assert mismatch.value.fits == "qcow2"
    assert support.digest(device) == before
    assert no_journals()


@pytest.mark.quick
def test_swap_of_a_uuid_and_a_label(device: Path) -> None:
    made = new_swap(uuid.UUID(UUID), "swäp", device, FORCE)
    assert (made.target_size, str(made.uuid)) == (TARGET, UUID)
    fields = support.output("blkid", "-p", "-o", "export", device).splitlines()
    assert {"TYPE=swap", f"UUID={UUID}"} <= set(fields)
    assert device.read_bytes()[1052:1068] == "swäp".encode().ljust(16, b"\0")
    with pytest.raises(TargetNotEmpty):
        new_swap(uuid.UUID(int=0), "", device)
    new_swap(uuid.UUID(int=0), "", device, FORCE)
    assert "UUID=" not in support.output("blkid", "-p", "-o", "export", device)
    with pytest.raises(ValueError, match="longer than 16 bytes"):
        new_swap(uuid.UUID(UUID), "a" * 17, device, FORCE)


def test_swap(device: Path, tmp_path: Path) -> None:
    raw = tmp_path / "swap.raw"
    raw.write_bytes(bytes(4 * MIB))
    support.output("mkswap", "-q", "-U", UUID, raw)
    with open_source(raw, "raw") as source:
        image = describe(source)
        assert (image.format, image.contents.swap[0].length) == ("raw", 4 * MIB)
        made = make_swap(source, device)
    assert (made.target, made.target_size, str(made.uuid)) == (device, TARGET, UUID)
    assert f"UUID={UUID}" in support.output("blkid", "-p", "-o", "export", device)
    with raw.open("r+b") as file:
        os.pwrite(file.fileno(), b"S1SUSPEND\0", 4086)
    with open_source(raw, "raw") as source, pytest.raises(HibernatedSwap):
        copy(source, device, FORCE)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return support.qcow2(tmp_path / "large", SLOW_SIZE, Write(0, support.noise(SLOW_SIZE, 3)))


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Path]:
    """A disk that takes 16 MiB in a second, until `make_fast` is called."""
    file, rate = support.dirty(tmp_path / "slow", SLOW_SIZE), tmp_path / "rate"
    rate.write_text("128M")
    options = (f"rate-file={rate}", "burstiness=1")
    with served(tmp_path, "--filter=rate", "file", file, *options) as device:
        yield device.path


def make_fast(tmp_path: Path) -> None:
    part = tmp_path / "rate.part"
    part.write_text("8G")
    part.rename(tmp_path / "rate")


class EnoughError(Exception):
    """What a caller's own progress raises."""


def enough() -> None:
    raise EnoughError


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.quick
@pytest.mark.skipif(not shutil.which("nbdfuse"), reason="needs nbdfuse")
@pytest.mark.parametrize("act", [enough, stopped])
def test_what_was_interrupted_goes_on(
    large: Path, slow: Path, tmp_path: Path, act: Callable[[], None]
) -> None:
    with open_source(large) as source, signals_raise():
        with pytest.raises((CopyFailed, CopyStopped)) as caught:
            copy(source, slow, progress=Told(STOP_AT, act))
        failure = caught.value
        assert type(failure) is (CopyFailed if act is enough else CopyStopped)
        if isinstance(failure, CopyFailed):
            assert isinstance(failure.cause, EnoughError)
        assert not failure.left.complete
        resumable_at = failure.left.resumable_at
        assert resumable_at is not None and 0 < resumable_at < SLOW_SIZE
    make_fast(tmp_path)
    other = support.qcow2(tmp_path / "other", SLOW_SIZE, Write(0, support.noise(MIB, 4)))
    with open_source(str(other)) as source, pytest.raises(ResumeMismatch):
        copy(source, slow, CopyOptions(resume=True))
    with open_source(large) as source:
        told = Told()
        result = copy(source, slow, CopyOptions(resume=True), told)
        assert result.resumed_at == resumable_at
        assert told.phases["copy"][0] == resumable_at
        assert compare(source, slow).first_difference is None
    support.require_same(slow, support.raw_of(large, tmp_path / "reference"))
    assert no_journals()


@pytest.mark.quick
def test_a_copy_to_what_nothing_identifies_does_not_go_on(image: Path, tmp_path: Path) -> None:
    place = tmp_path / "ramfs"  # whose files have no birth time
    place.mkdir()
    support.output("mount", "-t", "ramfs", "-o", "mode=700", "ramfs", place)
    options = CopyOptions(allow_file=True, force=True)
    try:
        target = support.dirty(place / "disk", SIZE)
        with open_source(image) as source:
            with pytest.raises(CopyFailed) as failed:
                copy(source, target, options, Told(1, enough))
            assert failed.value.left == TargetState(complete=False, resumable_at=None)
            with pytest.raises(ResumeMismatch) as mismatch:
                copy(source, target, CopyOptions(allow_file=True, resume=True))
            assert not mismatch.value.is_certain and mismatch.value.journal is None
            copy(source, target, options)
            assert compare(source, target).first_difference is None
    finally:
        support.output("umount", place)
    assert no_journals()


class RestlessSource(MemorySource):
    """It tells what is data in another way each time, as QEMU does while a guest writes."""

    def __init__(self, content: bytes, extents: Sequence[Extent]) -> None:
        super().__init__(content, extents)
        self.asked = 0

    def extents(self, start: int = 0) -> Iterator[Extent]:
        self.asked += 1
        whole = Extent(start, self.size - start, Kind.DATA, start)
        return super().extents(start) if self.asked % 2 else iter([whole])


@pytest.mark.parametrize("first", [0, 1])
def test_a_verification_reads_what_was_written_whatever_the_source_tells_by_then(
    first: int, device: Path
) -> None:
    content = support.noise(3 * MIB, 1) + bytes(4 * MIB) + support.noise(MIB, 2)
    extents = [
        Extent(0, 3 * MIB, Kind.DATA, 0),
        Extent(3 * MIB, 4 * MIB, Kind.ZERO),
        Extent(7 * MIB, MIB, Kind.DATA, 7 * MIB),
    ]
    source = RestlessSource(content, extents)
    source.asked = first
    assert copy(source, device, CopyOptions(verify=True)).verified
    assert device.read_bytes() == content.ljust(TARGET, b"\0")
    assert source.asked > first + 1
