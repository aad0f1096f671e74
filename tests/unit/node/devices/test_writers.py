"""Which processes and devices count as writers of a source."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import processes
from node.devices import writers


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "a disk"
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "loop_over", lambda _own, **_: None)
    monkeypatch.setattr(writers, "is_swap_file", lambda _: False)
    monkeypatch.setattr(writers, "block_user", lambda _own, **_: None)


def test_where_a_lease_is_given_nobody_is_looked_for(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "_refusal_of_a_lease", lambda _: None)
    monkeypatch.setattr(writers, "loop_over", lambda *_: pytest.fail("looked for"))
    assert writers.writer(fd) is None


@pytest.mark.parametrize(
    ("refusal", "file_system", "found"),
    [
        (errno.EAGAIN, "ext4", "something in the kernel has it open for writing"),
        (errno.EAGAIN, "btrfs", "something in the kernel has it open for writing"),
        (errno.EAGAIN, "nfs4", None),  # without a delegation
        (errno.EAGAIN, "cifs", None),  # without an oplock
        (errno.EAGAIN, None, None),  # of a mount that we do not see
        (errno.EINVAL, "nfs", None),  # a file system without leases
        (errno.EACCES, "ext4", None),  # another user's file
    ],
)
def test_what_a_refusal_says(
    refusal: int,
    file_system: str | None,
    found: str | None,
    fd: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writers, "_refusal_of_a_lease", lambda _: refusal)
    monkeypatch.setattr(processes, "PROC", tmp_path)
    (tmp_path / "self/fdinfo").mkdir(parents=True)
    (tmp_path / f"self/fdinfo/{fd}").write_text("pos:\t0\nmnt_id:\t41\nino:\t7\n")
    mounts = ["4 1 8:1 / / rw shared:1 - ext3 /dev/sda1 rw"]
    if file_system:
        mounts.append(f"41 4 0:9 /x /y rw - {file_system} /dev/sdb rw")
    (tmp_path / "self/mountinfo").write_text("\n".join(mounts))
    assert writers.writer(fd) == found
    monkeypatch.setattr(writers, "block_user", lambda _own, **_: "process 7 (dd)")
    assert writers.writer(fd) == "process 7 (dd) has it open for writing"
    monkeypatch.setattr(writers, "is_swap_file", lambda _: True)
    assert writers.writer(fd) == "active as swap"
    monkeypatch.setattr(writers, "loop_over", lambda _own, **_: "/dev/loop7")
    assert writers.writer(fd) == "attached as /dev/loop7"


def test_the_kernel_knows_who_has_a_file_open_for_writing(fd: int) -> None:
    assert writers._refusal_of_a_lease(fd) is None
    other = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    assert writers._refusal_of_a_lease(fd) == errno.EAGAIN
    os.close(other)
    assert writers._refusal_of_a_lease(fd) is None
