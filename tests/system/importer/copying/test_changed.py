"""Passes over a qcow2 image with bitmaps, served by qemu-nbd, into a device."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from converter import (
    BaseIncomplete,
    ContextMissing,
    CopyFailed,
    CopyOptions,
    CopyResult,
    Kind,
    Silent,
    SourceLost,
    TargetInUse,
    TargetMissing,
    copy,
    nbd_source,
    plan,
    unix_uri,
)
from importer.copying.changed import changed_source
from importer.copying.rate import LimitedSource, Rate
from tests.system.converter import support
from tests.system.converter.support import JOURNALS, MIB, output
from tests.system.importer.nbd_server import bitmap, io, served

SIZE, TARGET = 64 * MIB, 68 * MIB
SLOW = 40 * MIB  # a second, so that a copy is cut before it is complete
SWAP, SWAP_SIZE = 48 * MIB, 8 * MIB
UUID = "1c4f0e2a-7d5b-4c47-9f3a-0b1a2c3d4e5f"
FIRST = CopyOptions(force=True)
NEXT = CopyOptions(increment=True, verify=True)
ORIGIN = {"host": "kvm1", "domain": UUID, "disk": "vda", "checkpoint": "pass2"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.devices.settling.SETTLE_SECONDS", 0.3)
    monkeypatch.setattr("converter.engine.copy_run.SYNC_SECONDS", 0.0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk with a file system's worth of noise, and swap in its second partition."""
    raw = tmp_path / "disk.raw"
    support.dirty(raw, SIZE)
    table = f"label: dos\nstart=1MiB, size=40MiB\nstart={SWAP // 512}, size={SWAP_SIZE // 512}\n"
    subprocess.run(["sfdisk", "-q", raw], input=table, text=True, check=True)
    swap = tmp_path / "swap"
    support.dirty(swap, SWAP_SIZE)
    output("mkswap", "-q", "--uuid", UUID, swap)
    with raw.open("r+b") as file:
        file.seek(SWAP)
        file.write(swap.read_bytes())
    image = tmp_path / "disk.qcow2"
    output("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
    bitmap(image, "add", "pass1")
    return image


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    with support.target(tmp_path / "target", TARGET) as device:
        yield device


def first_pass(image: Path, device: Path) -> None:
    socket = image.with_name("first")
    with served(image, socket), nbd_source(unix_uri(str(socket))) as source:
        copy(source, device, FIRST)


def next_pass(
    image: Path,
    device: Path,
    options: CopyOptions = NEXT,
    name: str = "next",
) -> CopyResult:
    socket = image.with_name(name)
    bitmap(image, "disable", "pass1")
    with (
        served(image, socket, "pass1"),
        changed_source(unix_uri(str(socket)), "pass1", name="vda", origin=ORIGIN) as source,
    ):
        planned = plan(source, device, options)
        result = copy(source, device, options)
        assert planned == result.plan
        return result


def require_current(image: Path, device: Path, tmp_path: Path) -> None:
    """The device is what a copy of all of the image makes."""
    whole = tmp_path / "whole"
    with support.target(whole, TARGET) as other:
        first_pass(image, other)
        support.require_same(device, whole)
    assert not JOURNALS.exists() or not any(JOURNALS.iterdir())


def test_a_second_pass_carries_what_changed_and_nothing_else(
    image: Path, device: Path, tmp_path: Path
) -> None:
    first_pass(image, device)
    io(
        image,
        "write -P 0xaa 5M 100k",
        "write -P 0xab 39M 3M",
        "write -z -u 10M 4M",
        "discard 20M 2M",
        f"write -P 0xcc {SWAP + MIB} 2M",
    )
    result = next_pass(image, device)
    assert result.verified
    # Whole clusters of what was written; of swap, the header only.
    sizes = result.plan.extents
    assert 3 * MIB + 100 * 1024 <= sizes[Kind.DATA] <= 3 * MIB + 192 * 1024
    assert 6 * MIB <= sizes[Kind.ZERO] - (TARGET - SIZE) <= 6 * MIB + 128 * 1024
    assert sizes[Kind.LITERAL] == 4096
    assert sum(sizes.values()) == TARGET
    require_current(image, device, tmp_path)
    assert (
        output("blkid", "-p", "-o", "value", "-s", "UUID", "-O", str(SWAP), device) == f"{UUID}\n"
    )


def test_nothing_changed_is_nothing_copied(image: Path, device: Path) -> None:
    first_pass(image, device)
    assert next_pass(image, device).plan.extents[Kind.DATA] == 0


class CutAt(Silent):
    """Acts once so many bytes are done."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self._at, self._act = at, act

    def update(self, done: int) -> None:
        if done >= self._at:
            self._act()


def test_a_pass_that_was_cut_goes_on_over_another_socket(
    image: Path, device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converter.engine.pool.TICK", 0.001)
    first_pass(image, device)
    io(image, "write -P 0xaa 2M 36M", f"write -P 0xab {SWAP + SWAP_SIZE} 8M")
    bitmap(image, "disable", "pass1")
    one = tmp_path / "one"
    with (
        served(image, one, "pass1") as server,
        changed_source(unix_uri(str(one)), "pass1", name="vda", origin=ORIGIN) as source,
        pytest.raises(CopyFailed) as failed,
    ):
        copy(LimitedSource(source, Rate(SLOW)), device, NEXT, CutAt(10 * MIB, server.kill))
    assert isinstance(failed.value.cause, SourceLost)
    assert failed.value.left.resumable_at
    options = CopyOptions(increment=True, resume=True)
    result = next_pass(image, device, options, "another")
    assert result.resumed_at == failed.value.left.resumable_at > 2 * MIB
    require_current(image, device, tmp_path)


def test_changes_are_not_put_on_an_incomplete_copy(
    image: Path, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converter.engine.pool.TICK", 0.001)
    socket = image.with_name("first")
    with (
        served(image, socket) as server,
        nbd_source(unix_uri(str(socket))) as source,
        pytest.raises(CopyFailed),
    ):
        copy(LimitedSource(source, Rate(SLOW)), device, FIRST, CutAt(10 * MIB, server.kill))
    before = support.digest(device)
    with pytest.raises(BaseIncomplete):
        next_pass(image, device)
    assert support.digest(device) == before
    next(JOURNALS.iterdir()).unlink()


def test_the_guards_hold_but_for_content_and_readers(image: Path, device: Path) -> None:
    first_pass(image, device)
    allowed = CopyOptions(increment=True, readers_allowed=True)
    with device.open("rb"):
        with pytest.raises(TargetInUse):
            _by_another(device, os.O_RDONLY, lambda: next_pass(image, device, NEXT, "a"))
        _by_another(device, os.O_RDONLY, lambda: next_pass(image, device, allowed, "b"))
    with pytest.raises(TargetInUse):
        _by_another(device, os.O_RDWR, lambda: next_pass(image, device, allowed, "c"))


def _by_another(device: Path, mode: int, act: Callable[[], object]) -> None:
    """Acts while another process has a device open."""
    opened = os.open(device, mode)
    user = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[opened])
    os.close(opened)
    try:
        act()
    finally:
        user.communicate()


def test_a_new_file_is_no_earlier_copy(image: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    with pytest.raises(TargetMissing):
        next_pass(image, new, CopyOptions(increment=True, allow_file=True))
    assert not new.exists()


def test_a_bitmap_that_is_not_exported(image: Path) -> None:
    socket = image.with_name("socket")
    with (
        served(image, socket),
        pytest.raises(ContextMissing, match="vda: its server does not offer"),
        changed_source(unix_uri(str(socket)), "pass1", name="vda", origin=ORIGIN),
    ):
        pass
