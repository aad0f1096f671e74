"""--resume goes on only with the same file or device."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from converter import sources
from converter.engine.journal import Journal, Record
from converter.target import device as target
from tests.system.converter import support
from tests.system.converter.support import MIB, REFUSED, Write, qcow2raw

SIZE = 8 * MIB
DONE = 4 * MIB  # what the interrupted copy had made
OPTIONS = {"format": "qcow2", "swap": "recreate", "fix_gpt": "yes"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("resume")
    yield support.qcow2(directory / "image.qcow2", SIZE, Write(0, support.noise(SIZE, 1)))
    shutil.rmtree(directory)


@pytest.fixture
def reference(image: Path, tmp_path: Path) -> Path:
    return support.raw_of(image, tmp_path / "reference")


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    directory = tmp_path / "journals"
    directory.mkdir()
    return directory


def interrupted(image: Path, reference: Path, path: Path, journals: Path) -> Journal:
    """As a copy is that was killed: half of it is there, up to the journal's checkpoint."""
    content = reference.read_bytes()
    with path.open("r+b") as file:
        file.write(content[:DONE])
    with (
        sources.open_source(str(image), None) as source,
        target.open_target(path, size_needed=SIZE, allow_file=True, force=True) as there,
    ):
        journal = Journal(there.identity, journals)
        journal.begin(Record(source.identity, there.identity, OPTIONS, DONE, str(path)))
    return journal


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own: ext4 gives a removed file's inode to the next one."""
    disk, place = tmp_path / "ext4", tmp_path / "alone"
    place.mkdir()
    support.output("mke2fs", "-q", "-F", "-t", "ext4", disk, "64M")
    with support.loop(disk, read_only=False) as device:
        support.output("mount", "-t", "ext4", device, place)
        try:
            yield place
        finally:
            support.output("umount", place)


def in_the_place_of(path: Path) -> None:
    """Another file of the name, the size and the inode."""
    inode = path.stat().st_ino
    path.unlink()
    support.dirty(path, SIZE)
    assert path.stat().st_ino == inode


def test_the_same_file_is_gone_on_with(
    image: Path, reference: Path, tmp_path: Path, journals: Path
) -> None:
    path = support.dirty(tmp_path / "disk", SIZE)
    interrupted(image, reference, path, journals)
    outcome = qcow2raw("--resume", "--force-file", image, path, journals=journals).done()
    assert "going on at 4 MiB" in outcome.stderr
    support.require_same(path, reference)
    assert not list(journals.iterdir())


def test_another_file_of_the_same_inode_is_not(
    image: Path, reference: Path, alone: Path, journals: Path
) -> None:
    path = support.dirty(alone / "disk", SIZE)
    journal = interrupted(image, reference, path, journals)
    in_the_place_of(path)
    before = support.digest(path)
    words = ("--resume", "--force-file", "--force", image, path)
    qcow2raw(*words, journals=journals).failed(REFUSED, str(path), "another device or file")
    assert support.digest(path) == before
    assert journal.path.exists()


def test_a_file_that_this_run_makes_is_not(
    image: Path, reference: Path, tmp_path: Path, journals: Path
) -> None:
    path = support.dirty(tmp_path / "disk", SIZE)
    interrupted(image, reference, path, journals)
    path.unlink()
    outcome = qcow2raw("--resume", "--force-file", image, path, journals=journals)
    outcome.failed(REFUSED, str(path), "another device or file")
    assert not path.exists()
    qcow2raw("--force-file", image, path, journals=journals).done()
    support.require_same(path, reference)


def test_a_file_without_a_birth_time_is_not(
    image: Path, reference: Path, tmp_path: Path, journals: Path
) -> None:
    place = tmp_path / "ramfs"  # which knows of no birth time
    place.mkdir()
    support.output("mount", "-t", "ramfs", "-o", "mode=700", "ramfs", place)
    try:
        path = support.dirty(place / "disk", SIZE)
        journal = interrupted(image, reference, path, journals)
        before = support.digest(path)
        outcome = qcow2raw("--resume", "--force-file", image, path, journals=journals)
        outcome.failed(
            REFUSED, str(path), "may have written to another device or file", "birth time"
        )
        assert "leave --resume out" in outcome.stderr and str(journal.path) not in outcome.stderr
        assert support.digest(path) == before
        # As the hint says: what is on it is told first, and nothing is left to be removed.
        outcome = qcow2raw("--force-file", image, path, journals=journals)
        outcome.failed(REFUSED, f"target {path}: it holds")
        qcow2raw("--force-file", "--force", image, path, journals=journals).done()
        support.require_same(path, reference)
        assert not list(journals.iterdir())
    finally:
        support.output("umount", place)


def test_a_file_that_was_cut_since_is_not(
    image: Path, reference: Path, tmp_path: Path, journals: Path
) -> None:
    path = support.dirty(tmp_path / "disk", SIZE)
    interrupted(image, reference, path, journals)
    os.truncate(path, MIB)
    outcome = qcow2raw("--resume", "--force-file", image, path, journals=journals)
    outcome.failed(REFUSED, f"target {path}: it was cut to {MIB} bytes")
    assert path.stat().st_size == MIB
    qcow2raw("--force", "--force-file", image, path, journals=journals).done()
    support.require_same(path, reference)


def test_a_loop_device_is_told_by_its_file(
    image: Path, reference: Path, alone: Path, tmp_path: Path, journals: Path
) -> None:
    path = support.dirty(alone / "disk", SIZE)
    link = tmp_path / "target"  # the name that both devices have
    with support.loop(path, read_only=False) as device:
        link.symlink_to(device)
        interrupted(image, reference, link, journals)
    with support.loop(path, read_only=False) as device:
        link.unlink()
        link.symlink_to(device)
        qcow2raw("--resume", image, link, journals=journals).done()
        support.require_same(device, reference)
        interrupted(image, reference, link, journals)
    in_the_place_of(path)
    with support.loop(path, read_only=False) as device:
        link.unlink()
        link.symlink_to(device)
        before = support.digest(device)
        outcome = qcow2raw("--resume", "--force", image, link, journals=journals)
        outcome.failed(REFUSED, str(link), "another device or file")
        assert support.digest(device) == before


def test_a_journal_without_the_files_birth_is_not_taken(
    image: Path, reference: Path, tmp_path: Path, journals: Path
) -> None:
    """As earlier versions wrote them: device, inode and size could be those of another file."""
    path = support.dirty(tmp_path / "disk", SIZE)
    journal = interrupted(image, reference, path, journals)
    record = journal.read()
    assert record is not None
    journal.remove()
    old = {key: value for key, value in record.target.items() if key != "birth"}
    Journal(old, journals).begin(Record(**{**asdict(record), "target": old}))
    before = support.digest(path)
    outcome = qcow2raw("--resume", "--force-file", "--force", image, path, journals=journals)
    outcome.failed(REFUSED, str(path))
    assert support.digest(path) == before


def test_another_source_device_of_the_same_number_and_head(
    reference: Path, tmp_path: Path, journals: Path
) -> None:
    """Machines of one template begin alike, and a loop device's number goes to the next."""
    one, other = reference, tmp_path / "other"
    content = bytearray(reference.read_bytes())
    content[6 * MIB] ^= 1
    other.write_bytes(content)
    link = tmp_path / "source"
    with support.target(tmp_path / "disk", SIZE) as device:
        with support.loop(one) as first:
            link.symlink_to(first)
            with (
                sources.open_source(str(link), None) as source,
                target.open_target(device, size_needed=SIZE, force=True) as there,
            ):
                record = Record(
                    source.identity, there.identity, {**OPTIONS, "format": "raw"}, DONE, str(device)
                )
                Journal(there.identity, journals).begin(record)
        before = support.digest(device)
        with support.loop(other) as second:
            link.unlink()
            link.symlink_to(second)
            outcome = qcow2raw("--resume", "--force", link, device, journals=journals)
            outcome.failed(REFUSED, "the source has changed")
        assert support.digest(device) == before
