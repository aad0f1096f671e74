"""Images that QEMU wants repaired first: the user is told what is wrong, and the command."""

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.converter import source_support as sources
from tests.system.converter.sshd import HOST, Sshd, sshd
from tests.system.converter.support import MIB, noise, output

SIZE = 20 * MIB
LOGGED = 8 * MIB  # where in the file the log has something to write
GUID = bytes(range(1, 17))


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("far")) as server:
        yield server


def crc32c(data: bytes | bytearray) -> int:
    """The checksum of VHDX: CRC-32 with Castagnoli's polynomial, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def signed(block: bytearray) -> bytes:
    block[4:8] = bytes(4)
    struct.pack_into("<I", block, 4, crc32c(block))
    return bytes(block)


def with_log(path: Path) -> None:
    """Gives a VHDX a log as Hyper-V leaves it when it is killed ([MS-VHDX] 2.3): one sector."""
    written = b"Z" * 4096
    with path.open("r+b") as file:
        fd = file.fileno()
        for place in (64 << 10, 128 << 10):
            header = bytearray(os.pread(fd, 4096, place))
            header[48:64] = GUID
            (log,) = struct.unpack_from("<Q", header, 72)
            os.pwrite(fd, signed(header), place)
        entry, number, size = bytearray(8192), 7, path.stat().st_size
        values = (b"loge", 0, len(entry), 0, number, 1, 0, GUID, size, size)
        struct.pack_into("<4sIIIQII16sQQ", entry, 0, *values)
        descriptor = (b"desc", written[-4:], written[:8], LOGGED, number)
        struct.pack_into("<4s4s8sQQ", entry, 64, *descriptor)
        struct.pack_into("<4sI4084sI", entry, 4096, b"data", 0, written[8:-4], number)
        os.pwrite(fd, signed(entry), log)


@pytest.fixture
def vhdx(tmp_path: Path) -> Path:
    raw, image = tmp_path / "raw", tmp_path / "a disk.vhdx"
    raw.write_bytes(noise(16 * MIB, 1).ljust(SIZE, b"\0"))
    output("qemu-img", "convert", "-f", "raw", "-O", "vhdx", raw, image)
    with_log(image)
    return image


def repair(hint: str) -> None:
    """Does what the hint says."""
    command = hint[hint.index("qemu-img check") :]
    subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)


def test_a_vhdx_whose_log_is_not_replayed(vhdx: Path, tmp_path: Path) -> None:
    told = sources.read(vhdx, "vhdx", tmp_path / "out")
    assert f"source {vhdx}: " in told["error"], told
    assert "its log has changes that are not applied yet" in told["error"]
    assert f"qemu-img check -r all -f vhdx '{vhdx}'" in told["hint"]
    assert "/image" not in told["error"] + told["hint"]
    repair(told["hint"])
    told = sources.read(vhdx, "vhdx", tmp_path / "out")
    assert told.get("size") == SIZE, told
    output("qemu-img", "convert", "-f", "vhdx", "-O", "raw", vhdx, tmp_path / "expected")
    assert sources.same(tmp_path / "out", tmp_path / "expected")
    assert b"Z" * 4096 in (tmp_path / "out").read_bytes()


def test_a_parallels_image_that_was_not_closed(tmp_path: Path) -> None:
    image = tmp_path / "image"
    raw = tmp_path / "raw"
    raw.write_bytes(noise(3 * MIB, 1))
    output("qemu-img", "convert", "-f", "raw", "-O", "parallels", raw, image)
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), b"Ynot", 44)  # HEADER_INUSE_MAGIC of QEMU's block/parallels.c
    told = sources.read(image, "parallels", tmp_path / "out")
    assert "it was not closed" in told["error"], told
    repair(told["hint"])
    told = sources.read(image, "parallels", tmp_path / "out")
    assert told.get("size") == 3 * MIB, told
    assert sources.same(tmp_path / "out", raw)


def test_a_qed_image_with_damaged_tables(tmp_path: Path) -> None:
    image = tmp_path / "image"
    raw = tmp_path / "raw"
    raw.write_bytes(noise(3 * MIB, 1))
    output("qemu-img", "convert", "-f", "raw", "-O", "qed", raw, image)
    with image.open("r+b") as file:
        (directory,) = struct.unpack("<Q", os.pread(file.fileno(), 8, 40))
        (table,) = struct.unpack("<Q", os.pread(file.fileno(), 8, directory))
        os.pwrite(file.fileno(), os.pread(file.fileno(), 8, table), table + 8)  # one cluster twice
    told = sources.read(image, "qed", tmp_path / "out")
    assert "QEMU refuses it: " in told.get("error", ""), told
    assert f"qemu-img check -r all -f qed {image}" in told["hint"]


def test_a_vhdx_whose_log_is_not_replayed_on_another_host(
    far: Sshd, vhdx: Path, tmp_path: Path
) -> None:
    url = f"ssh://{HOST}{str(vhdx).replace(' ', '%20')}"
    told = sources.read(url, "vhdx", tmp_path / "out", far.argv())
    assert f"source {url}: " in told["error"], told
    assert "its log has changes that are not applied yet" in told["error"]
    assert f"on {HOST}: qemu-img check -r all -f vhdx '{vhdx}'" in told["hint"]
    assert "/dev/fd" not in told["error"] + told["hint"]
