"""Which processes count as users of a block device."""

import os
import stat
from pathlib import Path

import pytest

from node.devices import claim, settling, stack
from node.errors import KitError

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
    monkeypatch.setattr(claim, "PROC", tmp_path / "proc")
    for module in (claim, stack):
        monkeypatch.setattr(module, "SYS", tmp_path / "sys")
    # No unit test makes device nodes.
    monkeypatch.setattr(claim, "cached_status", lambda _: nbd0())
    return tmp_path


def nbd0() -> os.stat_result:
    return os.stat_result((stat.S_IFBLK, *(0,) * 9), {"st_rdev": NBD0})


@pytest.mark.usefixtures("node")
def test_a_process_that_has_a_device_open_uses_it() -> None:
    assert claim.block_user(nbd0()) == "process 17 (qemu-nbd)"


def test_a_process_that_serves_an_nbd_device_does_not_use_it(node: Path) -> None:
    served = node / "sys/dev/block/43:0/pid"
    served.write_text("19\n")
    assert claim.block_user(nbd0()) is None
    served.write_text("23\n")
    assert claim.block_user(nbd0()) == "process 17 (qemu-nbd)"


def test_a_swap_file_is_in_use_where_its_file_system_takes_writes_of_nothing(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = node / "swap"
    path.touch()  # like XFS, no file system minds os.write(fd, b"") to what is no swap
    (node / "proc/swaps").write_text(f"Filename Type\n{path} file 8 0 -2\n")
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 0.0)
    with pytest.raises(KitError, match="in use: active as swap"), claim.claimed(path):
        pass
    (node / "proc/swaps").write_text("Filename Type\n")
    with claim.claimed(path) as backing:
        assert backing.path == path


def test_names_of_any_bytes_are_told(node: Path) -> None:
    (node / "proc/17/comm").write_bytes(b"caf\xe9\n")
    assert claim.block_user(nbd0()) == "process 17 (caf\udce9)"
    # What Python takes for blanks and ends of lines is none in proc(5).
    place = "/m\udcff\x85\u2028\xa0\x0c"
    lines = (
        f"1 0 8:1 / {place} rw - ext4 /dev/sda1 rw\n2 1 43:0 / {place}2 rw - ext4 /dev/nbd0 rw\n"
    )
    (node / "proc/17/mountinfo").write_bytes(os.fsencode(lines))
    assert claim._mounted_on(NBD0) == f"{place}2"
    (node / "proc/swaps").write_bytes(os.fsencode(f"Filename Type\n{node}{place} file\t8 0 -2\n"))
    swap = Path(f"{node}{place}")
    (node / "m\udcff\x85\u2028\xa0\x0c").touch()
    assert claim.is_swap_file(swap.stat())
    assert not claim._is_swap(NBD0)
