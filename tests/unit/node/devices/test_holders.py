"""Which processes count as users of a block device."""

import os
import stat
from pathlib import Path

import pytest

from node import processes
from node.devices import holders, stack

NBD0 = os.makedev(43, 0)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node whose process 17 has the device /dev/nbd0 open."""
    (tmp_path / "sys/dev/block/43:0").mkdir(parents=True)
    (tmp_path / "proc/17/fd").mkdir(parents=True)
    (tmp_path / "proc/17/task/19").mkdir(parents=True)
    (tmp_path / "proc/17/comm").write_text("qemu-nbd\n")
    device = tmp_path / "nbd0"
    device.touch()
    (tmp_path / "proc/17/fd/4").symlink_to(device)
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    for module in (holders, stack):
        monkeypatch.setattr(module, "SYS", tmp_path / "sys")
    # No unit test makes device nodes.
    monkeypatch.setattr(holders, "cached_status", lambda _: nbd0())
    return tmp_path


def nbd0() -> os.stat_result:
    return os.stat_result((stat.S_IFBLK, *(0,) * 9), {"st_rdev": NBD0})


@pytest.mark.usefixtures("node")
def test_a_process_that_has_a_device_open_uses_it() -> None:
    assert holders.block_user(nbd0()) == "process 17 (qemu-nbd)"


def test_a_process_that_serves_an_nbd_device_does_not_use_it(node: Path) -> None:
    served = node / "sys/dev/block/43:0/pid"
    served.write_text("19\n")
    assert holders.block_user(nbd0()) is None
    served.write_text("23\n")
    assert holders.block_user(nbd0()) == "process 17 (qemu-nbd)"


def test_names_of_any_bytes_are_told(node: Path) -> None:
    (node / "proc/17/comm").write_bytes(b"caf\xe9\n")
    assert holders.block_user(nbd0()) == "process 17 (caf\udce9)"
    # What Python takes for blanks and ends of lines is none in proc(5).
    place = "/m\udcff\x85\u2028\xa0\x0c"
    lines = (
        f"1 0 8:1 / {place} rw - ext4 /dev/sda1 rw\n2 1 43:0 / {place}2 rw - ext4 /dev/nbd0 rw\n"
    )
    (node / "proc/17/mountinfo").write_bytes(os.fsencode(lines))
    assert holders._mounted_on(NBD0) == f"{place}2"
    (node / "proc/swaps").write_bytes(os.fsencode(f"Filename Type\n{node}{place} file\t8 0 -2\n"))
    swap = Path(f"{node}{place}")
    (node / "m\udcff\x85\u2028\xa0\x0c").touch()
    assert holders.is_swap_file(swap.stat())
    assert not holders._is_swap(NBD0)


def test_swap_files_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a disk"
    path.touch()
    name = str(path).replace(" ", "\\040")
    (tmp_path / "swaps").write_text(f"Filename Type\n/none file 8 0 -2\n{name} file 8 0 -3\n")
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert holders.is_swap_file(path.stat())
    assert not holders.is_swap_file((tmp_path / "swaps").stat())


def test_where_something_is_mounted_is_told_as_it_is_called(node: Path) -> None:
    line = r"1 0 43:0 / /srv/my\040data rw - ext4 /dev/nbd0 rw"
    (node / "proc/17/mountinfo").write_text(f"{line}\n")
    assert holders._mounted_on(NBD0) == "/srv/my data"
