"""Targets that are lost during a copy, or fail before the first byte: no journal remains."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.converter import support
from tests.system.converter.support import FAILED, MIB, REFUSED, Run, Write, qcow2raw, wait_until

SIZE = 48 * MIB
DELAY = "delay-read=300ms"  # eight readers, 2 MiB each: the copy takes a second


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    directory = tmp_path / "journals"
    directory.mkdir()
    return directory


@contextmanager
def slow(directory: Path) -> Iterator[str]:
    """A source that takes its time; its data go up to the last byte."""
    disk, socket = directory / "source", directory / "source.sock"
    disk.write_bytes(support.noise(SIZE, 1))
    words = ("--foreground", "--read-only", "-U", socket, "--filter=delay", "file", disk, DELAY)
    with subprocess.Popen(["nbdkit", *words]) as server:
        try:
            wait_until(socket.exists)
            yield f"nbd+unix:///?socket={socket}"
        finally:
            server.kill()


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"another's")
    other.rename(path)


def cut(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("lose", "words"),
    [
        (removed, "it was removed or replaced meanwhile"),
        (replaced, "it was removed or replaced meanwhile"),
        (cut, "it was cut to"),
    ],
)
def test_a_file_that_is_lost_meanwhile(
    lose: Callable[[Path], None], words: str, tmp_path: Path, journals: Path
) -> None:
    path = tmp_path / "target"
    with slow(tmp_path) as uri:
        run = Run("--force-file", uri, path, journals=journals)
        wait_until(lambda: run.ended or (path.exists() and path.stat().st_blocks > 0))
        lose(path)
        run.wait().failed(FAILED, f"target {path}: {words}")
    assert not list(journals.iterdir())


def test_a_device_whose_name_leads_elsewhere_meanwhile(tmp_path: Path, journals: Path) -> None:
    link = tmp_path / "target"
    with (
        slow(tmp_path) as uri,
        support.target(tmp_path / "one", SIZE) as device,
        support.target(tmp_path / "other", SIZE) as other,
    ):
        link.symlink_to(device)
        run = Run(uri, link, journals=journals)
        wait_until(lambda: run.ended or bool(list(journals.iterdir())))
        link.unlink()
        link.symlink_to(other)
        run.wait().failed(FAILED, f"target {link}", "it was removed or replaced meanwhile")
    assert not list(journals.iterdir())


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """An empty image of a disk that is larger than a file of the file system can be."""
    try:
        with (tmp_path / "probe").open("wb") as file:
            file.truncate(20 << 40)
        (tmp_path / "probe").unlink()
    except OSError:
        return support.qcow2(tmp_path / "huge", 20 << 40, options="cluster_size=2M")
    pytest.skip("this file system takes files of 20 TiB")


@pytest.mark.parametrize("options", [(), ("--verify",), ("--resume",)])
def test_a_file_that_cannot_be_made_so_large(
    options: tuple[str, ...], huge: Path, tmp_path: Path, journals: Path
) -> None:
    path = tmp_path / "new"
    outcome = qcow2raw(*options, "--force-file", huge, path, journals=journals)
    outcome.failed(REFUSED, "enlarging", str(path))
    assert "--resume" not in outcome.hint
    assert not path.exists()
    assert not list(journals.iterdir())


def test_a_file_that_cannot_be_made_larger_stays_as_it_is(
    huge: Path, tmp_path: Path, journals: Path
) -> None:
    path = support.dirty(tmp_path / "there", MIB)
    before = support.digest(path)
    outcome = qcow2raw("--force", "--force-file", huge, path, journals=journals)
    outcome.failed(REFUSED, "enlarging", str(path))
    assert support.digest(path) == before
    assert not list(journals.iterdir())


def test_a_source_that_fails_before_the_first_byte(tmp_path: Path, journals: Path) -> None:
    image = support.qcow2(
        tmp_path / "image", 2 * MIB, Write(0, support.prose(2 * MIB, 1), compressed=True)
    )
    support.damage(image, MIB)
    with support.target(tmp_path / "disk", 2 * MIB) as device:
        before = support.digest(device)
        outcome = qcow2raw(image, device, journals=journals)
        outcome.failed(REFUSED, "the compressed cluster at byte")
        assert "--resume" not in outcome.hint
        assert support.digest(device) == before
    assert not list(journals.iterdir())
    outcome = qcow2raw("--force-file", image, tmp_path / "new", journals=journals)
    outcome.failed(REFUSED, "the compressed cluster at byte")
    assert not (tmp_path / "new").exists()
    assert not list(journals.iterdir())
