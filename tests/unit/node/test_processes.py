"""What proc(5) tells of processes, taken apart."""

import os
from pathlib import Path

import pytest

from node import processes
from node.processes import Mount, Process, mounts


def test_fields_of_mounts() -> None:
    lines = (
        "28 1 254:0 / / rw,noatime shared:1 master:2 - ext4 /dev/vda rw\n"
        "92 28 0:50 /a\\040b /srv/my\\040\\134data\u2028 rw - btrfs /dev/disk\\0431 rw\n"
        "93 28 0:51 / /mnt rw - tmpfs  rw\n"
    )
    assert mounts(lines) == [
        Mount(28, "254:0", Path("/"), "ext4", "/dev/vda"),
        Mount(92, "0:50", Path("/srv/my \\data\u2028"), "btrfs", "/dev/disk#1"),
        Mount(93, "0:51", Path("/mnt"), "tmpfs", ""),
    ]


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    return tmp_path


def process(proc: Path, pid: int, name: str, **links: str) -> None:
    (proc / f"{pid}/fd").mkdir(parents=True)
    (proc / f"{pid}/comm").write_text(f"{name}\n")
    for link, goal in links.items():
        (proc / str(pid) / link.replace("_", "/")).symlink_to(goal)


def test_who_is_in_a_directory(proc: Path) -> None:
    process(proc, 3, "elsewhere", root="/", cwd="/srv/guest-two", exe="/bin/sh")
    process(proc, 4, "by root", root="/srv/guest")
    process(proc, 5, "by file", root="/", fd_7="/srv/guest/etc/passwd (deleted)")
    process(proc, os.getpid(), "ourselves", root="/srv/guest")
    (proc / "6").mkdir()  # it has ended
    found = processes.processes_in(Path("/srv/guest"))
    assert {*found} == {Process(4, "by root"), Process(5, "by file")}
    assert str(Process(4, "by root")) == "by root (pid 4)"


def test_descendants_are_those_that_are_alive(proc: Path) -> None:
    own = os.getpid()
    for pid, name, state, parent in (
        *((11, "child", "S", own), (12, "odd) S 1 (name", "R", 11), (13, "dead", "Z", own)),
        *((14, "orphan of a dead one", "S", 13), (15, "another's", "S", 1)),
    ):
        (proc / str(pid)).mkdir()
        (proc / f"{pid}/stat").write_text(f"{pid} ({name}) {state} {parent} 1 1\n")
    assert processes.descendants() == [Process(11, "child"), Process(12, "odd) S 1 (name")]


@pytest.mark.parametrize(
    ("flags", "writes"), [("0100000", False), ("0100002", True), ("02100001", True), (None, True)]
)
def test_flags_of_descriptors(flags: str | None, writes: bool, tmp_path: Path) -> None:
    (tmp_path / "fdinfo").mkdir()
    told = f"pos:\t0\nflags:\t{flags}\n" if flags else "pos:\t0\n"
    (tmp_path / "fdinfo/3").write_text(told)
    assert processes.may_write(tmp_path / "fd/3") is writes


def test_what_the_processes_of_the_node_have_open(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(proc, 17, "qemu", fd_4="/dev/sda")
    process(proc, os.getpid(), "ourselves", fd_4="/dev/sda")
    (proc / "18").mkdir()  # it has ended
    assert [*processes.descriptors()] == [proc / "17/fd/4"]
    monkeypatch.setattr(processes, "_outside", processes._Outside())
    outside = tmp_path / "outside"
    process(outside, 117, "qemu", fd_4="/dev/sda")
    process(outside, 118, "ourselves", fd_4="/dev/sda")
    (outside / "self").symlink_to("118")
    processes.see_outside(outside)
    assert [*processes.descriptors()] == [outside / "117/fd/4"]
