"""Disks are imported onto smaller ones: the last file system or swap area is shrunk."""

import os
import re
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backup import import_
from backup.streams import stream
from tests.system.backup import support
from tests.system.backup.support import KIB, MIB, Script, exported, imported, made, noise
from tests.system.converter.support import wait_until
from tests.system.installer.support import loop, output

SIZE = 320 * MIB
SMALLER = 200 * MIB


def header_of(dump: Path) -> stream.Header:
    with dump.open("rb") as file:
        (length,) = struct.unpack("<4xI", file.read(8))
        return stream.decode_header(file.read(length))


def exported_disk(directory: Path, style: str, filesystem: str, size: int = SIZE) -> support.Disk:
    disk = made(directory / "disk", style, filesystem, size)
    exported(disk.path, directory / "dump").done()
    return disk


def digest(path: Path) -> str:
    return output("sha256sum", path).split()[0]


@pytest.mark.parametrize("style", ["msdos", "none"])
def test_ext4_becomes_smaller_with_all_its_files(style: str, tmp_path: Path) -> None:
    disk = exported_disk(tmp_path, style, "ext4")
    restored = noise(tmp_path / "restored", SMALLER)
    with loop(restored, read_only=False) as device:
        imported(device, tmp_path / "dump").done()
    smaller = support.Disk(restored, style, "ext4", disk.start, SMALLER - disk.start)
    require_same_files(disk, smaller)
    require_table(restored, style, smaller)
    # resize2fs at boot finds a file system that fills its partition.
    with loop(restored, smaller.start, smaller.length) as device:
        told = output("dumpe2fs", "-h", device)
    figures = dict(re.findall(r"^(Block count|Block size): +(\d+)$", told, re.M))
    assert int(figures["Block count"]) * int(figures["Block size"]) > smaller.length - 128 * MIB


def require_same_files(disk: support.Disk, smaller: support.Disk) -> None:
    with loop(smaller.path, smaller.start, smaller.length) as device:
        output("e2fsck", "-fn", device)
    assert [*facts(disk)] == [*facts(smaller)]


def facts(disk: support.Disk) -> Iterator[tuple[str, dict[str, object]]]:
    """Of all files. Where inodes get other numbers, resize2fs makes their directories newer."""
    for name, found in support.manifest(disk, disk.path).items():
        changed = {"inode", "blocks"} | ({"mtime"} if "digest" not in found else set())
        yield name, {key: fact for key, fact in found.items() if key not in changed}


def require_table(path: Path, style: str, expected: support.Disk) -> None:
    if style == "none":
        return
    assert "No errors detected" in output("sfdisk", "--verify", path)
    lines = output("sfdisk", "--dump", path).splitlines()
    start, size = map(int, re.findall(r"(?:start|size)= *(\d+)", lines[-1]))
    assert (start * 512, size * 512) == (expected.start, expected.length)
    if style == "gpt":
        assert "No problems found" in output("sgdisk", "--verify", path)


def test_too_small_is_refused_with_the_size_that_works(tmp_path: Path) -> None:
    """By resize2fs, when all of the stream was read but its end; the target is not touched."""
    disk = exported_disk(tmp_path, "gpt", "ext4")
    dump = tmp_path / "dump"
    used = header_of(dump).areas[-1].used
    assert used is not None and 20 * MIB < used < 100 * MIB
    small = noise(tmp_path / "small", disk.start + used - used % MIB + 2 * MIB)
    before = digest(small)
    outcome = imported(small, dump).failed("cannot be shrunk", "minimum")
    assert outcome.unread > 7 * MIB
    assert digest(small) == before
    found = re.search(r"smallest disk that works: --disk 0:size=(\d+)M", outcome.hint)
    assert found is not None
    size = int(found[1]) * MIB
    assert size < SMALLER
    restored = noise(small, size)
    imported(restored, dump).done()
    smaller = support.Disk(restored, "gpt", "ext4", disk.start, size - disk.start - MIB)
    require_same_files(disk, smaller)
    require_table(restored, "gpt", smaller)
    with restored.open("rb") as file:  # nothing of the old tenant, nor of what was behind
        file.seek(disk.start + smaller.length)
        assert not any(file.read()[: -33 * 512])

    small = noise(small, disk.start + used)
    before = digest(small)
    outcome = imported(small, dump).failed(f"needs {used} bytes at least")
    assert "is likely to work" in outcome.hint
    assert outcome.unread > 7 * MIB
    assert digest(small) == before


def test_a_damaged_file_system_is_refused(tmp_path: Path) -> None:
    """Its superblock and bitmaps are in order, but not the inode of its first file."""
    disk = made(tmp_path / "disk", "none", "ext4", SIZE)
    told = output("debugfs", "-R", "imap <12>", disk.path)
    place = re.search(r"located at block (\d+), offset (0x[0-9a-f]+)", told)
    assert place is not None
    damaged(disk.path, int(place[1]) * KIB + int(place[2], 16) + 0x28, b"\xff" * 60)
    exported(disk.path, tmp_path / "dump").done()
    target = noise(tmp_path / "target", SMALLER)
    before = digest(target)
    outcome = imported(target, tmp_path / "dump").failed("Inode 12 has", "RUN fsck MANUALLY")
    assert f"works: --disk 0:size={SIZE // MIB}M" in outcome.hint
    assert outcome.unread > 7 * MIB
    assert digest(target) == before


def test_a_shrink_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    exported_disk(tmp_path, "none", "ext4", 256 * MIB)
    target = noise(tmp_path / "target", 200 * MIB)
    (cache := tmp_path / "cache").mkdir()
    before = digest(target)
    with (tmp_path / "dump").open("rb") as file:
        # An appliance is made there with tar and cp, which the environment must not mislead.
        script = Script("import", target, stdin=file, environ={"TMPDIR": str(cache)})
    wait_until(lambda: "file system of the whole disk" in script.stderr)
    wait_until(lambda: emulators())
    spools = unnamed_files()
    assert spools & backing_files()
    os.kill(script.process.pid, signal.SIGKILL)
    script.process.wait()
    wait_until(lambda: not emulators())
    assert os.read(script.held, 1) == b""
    os.close(script.held)
    wait_until(lambda: not spools & backing_files())
    assert digest(target) == before


def emulators() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_text(errors="replace")
        except OSError:
            continue
        if "guestfsd.sock" in words and "/dev/loop" in words:
            found.append(words)
    return found


def unnamed_files() -> set[str]:
    """Files in /var/tmp without a name that processes of this run have open."""
    found = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if (name := str(descriptor.readlink())).startswith("/var/tmp/#"):
                found.add(name)
    return found


def backing_files() -> set[str]:
    """Of the machine's loop devices."""
    found = set()
    for state in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            found.add(state.read_text().strip())
    return found


SWAP_TABLES = {
    "msdos": "label: dos\nstart=2048, size=204800, type=83\nstart=206848, size={}, type=82\n",
    "gpt": "label: gpt\nstart=2048, size=204800, type=L\nstart=206848, size={}, type=S\n",
}
LOGICAL = (
    "label: dos\nstart=2048, size=204800, type=83\nstart=206848, size={0}, type=5\n"
    "start=208896, size={1}, type=82\n"
)
SWAP_START = 206848 * 512


def with_swap(path: Path, style: str, size: int) -> support.Disk:
    """A disk with ext4, and swap behind it; swap is full of old pages."""
    noise(path, size)
    sectors = (size - SWAP_START - MIB) // 512
    table = LOGICAL.format(sectors, sectors - 2048) if style == "logical" else SWAP_TABLES[style]
    with path.open("r+b") as file:
        file.write(bytes(MIB))
        file.seek(size - MIB)
        file.write(bytes(MIB))
    subprocess.run(["sfdisk", "-q", path], input=table.format(sectors), text=True, check=True)
    start = 208896 * 512 if style == "logical" else SWAP_START
    with loop(path, start, size - MIB - start, read_only=False) as device:
        output("mkswap", "-q", "-L", "swap1", device)
    with loop(path, MIB, 100 * MIB, read_only=False) as device:
        output("mkfs.ext4", "-q", "-F", device)
    return support.Disk(path, style, "swap", SWAP_START, sectors * 512)


def tags(path: Path, start: int, length: int) -> str:
    with loop(path, start, length) as device:
        return output(
            "blkid", "-p", "-s", "UUID", "-s", "LABEL", "-s", "TYPE", "-o", "value", device
        )


@pytest.mark.parametrize("style", ["msdos", "gpt"])
def test_swap_behind_the_root_becomes_smaller(style: str, tmp_path: Path) -> None:
    disk = with_swap(tmp_path / "disk", style, 300 * MIB)
    exported(disk.path, tmp_path / "dump").done()
    restored = noise(tmp_path / "restored", 160 * MIB)
    imported(restored, tmp_path / "dump").done()
    length = 160 * MIB - disk.start - (MIB if style == "gpt" else 0)
    smaller = support.Disk(restored, style, "swap", disk.start, length)
    require_table(restored, style, smaller)
    assert tags(restored, disk.start, length) == tags(disk.path, disk.start, disk.length)
    assert b"".join(pages(restored, disk.start))[1028:1032] == struct.pack("<I", length // 4096 - 1)
    output("cmp", f"--ignore-initial={MIB}", f"--bytes={100 * MIB}", disk.path, restored)


def pages(path: Path, start: int) -> list[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        return [file.read(4096)]


def test_a_swap_disk_becomes_smaller(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(512 * MIB)
    output("mkswap", "-q", "-L", "swap1", disk)
    dump = tmp_path / "dump"
    exported(disk, dump).done()
    restored = noise(tmp_path / "restored", 256 * MIB)
    imported(restored, dump).done()
    assert tags(restored, 0, 256 * MIB) == tags(disk, 0, 512 * MIB)
    (page,) = pages(restored, 0)
    assert page[1028:1032] == struct.pack("<I", 256 * MIB // 4096 - 1)
    with restored.open("rb") as file:
        file.seek(4096)
        assert not any(file.read())

    # A stream that does not end well takes the disk away again.
    content = dump.read_bytes()
    imported(restored, content[:-1]).failed("ends within a frame")
    assert support.found_on(restored) == ""
    (head,) = import_.HEADS.iterdir()
    output("dd", f"if={head}", f"of={restored}", "bs=1M", "conv=notrunc")
    head.unlink()
    assert tags(restored, 0, 256 * MIB) == tags(disk, 0, 512 * MIB)

    small = noise(tmp_path / "small", MIB // 2)
    before = digest(small)
    outcome = imported(small, dump).failed(f"needs {MIB} bytes at least")
    assert "works: --disk 0:size=1M" in outcome.hint
    assert digest(small) == before


def damaged(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("xfs", "partition 2 (xfs), the last on it, cannot be shrunk"),
        ("btrfs", "the whole disk (btrfs), the last on it, cannot be shrunk"),
        ("lvm", "the whole disk (LVM2_member), the last on it, cannot be shrunk"),
        ("unclean", "was not certain to be in order"),
        ("hibernated", "has a system hibernated in it"),
        ("logical", "partition 5 (swap), the last on it, is a logical partition"),
        ("behind", "bytes or an extended partition behind partition 1 (ext4)"),
    ],
)
def test_what_cannot_be_shrunk_is_refused_before_a_byte_is_written(
    case: str, words: str, tmp_path: Path
) -> None:
    path, size = tmp_path / "disk", (320 if case == "xfs" else 160) * MIB
    if case in ("xfs", "btrfs"):
        made(path, "gpt" if case == "xfs" else "none", case, size)
    elif case == "lvm":
        noise(path, size)
        label = b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001" + b"a" * 32
        damaged(path, 0, bytes(512) + label + bytes(4096))
    elif case == "unclean":
        disk = made(path, "msdos", "ext4", size)
        damaged(path, disk.start + 1024 + 0x3A, b"\0\0")
    elif case == "hibernated":
        made(path, "none", "swap", size)
        damaged(path, 4086, b"S1SUSPEND\0")
    elif case == "logical":
        with_swap(path, "logical", size)
    else:
        made(path, "msdos", "ext4", size, behind=20 * MIB)
        damaged(path, size - 10 * MIB, b"x")
    exported(path, tmp_path / "dump").done()
    smallest = header_of(tmp_path / "dump").smallest
    target = noise(tmp_path / "target", size - 30 * MIB)
    before = digest(target)
    outcome = imported(target, tmp_path / "dump").failed(words)
    assert f"works: --disk 0:size={-(-smallest // MIB)}M" in outcome.hint
    assert outcome.unread > 7 * MIB
    assert digest(target) == before


def with_small_ext4(path: Path, style: str) -> support.Disk:
    """A disk of 160 MiB with a file system of 60 MiB in a partition that is larger."""
    disk = made(path, style, "ext4", 160 * MIB)
    damaged(path, disk.start, bytes(disk.length))
    with loop(path, disk.start, disk.length, read_only=False) as device:
        output("mkfs.ext4", "-q", "-F", device, "60M")
    return disk


def test_a_partition_that_is_larger_than_its_file_system_alone_is_cut(tmp_path: Path) -> None:
    disk = with_small_ext4(tmp_path / "disk", "gpt")
    exported(disk.path, tmp_path / "dump").done()
    restored = noise(tmp_path / "restored", 100 * MIB)
    imported(restored, tmp_path / "dump").done()
    smaller = support.Disk(restored, "gpt", "ext4", disk.start, 99 * MIB - disk.start)
    require_table(restored, "gpt", smaller)
    output("cmp", f"--ignore-initial={disk.start}", f"--bytes={60 * MIB}", disk.path, restored)
    with restored.open("rb") as file:
        file.seek(disk.start + 60 * MIB)
        assert not any(file.read()[: -33 * 512])


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("bytes in the partition", "bytes of something else behind the file system of partition 1"),
        ("hybrid MBR", "hybrid"),
    ],
)
def test_what_the_content_tells_is_refused_before_a_byte_is_written(
    case: str, words: str, tmp_path: Path
) -> None:
    if case == "hybrid MBR":
        disk = with_small_ext4(tmp_path / "disk", "gpt")
        sectors = struct.pack("<II", disk.start // 512, disk.length // 512)
        damaged(disk.path, 446 + 16, b"\0\0\0\0\x83\0\0\0" + sectors)
    else:
        disk = with_small_ext4(tmp_path / "disk", "msdos")
        damaged(disk.path, disk.start + disk.length - MIB, b"metadata")
    exported(disk.path, tmp_path / "dump").done()
    target = noise(tmp_path / "target", 100 * MIB)
    before = digest(target)
    outcome = imported(target, tmp_path / "dump").failed(words)
    assert outcome.unread > 7 * MIB
    assert digest(target) == before


def test_growing_again_gives_the_room_back(tmp_path: Path) -> None:
    """A shrunk disk is exported like any other; on a larger one, its table is right, too."""
    with_swap(tmp_path / "disk", "gpt", 300 * MIB)
    exported(tmp_path / "disk", tmp_path / "dump").done()
    smaller = noise(tmp_path / "smaller", 160 * MIB)
    imported(smaller, tmp_path / "dump").done()
    exported(smaller, tmp_path / "dump").done()
    larger = noise(tmp_path / "larger", 320 * MIB)
    imported(larger, tmp_path / "dump").done()
    assert "No problems found" in output("sgdisk", "--verify", larger)
    output("cmp", f"--ignore-initial={MIB}", f"--bytes={158 * MIB}", smaller, larger)
