"""Zeroing on real devices with different features: exactly the given ranges become zero."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from converter.buffers import PAGE
from converter.results import Zeroing
from converter.target import device as target
from converter.target.zeroing import Strategy, Zeroer
from node.errors import KitError
from tests.system.installer import support as create_support

MIB = 1 << 20
SIZE = 24 * MIB
loop = partial(create_support.loop, read_only=False)


def dirty(path: Path, size: int = SIZE) -> bytes:
    """A file of no zeros at all."""
    content = random.Random(3).randbytes(MIB).replace(b"\0", b"\1") * (size // MIB)
    path.write_bytes(content)
    return content


@contextmanager
def exported(place: Path, *nbdkit: str | Path) -> Iterator[Path]:
    """A loop device over what an nbdkit serves: its faults are the device's."""
    place.touch()
    argv = ["nbdfuse", place, "--command", "nbdkit", "--single", "--exit-with-parent", *nbdkit]
    with subprocess.Popen([str(word) for word in argv], cwd=place.parent) as process:
        try:
            deadline = time.monotonic() + 10
            while not os.path.ismount(place):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            with loop(place) as device:
                yield device
        finally:
            subprocess.run(["fusermount3", "-u", place], check=True)


def zeroed(content: bytes, ranges: Sequence[tuple[int, int]]) -> bytes:
    expected = bytearray(content)
    for start, length in ranges:
        expected[start : start + length] = bytes(length)
    return bytes(expected)


RANGES = [
    (0, PAGE),
    (PAGE * 3 + 512, 512),  # within a page
    (PAGE * 5 + 1, PAGE - 1),
    (PAGE * 9 + 100, 3 * PAGE),  # neither end on a page's
    (2 * MIB, 5 * MIB),  # more than a chunk
    (SIZE - PAGE - 512, PAGE + 512),
]


@pytest.mark.parametrize(
    "strategy", [Strategy.PUNCH, Strategy.DISCARD, Strategy.READ, Strategy.WRITE]
)
def test_only_the_ranges_become_zero(strategy: Strategy, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    content = dirty(disk)
    with loop(disk) as device, target.open_target(device, size_needed=SIZE) as opened:
        zeroer = Zeroer(opened)
        zeroer.strategy = strategy
        for start, length in RANGES:
            zeroer.zero(start, length)
        opened.sync()
        report = zeroer.report()
    assert disk.read_bytes() == zeroed(content, RANGES)
    assert report.strategy == strategy.value
    total = sum(length for _, length in RANGES)
    assert zeroer.skipped + zeroer.zeroed + zeroer.written == total
    if strategy is Strategy.PUNCH:
        assert zeroer.zeroed > total - 6 * PAGE
    if strategy is Strategy.DISCARD:
        assert zeroer.skipped > total - 6 * PAGE
    if strategy in (Strategy.PUNCH, Strategy.DISCARD):
        assert disk.stat().st_blocks * 512 <= SIZE - 5 * MIB
    else:
        assert zeroer.written == total


def test_punching_is_what_a_loop_device_begins_with(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    dirty(disk)
    with loop(disk) as device, target.open_target(device, size_needed=SIZE) as opened:
        zeroer = Zeroer(opened)
        zeroer.zero(0, SIZE)
        assert zeroer.report() == Zeroing("punch", skipped=0, zeroed=SIZE, written=0)
        opened.sync()
    assert disk.read_bytes() == bytes(SIZE)
    assert disk.stat().st_blocks * 512 < MIB


def test_a_file_is_punched_and_a_new_one_left_alone(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    content = dirty(disk)
    with target.open_target(disk, size_needed=SIZE, allow_file=True, force=True) as opened:
        zeroer = Zeroer(opened)
        zeroer.zero(MIB + 1, 2 * MIB)
        assert zeroer.strategy is Strategy.PUNCH
    assert disk.read_bytes() == zeroed(content, [(MIB + 1, 2 * MIB)])
    new = tmp_path / "new.img"
    with target.open_target(new, size_needed=SIZE, allow_file=True) as opened:
        zeroer = Zeroer(opened)
        zeroer.zero(0, SIZE)
        assert zeroer.report() == Zeroing("skip", skipped=SIZE, zeroed=0, written=0)
        opened.sync()
    assert new.read_bytes() == bytes(SIZE)
    assert new.stat().st_blocks == 0


def test_a_device_that_cannot_is_read_and_written_where_needed(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    content = bytearray(SIZE)
    content[9 * MIB] = 1
    content[-1] = 1
    disk.write_bytes(content)
    options = ("--filter=nozero", "split", disk, "zeromode=none")  # split cannot trim, either
    with (
        exported(tmp_path / "nbd", *options) as device,
        target.open_target(device, size_needed=SIZE) as opened,
    ):
        zeroer = Zeroer(opened)
        zeroer.zero(0, SIZE)
        opened.sync()
        assert zeroer.report() == Zeroing(
            "read-and-skip", skipped=SIZE - 2 * 65536, zeroed=0, written=2 * 65536
        )
    assert disk.read_bytes() == bytes(SIZE)


def test_a_device_that_lies_is_found_out(tmp_path: Path) -> None:
    """It says yes to each request, and keeps what it has."""
    disk = tmp_path / "disk.img"
    content = dirty(disk, 8 * MIB)
    dd = "iflag=count_bytes,skip_bytes oflag=seek_bytes conv=notrunc status=none bs=65536"
    lying = (
        *("eval", "thread_model=echo serialize_requests"),
        f"get_size=stat -c %s {disk}",
        f"pread=dd if={disk} skip=$4 count=$3 {dd}",
        f"pwrite=dd of={disk} seek=$4 {dd}",
        *("can_trim=exit 0", "can_zero=exit 0", "can_write=exit 0", "flush=:", "can_flush=exit 0"),
        *("trim=:", "zero=:"),
    )
    with (
        exported(tmp_path / "nbd", *lying) as device,
        target.open_target(device, size_needed=8 * MIB) as opened,
    ):
        zeroer = Zeroer(opened)
        zeroer.zero(MIB, 2 * MIB)
        opened.sync()
        assert zeroer.strategy is Strategy.READ
        assert (zeroer.zeroed, zeroer.written) == (0, 2 * MIB)
    assert disk.read_bytes() == zeroed(content, [(MIB, 2 * MIB)])


def test_threads_share_one(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    content = dirty(disk)
    with loop(disk) as device, target.open_target(device, size_needed=SIZE) as opened:
        zeroer = Zeroer(opened)
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for place in range(number * MIB, SIZE, 4 * MIB):
                    zeroer.zero(place, MIB - 512)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        opened.sync()
    assert not failures
    ranges = [(place, MIB - 512) for place in range(0, SIZE, MIB)]
    assert disk.read_bytes() == zeroed(content, ranges)
    assert zeroer.zeroed + zeroer.written == sum(length for _, length in ranges)


@pytest.mark.parametrize("code", ["EIO", "ENOSPC"])
def test_a_failing_device_is_named_with_the_byte(code: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    dirty(disk)
    trigger = tmp_path / "fail"
    faulty = (
        *("--filter=error", "--filter=nozero", "split", disk, "zeromode=none"),
        *(f"error-pwrite={code}", "error-pwrite-rate=100%", f"error-pwrite-file={trigger}"),
    )
    with exported(tmp_path / "nbd", *faulty) as device, ExitStack() as stack:
        zeroer = Zeroer(stack.enter_context(target.open_target(device, size_needed=SIZE)))
        trigger.touch()
        with pytest.raises(KitError) as caught:
            zeroer.zero(3 * MIB, MIB)
        trigger.unlink()
    assert f"write to {device} at byte {3 * MIB}: " in caught.value.message
    assert caught.value.hint


def test_a_failed_flush_stays_failed(tmp_path: Path) -> None:
    """The kernel tells of it once (fsync(2)); a second flush must not seem to mend it."""
    disk = tmp_path / "disk.img"
    dirty(disk)
    trigger = tmp_path / "fail"
    faulty = (
        *("--filter=error", "--filter=nozero", "split", disk, "zeromode=none"),
        *("error-pwrite=EIO", "error-pwrite-rate=100%", f"error-pwrite-file={trigger}"),
    )
    with (
        exported(tmp_path / "nbd", *faulty) as device,
        target.open_target(device, size_needed=SIZE) as opened,
    ):
        opened.write(memoryview(bytearray(100)), 10)  # into the page cache
        trigger.touch()
        for _ in range(2):
            with pytest.raises(KitError, match=f"flush of {device}: Input/output error"):
                opened.sync()
            trigger.unlink(missing_ok=True)
