"""The goals of the backup's bench, and the lines that tell whether they are met."""

import sys

from bench import goals

# Its modules import each other by their names alone, as programs of one directory do.
sys.modules.setdefault("goals", goals)

from bench import backup_goals  # noqa: E402
from bench.backup_goals import DEVICE, EXPORT, LARGE, RESTORE, USUAL, Cell  # noqa: E402

MIB = 1 << 20


def figures(seconds: float) -> goals.Figures:
    return goals.Figures(seconds, seconds, 50 * MIB)


def rows(export: dict[str, float], restore: dict[str, float], large: float) -> list[str]:
    def made(found: dict[str, float]) -> dict[str, goals.Figures]:
        return {name: figures(seconds) for name, seconds in found.items()}

    found = {
        Cell(EXPORT, DEVICE, USUAL): made(export),
        Cell(RESTORE, DEVICE, USUAL): made(restore),
        Cell(EXPORT, DEVICE, LARGE): made({"ours": large}),
    }
    streams = {"ours": 100, "dump": 300, "dd zstd": 101, "tar zstd": 99, "qemu-img": 90}
    return backup_goals.rows(found, streams, 127 * MIB)


def test_what_does_not_compress_is_no_peer_of_an_export() -> None:
    first = rows({"ours": 4.0, "dump": 3.0, "e2image": 1.0, "tar zstd": 5.0}, {}, 5.0)[0]
    assert first.startswith("export   block   4 GiB    time / best (tar zstd)")
    assert first.endswith("0.80  <= 0.80  met")


def test_a_restore_is_compared_with_the_faster_qemu_img() -> None:
    restore = {"ours": 2.3, "qemu-img": 3.0, "qemu-img none": 2.0, "dd zstd": 1.0}
    shown = rows({"ours": 4.0, "tar zstd": 5.0}, restore, 5.0)[1]
    assert "time / best (qemu-img none)" in shown
    assert shown.endswith("1.15  <= 1.10  missed")


def test_the_large_disk_is_compared_with_the_usual_one() -> None:
    shown = rows({"ours": 4.0, "tar zstd": 5.0}, {}, 5.2)[1]
    assert shown.endswith("1.30  <= 1.30  met")


def test_the_stream_is_compared_with_those_of_the_same_level() -> None:
    stream, memory = rows({"ours": 4.0, "tar zstd": 5.0}, {}, 5.0)[-2:]
    assert "size / smallest (tar zstd)" in stream
    assert stream.endswith("missed")
    assert memory == "peak memory 127 MiB, goal < 128 MiB: met"


def test_without_peers_there_is_only_the_goal_for_memory() -> None:
    assert backup_goals.rows({}, {"ours": 100}, 127 * MIB) == [
        "peak memory 127 MiB, goal < 128 MiB: met"
    ]
