import errno
import signal
import threading
from pathlib import Path

import pytest

from node import syscalls
from node.cleanup import SIGNALS
from node.errors import KitError
from node.isolation.mount import first_to_unmount, flushed, mounts_below, sysfs_apart

MOUNTINFO = r"""
23 28 0:21 / /proc rw - proc proc rw
28 1 254:0 / / rw - ext4 /dev/vda rw
90 28 7:10 / /run/build/guest rw - ext4 /dev/loop10 rw
91 90 0:50 / /run/build/guest/proc rw - proc proc rw
92 90 7:11 / /run/build/guest/srv/my\040data rw - ext4 /dev/loop11 rw
93 28 7:12 / /run/build/guest-two rw - ext4 /dev/loop12 rw
94 90 0:51 / /run/build/guest/proc rw - proc proc rw
""".strip()


def test_innermost_and_latest_come_first_and_neighbours_do_not_count() -> None:
    top = Path("/run/build/guest")
    assert mounts_below(top, MOUNTINFO) == [
        top / "proc",
        top / "srv/my data",
        top / "proc",
        top,
    ]


def test_what_is_not_mounted_has_none() -> None:
    assert mounts_below(Path("/run/build/guest/srv"), MOUNTINFO) == [
        Path("/run/build/guest/srv/my data")
    ]
    assert mounts_below(Path("/nowhere"), MOUNTINFO) == []


def test_what_hides_a_mount_goes_first() -> None:
    top = Path("/run/build/guest")
    # A hook has bound the node's /dev, with all that is mounted there, over the guest's.
    steps = [
        *("/run/build/guest", "/run/build/guest/dev", "/run/build/guest/dev/pts"),
        *("/run/build/guest/dev", "/run/build/guest/dev/shm"),
    ]
    order = []
    while point := first_to_unmount(top / "dev/pts", _mountinfo(steps)):
        order.append(str(point))
        del steps[len(steps) - steps[::-1].index(str(point)) - 1]
    assert order == [
        *("/run/build/guest/dev/shm", "/run/build/guest/dev", "/run/build/guest/dev/pts"),
    ]
    assert first_to_unmount(top, _mountinfo(steps)) == top / "dev"
    assert first_to_unmount(Path("/srv"), _mountinfo(steps)) is None


def _mountinfo(points: list[str]) -> str:
    rows = ["28 1 254:0 / / rw - ext4 /dev/vda rw"]
    rows += [f"{90 + n} 28 0:{n} / {point} rw - x x rw" for n, point in enumerate(points)]
    return "\n".join(rows)


def test_dirty_pages_are_written_again_and_again_until_the_work_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = threading.Semaphore(0)

    def syncfs(descriptor: int) -> None:
        assert Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path
        flushes.release()

    monkeypatch.setattr("node.isolation.mount.FLUSH_SECONDS", 0.001)
    monkeypatch.setattr("node.syscalls.syncfs", syncfs)
    with flushed(tmp_path, "disk 0"):
        assert all(flushes.acquire(timeout=60) for _ in range(3))
    while flushes.acquire(blocking=False):
        pass
    assert not flushes.acquire(timeout=0.05)


def test_what_was_not_written_is_told_once_all_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [OSError(errno.ENOSPC, "No space left on device")]
    told = threading.Event()

    def syncfs(_descriptor: int) -> None:
        if errors:  # the kernel tells of each but once
            told.set()
            raise errors.pop()

    monkeypatch.setattr("node.isolation.mount.FLUSH_SECONDS", 0.001)
    monkeypatch.setattr("node.syscalls.syncfs", syncfs)
    with (
        pytest.raises(KitError, match="flush of disk 0: No space left on device"),
        flushed(tmp_path, "disk 0"),
    ):
        assert told.wait(60)


def test_no_signal_falls_to_the_thread_that_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked: list[set[int | signal.Signals]] = []

    def mount(*_: object) -> None:
        blocked.append({*signal.pthread_sigmask(signal.SIG_BLOCK, ())})

    monkeypatch.setattr(syscalls, "unshare_network", lambda: None)
    monkeypatch.setattr(syscalls, "mount", mount)
    with sysfs_apart(Path("/nowhere/sys"), ()):
        pass
    assert blocked[0] >= set(SIGNALS)
