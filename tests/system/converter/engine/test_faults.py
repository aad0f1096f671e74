"""Devices that fail: the error names device, byte and reason; --resume works after a repair."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from converter.engine.journal import Journal, Record
from converter.target import device as target
from tests.system.converter import support
from tests.system.converter.nbd_device import Device, served
from tests.system.converter.support import FAILED, MIB, REFUSED, Run, Write, qcow2raw

pytestmark = pytest.mark.skipif(not shutil.which("nbdfuse"), reason="needs nbdfuse")

SIZE = 48 * MIB
TARGET = 64 * MIB
CHUNK = 8 * MIB  # no read or write of the program's is larger
BAD = 30 * MIB + 12288  # within the data


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Data, compressed clusters, zeros and holes; what it holds is in image.raw."""
    image = support.qcow2(
        tmp_path / "image.qcow2",
        SIZE,
        Write(0, support.noise(4 * MIB, 1)),
        Write(6 * MIB, support.prose(4 * MIB, 2), compressed=True),
        Write(12 * MIB, 4 * MIB),
        Write(20 * MIB, support.noise(20 * MIB, 3)),
    )
    support.raw_of(image, tmp_path / "image.raw")
    return image


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "journals"
    directory.mkdir()
    yield directory
    support.require_nothing_left(tmp_path)


@contextmanager
def disk(
    tmp_path: Path, *filters: str | Path, parameters: tuple[str, ...] = ()
) -> Iterator[Device]:
    """A dirty disk of TARGET bytes behind filters of nbdkit."""
    file = tmp_path / "disk"
    if not file.exists():
        support.dirty(file, TARGET)
    with served(tmp_path, *filters, "file", file, *parameters) as device:
        yield device


@contextmanager
def scripted(
    tmp_path: Path, *, before: str = "", after: str = "", flush: str = "true"
) -> Iterator[Device]:
    """A dirty disk of TARGET bytes that is a shell script, and can neither discard nor zero.

    Args:
        tmp_path: where its file is.
        before: run before each write: of $3 bytes at $4, which come on stdin.
        after: run after each write.
        flush: run for each flush.
    """
    file = support.dirty(tmp_path / "disk", TARGET)
    dd = "dd status=none bs=1M"
    plugin = (
        *("eval", f"get_size=stat -c %s {file}", "can_write=true", "can_flush=true"),
        f"pread={dd} if={file} skip=$4 count=$3 iflag=skip_bytes,count_bytes",
        f"pwrite={before}\n{dd} of={file} seek=$4 oflag=seek_bytes conv=notrunc\n{after}",
        f"flush={flush}",
    )
    with served(tmp_path, *plugin) as device:
        yield device


@contextmanager
def bad_sectors(tmp_path: Path, file: Path, offset: int, length: int = 4096) -> Iterator[Path]:
    """A device with what the file holds; reads of some of it fail."""
    size = file.stat().st_size
    size += -size % 512
    os.truncate(file, size)
    good = [f"0x0 {offset:#x} +"] if offset else []
    behind = size - offset - length
    rest = [f"{offset + length:#x} {behind:#x} +"] if behind else []
    sectors = tmp_path / "sectors"
    # As ddrescue(1) writes them: the state, then runs of bytes that are good (+) or bad (-).
    sectors.write_text("\n".join(["0x0 +", *good, f"{offset:#x} {length:#x} -", *rest, ""]))
    words = ("--readonly", "--filter=ddrescue", "file", file, f"ddrescue-mapfile={sectors}")
    with served(tmp_path, *words, read_only=True) as device:
        yield device.path


def named_byte(outcome: support.Outcome) -> int:
    """The byte that the error names."""
    found = re.search(r"at byte (\d+)", outcome.error)
    assert found, outcome
    return int(found[1])


def require_read_and_skip(device: Device, image: Path, journals: Path) -> None:
    outcome = qcow2raw("--progress=json", image, device.path, journals=journals).done()
    assert outcome.messages[-1]["zeroing"]["strategy"] == "read-and-skip"
    support.require_same(device.path, image.with_suffix(".raw"))
    assert not list(journals.iterdir())


def test_device_that_cannot_zero(image: Path, tmp_path: Path, journals: Path) -> None:
    with scripted(tmp_path) as device:
        require_read_and_skip(device, image, journals)


def test_device_that_fails_to_zero(image: Path, tmp_path: Path, journals: Path) -> None:
    parameters = ("error-zero-rate=100%", "error-trim-rate=100%")
    with disk(tmp_path, "--filter=error", parameters=parameters) as device:
        require_read_and_skip(device, image, journals)


@pytest.mark.quick
@pytest.mark.parametrize("bad", [BAD, SIZE - MIB], ids=["middle", "end"])
def test_raw_source_with_a_bad_sector(tmp_path: Path, journals: Path, bad: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(support.noise(SIZE, 4))
    with (
        support.target(tmp_path / "target", TARGET) as target,
        bad_sectors(tmp_path, source, bad) as device,
    ):
        outcome = qcow2raw("--format", "raw", device, target, journals=journals)
        outcome.failed(FAILED, str(device), "Input/output error")
        assert named_byte(outcome) <= bad < named_byte(outcome) + CHUNK
        require_checkpoint(journals, target, source)


@pytest.mark.parametrize("bad", [0, MIB - 4096], ids=["first", "last"])
def test_source_whose_partition_table_cannot_be_read(
    tmp_path: Path, journals: Path, bad: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(support.noise(MIB, 4))
    with (
        support.target(tmp_path / "target", TARGET) as target,
        bad_sectors(tmp_path, source, bad) as device,
    ):
        before = support.digest(target)
        outcome = qcow2raw("--format", "raw", device, target, journals=journals)
        outcome.failed(REFUSED, str(device), "Input/output error")
        assert bad <= named_byte(outcome) < bad + 4096
        assert support.digest(target) == before


def table_of_level_1(image: Path) -> int:
    """Its place in the file: bytes 40 to 47 of the header (docs/interop/qcow2.txt of QEMU)."""
    return int.from_bytes(image.read_bytes()[40:48], "big")


def test_qcow2_whose_tables_cannot_be_read(image: Path, tmp_path: Path, journals: Path) -> None:
    with support.target(tmp_path / "target", TARGET) as target:
        before = support.digest(target)
        bad = table_of_level_1(image)
        with bad_sectors(tmp_path, image, bad) as device:
            outcome = qcow2raw("--format", "qcow2", device, target, journals=journals)
        outcome.failed(REFUSED, str(device), "Input/output error")
        assert support.digest(target) == before


@pytest.mark.parametrize("offset", [6 * MIB, 20 * MIB], ids=["compressed", "data"])
def test_qcow2_whose_data_cannot_be_read(
    image: Path, tmp_path: Path, journals: Path, offset: int
) -> None:
    bad = support.place_of(image, offset)
    with (
        support.target(tmp_path / "target", TARGET) as target,
        bad_sectors(tmp_path, image, bad - bad % 4096) as device,
    ):
        outcome = qcow2raw("--format", "qcow2", device, target, journals=journals)
        outcome.failed(FAILED, str(device), "Input/output error")
        assert named_byte(outcome) <= bad < named_byte(outcome) + CHUNK


def test_cluster_that_does_not_inflate(image: Path, tmp_path: Path, journals: Path) -> None:
    offset = 6 * MIB + 3 * support.CLUSTER
    support.damage(image, offset)
    with support.target(tmp_path / "target", TARGET) as target:
        outcome = qcow2raw(image, target, journals=journals)
        outcome.failed(FAILED, str(image), str(offset))


@pytest.mark.parametrize(
    ("error", "cause"), [("EIO", "Input/output error"), ("ENOSPC", "No space left on device")]
)
def test_target_that_takes_no_writes(
    image: Path, tmp_path: Path, journals: Path, error: str, cause: str
) -> None:
    """Zeros it makes, so that it is changed."""
    broken = tmp_path / "broken"
    parameters = ("error-pwrite-rate=100%", f"error-pwrite={error}", f"error-pwrite-file={broken}")
    broken.touch()
    with disk(tmp_path, "--filter=error", parameters=parameters) as device:
        outcome = qcow2raw(image, device.path, journals=journals)
        outcome.failed(FAILED, str(device.path), cause)
        assert named_byte(outcome) < TARGET
        broken.unlink()
        qcow2raw("--resume", image, device.path, journals=journals).done()
        support.require_same(device.path, tmp_path / "image.raw")
    assert not list(journals.iterdir())


@pytest.mark.parametrize(
    ("error", "cause"), [("EIO", "Input/output error"), ("ENOSPC", "No space left on device")]
)
def test_target_that_takes_nothing(
    image: Path, tmp_path: Path, journals: Path, error: str, cause: str
) -> None:
    broken = tmp_path / "broken"
    parameters = [
        word
        for what in ("pwrite", "zero", "trim")
        for word in (
            *(f"error-{what}-rate=100%", f"error-{what}={error}"),
            f"error-{what}-file={broken}",
        )
    ]
    broken.touch()
    with disk(tmp_path, "--filter=error", parameters=tuple(parameters)) as device:
        before = support.digest(device.path)
        outcome = qcow2raw(image, device.path, journals=journals)
        outcome.failed(REFUSED, str(device.path), cause)
        assert named_byte(outcome) < TARGET
        assert support.digest(device.path) == before
        assert not list(journals.iterdir())
        broken.unlink()
        qcow2raw(image, device.path, journals=journals).done()
        support.require_same(device.path, tmp_path / "image.raw")
    assert not list(journals.iterdir())


def test_a_new_copy_that_writes_nothing_leaves_the_journal_of_an_earlier_one(
    image: Path, tmp_path: Path, journals: Path
) -> None:
    later, never = tmp_path / "later", tmp_path / "never"
    fails = (
        f'if [ -e {never} ] || {{ [ -e {later} ] && [ "$4" -ge {BAD} ]; }}; then'
        " cat >/dev/null; echo EIO it takes nothing >&2; exit 1; fi"
    )
    later.touch()
    with scripted(tmp_path, before=fails) as device:
        outcome = qcow2raw("--digest=xxh3", image, device.path, journals=journals)
        outcome.failed(FAILED, str(device.path), "Input/output error")
        done = require_checkpoint(journals, device.path, tmp_path / "image.raw")
        assert done
        [journal] = journals.iterdir()
        earlier = journal.read_bytes()
        later.unlink()
        never.touch()
        for words in ((), ("--digest=xxh3",), ("--update",)):
            outcome = qcow2raw("--force", *words, image, device.path, journals=journals)
            outcome.failed(REFUSED, str(device.path), "Input/output error")
            assert journal.read_bytes() == earlier
        never.unlink()
        words = ("--resume", "--progress=json", image, device.path)
        outcome = qcow2raw(*words, journals=journals).done()
        assert outcome.messages[-1]["resumed_at"] == done
        support.require_same(device.path, tmp_path / "image.raw")
    assert not list(journals.iterdir())


def test_swap_that_cannot_be_written_leaves_the_journal_of_an_earlier_copy(
    tmp_path: Path, journals: Path
) -> None:
    area = tmp_path / "swap"
    area.write_bytes(bytes(SIZE))
    support.output("mkswap", "-q", area)
    broken = tmp_path / "broken"
    fails = f"if [ -e {broken} ]; then cat >/dev/null; echo EPERM no >&2; exit 1; fi"
    with scripted(tmp_path, before=fails) as device:
        # It is written to the loop device, and fails at the flush or at once.
        broken.touch()
        with target.open_target(device.path, size_needed=TARGET, force=True) as there:
            journal = Journal(there.identity, journals)
            journal.begin(Record({}, there.identity, {}, 0))
        earlier = journal.path.read_bytes()
        words = ("--swap-only", "--force", "--format=raw", area, device.path)
        qcow2raw(*words, journals=journals).failed(REFUSED, str(device.path))
        assert journal.path.read_bytes() == earlier
        broken.unlink()
        qcow2raw(*words, journals=journals).done()
        assert not list(journals.iterdir())


def test_a_new_file_without_room(image: Path, tmp_path: Path, journals: Path) -> None:
    place = tmp_path / "full"
    place.mkdir()
    support.output("mount", "-t", "tmpfs", "-o", "size=64k", "full", place)
    try:
        with (place / "old").open("wb") as file:
            file.truncate(TARGET)
        (place / "filler").write_bytes(bytes(60 << 10))
        with suppress(OSError):
            (place / "rest").write_bytes(bytes(64 << 10))
        for name in ("new", "old"):
            words = ("--force-file", image, place / name)
            outcome = qcow2raw(*words, journals=journals)
            outcome.failed(REFUSED, str(place / name), "No space left on device")
        assert sorted(path.name for path in place.iterdir()) == ["filler", "old", "rest"]
        assert (place / "old").stat().st_blocks == 0
    finally:
        support.output("umount", place)
    assert not list(journals.iterdir())


@pytest.mark.parametrize("bad", [0, 7 * MIB, BAD, TARGET - 4096], ids=str)
def test_target_with_a_bad_sector(image: Path, tmp_path: Path, journals: Path, bad: int) -> None:
    fails = (
        f"if [ $4 -le {bad} ] && [ $(($4 + $3)) -gt {bad} ]; then"
        " cat >/dev/null; echo EIO a bad sector >&2; exit 1; fi"
    )
    with scripted(tmp_path, before=fails) as device:
        outcome = qcow2raw(image, device.path, journals=journals)
        outcome.failed(FAILED, str(device.path), "Input/output error")
        assert named_byte(outcome) <= bad < named_byte(outcome) + CHUNK
        require_checkpoint(journals, device.path, tmp_path / "image.raw")


def test_target_whose_storage_is_full(image: Path, tmp_path: Path, journals: Path) -> None:
    """As a thin pool is. No loop device over a full file system: Linux's driver calls a write of
    which a part was done a success (lo_complete_rq()), and the rest is lost."""
    full = tmp_path / "full"
    full.touch()
    fails = (
        f'if [ -e {full} ] && [ "$4" -ge {BAD} ]; then'
        " cat >/dev/null; echo ENOSPC the pool is full >&2; exit 1; fi"
    )
    with scripted(tmp_path, before=fails) as device:
        outcome = qcow2raw(image, device.path, journals=journals)
        outcome.failed(FAILED, str(device.path), "No space left on device")
        full.unlink()
        qcow2raw("--resume", image, device.path, journals=journals).done()
        support.require_same(device.path, tmp_path / "image.raw")


def test_target_whose_flush_fails(image: Path, tmp_path: Path, journals: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    fails = f"if [ -e {broken} ]; then echo EIO the disk lost it >&2; exit 1; fi"
    with scripted(tmp_path, flush=fails) as device:
        outcome = qcow2raw(image, device.path, journals=journals)
        outcome.failed(FAILED, str(device.path), "flush", "Input/output error")
        # Nothing was flushed, so there is no checkpoint.
        assert [checkpoint(journal) for journal in journals.iterdir()] in ([], [0])
        broken.unlink()
        qcow2raw("--resume", image, device.path, journals=journals).done()
        support.require_same(device.path, tmp_path / "image.raw")


def checkpoint(journal: Path) -> int:
    """Up to where a journal says that the target is right, and on the disk."""
    done = json.loads(journal.read_bytes())["done"]
    assert isinstance(done, int)
    return done


def require_checkpoint(journals: Path, device: Path, reference: Path) -> int:
    """The device holds what the journal says it does."""
    [journal] = journals.iterdir()
    done = checkpoint(journal)
    with device.open("rb") as got, reference.open("rb") as expected:
        size = reference.stat().st_size
        assert got.read(min(done, size)) == expected.read(min(done, size))
        assert not any(got.read(max(0, done - size)))
    return done


@pytest.mark.parametrize("moment", [8, 20, 36], ids=str)
def test_power_cut_leaves_what_is_before_the_checkpoint(
    image: Path, tmp_path: Path, journals: Path, moment: int
) -> None:
    """The disk has a cache of its own, and loses what was not flushed when the power goes."""
    filters = ("--filter=rate", "--filter=cache")
    with disk(tmp_path, *filters, parameters=("cache=writeback", "rate=60M")) as device:
        # With a digest all is in order; else there is no checkpoint on so small a disk before
        # its zeros are made.
        run = Run("--digest=blake2b", image, device.path, journals=journals)
        enough = moment * MIB
        support.wait_until(lambda: any(checkpoint(j) >= enough for j in journals.glob("*.json")))
        device.cut_power()
        run.wait().failed(FAILED, str(device.path))
    # The file is what the disk had on its platters.
    assert require_checkpoint(journals, tmp_path / "disk", tmp_path / "image.raw") >= moment * MIB


def test_no_room_for_the_journal(image: Path, tmp_path: Path, journals: Path) -> None:
    support.output("mount", "-t", "tmpfs", "-o", "size=4k", "journals", journals)
    try:
        (journals / "filler").write_bytes(bytes(4096))
        with support.target(tmp_path / "target", TARGET) as target:
            before = support.digest(target)
            outcome = qcow2raw(image, target, journals=journals)
            outcome.failed(REFUSED, "journal", "No space left on device")
            assert support.digest(target) == before
    finally:
        support.output("umount", journals)


def test_target_that_cannot_be_read(image: Path, tmp_path: Path, journals: Path) -> None:
    """Whether it holds something cannot be told, so it is not written either."""
    broken = tmp_path / "broken"
    parameters = ("error-pread-rate=100%", f"error-pread-file={broken}")
    with disk(tmp_path, "--filter=error", parameters=parameters) as device:
        broken.touch()
        for options in ((), ("--check",)):
            outcome = qcow2raw(*options, image, device.path, journals=journals)
            outcome.failed(REFUSED, str(device.path))
    reference = support.dirty(tmp_path / "reference", TARGET)
    assert support.digest(tmp_path / "disk") == support.digest(reference)


def test_verify_sees_what_a_disk_did_not_keep(image: Path, tmp_path: Path, journals: Path) -> None:
    """A disk that says yes to all writes, and forgets one sector."""
    (tmp_path / "nothing").write_bytes(bytes(512))
    sector = f"if={tmp_path / 'nothing'} of={tmp_path / 'disk'} seek={BAD // 512}"
    with scripted(tmp_path, after=f"dd status=none conv=notrunc {sector}") as device:
        outcome = qcow2raw("--verify", image, device.path, journals=journals)
        outcome.failed(FAILED, str(device.path))
        check = qcow2raw("--check", image, device.path, journals=journals)
        check.failed(support.DIFFERS, str(BAD))
