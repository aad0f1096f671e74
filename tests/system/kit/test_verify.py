"""A backup that is not whole is never said to be."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.backup import support
from tests.system.backup.damage import (
    altered,
    cut,
    instead,
    with_header,
    without_a_frame,
    without_trailer,
)
from tests.system.backup.support import MIB, made
from tests.system.kit.test_streams import ended, kit, started

SIZE = 64 * MIB
PROBLEM = 1


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> support.Disk:
    return made(tmp_path_factory.mktemp("disk") / "disk", "msdos", "ext4", SIZE)


@pytest.fixture(scope="module")
def dump(disk: support.Disk) -> Path:
    path = disk.path.with_name("dump")
    support.exported(disk.path, path).done()
    return path


CASES = {
    "empty": (instead(b""), "damaged: it is empty"),
    "noise": (instead(b"nonsense" * MIB), "damaged: its first bytes"),
    "cut header": (cut("header", 20), "damaged: it ends within a frame"),
    "header": (altered("header", 9), "damaged: there is no header"),
    "version": (with_header(version=2), "damaged: its format is of a version"),
    "cut at a frame": (cut("frames"), "ends within a frame"),
    "cut within a frame": (cut("frames", 9999), "ends within a frame"),
    "altered frame": (altered("frames", 99999), "damaged: a frame in it"),
    "no frame": (without_a_frame, "damaged"),
    "no trailer": (without_trailer, "trailer"),
    "altered trailer": (altered("trailer", 30), "trailer"),
    "another disk's size": (with_header(disk_size=SIZE + MIB), "damaged"),
    "cut at the end": (cut("eof", -1), "ends within a frame"),
    "altered end": (altered("eof", -1), "last frame"),
    "bytes behind": (lambda dump: dump + b"\0", "bytes behind its end"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_damaged(case: str, dump: Path, tmp_path: Path) -> None:
    damage, words = CASES[case]
    file = tmp_path / "dump"
    file.write_bytes(damage(dump.read_bytes()))
    ran = kit("verify", file)
    assert (ran.exit_code, ran.stderr) == (PROBLEM, "")
    first = ran.out.splitlines()[0]
    assert first.startswith(f"{file}: damaged: ") and words in first


def test_a_whole_one_is_described(dump: Path) -> None:
    out = kit("verify", dump).done().out
    assert f"disk 0 of {support.INSTANCE}, 64 MiB" in out
    assert "partition 1: ext4" in out and "of free blocks" in out
    with dump.open("rb") as stdin:
        assert kit("verify", "-", stdin=stdin).done().out.startswith("-: whole")


def test_each_of_several_has_a_line(dump: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(dump.read_bytes()[:-1])
    ran = kit("verify", dump, bad, tmp_path / "none", "/dev/null", dump)
    assert ran.exit_code == PROBLEM
    states = [
        line.removeprefix(f"{name}: ").partition(":")[0]
        for line, name in zip(
            ran.out.splitlines(), (dump, bad, tmp_path / "none", "/dev/null", dump), strict=True
        )
    ]
    assert states == ["whole", "damaged", "missing", "not readable", "whole"]
    assert kit("verify", dump, dump).done().out.count("\n") == 2


def test_a_raw_disk_is_not_said_to_be_whole(disk: support.Disk, tmp_path: Path) -> None:
    ran = kit("verify", disk.path)
    assert ran.exit_code == PROBLEM and "not verifiable" in ran.out
    short = tmp_path / "short"
    short.write_bytes(disk.path.read_bytes()[: SIZE - 2 * MIB])
    ran = kit("verify", short)
    assert ran.exit_code == PROBLEM and f"damaged: it ends after {SIZE - 2 * MIB}" in ran.out


@pytest.fixture
def export(dump: Path, tmp_path: Path) -> Callable[..., Path]:
    """A directory as Ganeti's, with some dumps."""

    def make(*dumps: str, config: str | None = None) -> Path:
        directory = tmp_path / "web1"
        directory.mkdir()
        for name in dumps:
            (directory / name).symlink_to(dump)
        listed = "".join(f"disk{n}_dump = {name}\n" for n, name in enumerate(("a", "b")))
        text = f"[instance]\n{listed}disk_count = 2\n" if config is None else config
        (directory / "config.ini").write_text(text)
        return directory

    return make


def test_all_dumps_of_an_export_of_ganeti(export: Callable[..., Path]) -> None:
    directory = export("a", "b", "surplus")
    lines = kit("verify", directory).done().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{directory}/a", f"{directory}/b"]


@pytest.mark.parametrize(
    ("dumps", "config", "words"),
    [
        (["a"], None, "b: missing"),
        (["a"], "[instance]\ndisk0_dump = a\ndisk1_dump = None\ndisk_count = 2\n", "no dump of"),
        (["a"], "[instance]\ndisk_count = 0\n", "missing: there is no dump of a disk"),
        (["a"], "", "config.ini: damaged"),
        (["a"], "[instance]\ndisk0_dump = ../a\ndisk_count = 1\n", "config.ini: damaged"),
    ],
)
def test_an_export_that_is_not_complete(
    dumps: list[str], config: str | None, words: str, export: Callable[..., Path]
) -> None:
    ran = kit("verify", export(*dumps, config=config), "--json")
    assert ran.exit_code == PROBLEM
    last = json.loads(ran.out)[-1]
    assert words in f"{last['file']}: {last['state']}: {last['why']}"


def test_a_directory_without_a_configuration(tmp_path: Path) -> None:
    ran = kit("verify", tmp_path)
    assert ran.exit_code == PROBLEM
    assert ran.out == f"{tmp_path}/config.ini: missing: the export did not end\n"


def test_a_signal_ends_it(dump: Path, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with started("verify", pipe) as process, pipe.open("wb") as writing:
        writing.write(dump.read_bytes()[:MIB])
        writing.flush()
        process.send_signal(signal.SIGTERM)
        ended(process).failed("stopped by SIGTERM", exit_code=128 + signal.SIGTERM)
