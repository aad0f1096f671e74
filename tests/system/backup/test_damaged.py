"""Streams that are cut, altered, too long or none at all leave no disk that looks whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup import import_
from tests.system.backup import support
from tests.system.backup.damage import (
    altered,
    cut,
    instead,
    places,
    with_header,
    without_a_frame,
    without_trailer,
)
from tests.system.backup.support import MIB, imported, made, noise
from tests.system.installer.support import loop, output

SIZE = 64 * MIB


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> support.Disk:
    return made(tmp_path_factory.mktemp("disk") / "disk", "gpt", "ext4", SIZE)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A device with another's old system on it."""
    old = made(tmp_path / "old", "gpt", "ext4", SIZE)
    with loop(old.path, read_only=False) as device:
        yield device


BEFORE_A_BYTE = {
    "empty": (instead(b""), "empty"),
    "noise": (instead(b"nonsense" * (2 * MIB)), "known kind of backup"),
    "other zstd": (lambda dump: dump[places(dump)["frames"] :], "known kind of backup"),
    "cut header": (cut("header", 20), "ends within a frame"),
    "version": (with_header(version=2), "version"),
    "sizes": (with_header(smallest=SIZE + 1), "not possible"),
    "header": (altered("header", 9), "header"),
    "too large": (with_header(disk_size=2 * SIZE, smallest=2 * SIZE), str(2 * SIZE)),
}


@pytest.mark.parametrize("case", BEFORE_A_BYTE)
def test_what_the_header_tells_is_checked_before_the_first_byte(
    case: str, dump: Path, tmp_path: Path
) -> None:
    target = noise(tmp_path / "target", SIZE)
    before = output("sha256sum", target)
    damage, words = BEFORE_A_BYTE[case]
    imported(target, damage(dump.read_bytes())).failed(words)
    assert output("sha256sum", target) == before


CASES = {
    "cut at a frame": (cut("frames"), "ends within a frame"),
    "cut within a frame": (cut("frames", 9999), "ends within a frame"),
    "cut at the trailer": (cut("trailer"), "ends within a frame"),
    "cut in the trailer": (cut("trailer", 30), "ends within a frame"),
    "altered frame": (altered("frames", 99999), "damaged"),
    "altered trailer": (altered("trailer", 30), "trailer"),
    "no trailer": (without_trailer, "trailer"),
    "no frame": (without_a_frame, ""),
    "header's size": (with_header(disk_size=SIZE - MIB, smallest=0), ""),
    "header's smallest": (with_header(smallest=MIB), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_stream_leaves_nothing_that_looks_whole(
    case: str, dump: Path, target: Path, tmp_path: Path
) -> None:
    damage, words = CASES[case]
    damaged = damage(dump.read_bytes())
    if case == "header's smallest":  # it does not fit, whatever the header says
        small = noise(tmp_path / "small", 20 * MIB)
        imported(small, damaged).failed("")
        assert support.found_on(small) == ""
        return
    imported(target, damaged).failed(words)
    require_nothing_on(target)


def require_nothing_on(target: Path) -> None:
    assert support.found_on(target) == ""
    with target.open("rb") as file:
        assert not any(file.read(MIB))
        file.seek(-MIB, 2)
        assert not any(file.read())


ENDS = {
    "cut in the last frame": (cut("eof", -7 * MIB), "ends within"),
    "cut at the end": (cut("eof", -1), "ends within a frame"),
    "altered end": (altered("eof", -1), "last frame"),
    "no end": (cut("end", 4), "ends within"),
    "bytes behind": (lambda dump: dump + b"\0", "bytes behind its end"),
    "twice": (lambda dump: dump + dump, "bytes behind its end"),
}


@pytest.mark.parametrize("case", ENDS)
def test_what_a_damaged_end_takes_from_a_whole_disk_is_kept(
    case: str, disk: support.Disk, dump: Path, target: Path
) -> None:
    """The sender may believe that all has arrived, and the disk may be the only copy."""
    damage, words = ENDS[case]
    outcome = imported(target, damage(dump.read_bytes())).failed(words)
    assert output("blkid", "-p", target, check=False) == ""
    with target.open("rb") as file:
        assert not any(file.read(MIB))
    (head,) = import_.HEADS.iterdir()
    assert head.stat().st_mode & 0o777 == 0o600
    assert f"if={head} of={target} bs=1M conv=notrunc" in outcome.stderr
    output("dd", f"if={head}", f"of={target}", "bs=1M", "conv=notrunc")
    head.unlink()
    support.require_restored(disk, target)
