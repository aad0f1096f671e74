"""The free blocks of file systems of many kinds are those of dumpe2fs; a doubt leaves none."""

import os
import re
import subprocess
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from backup.disks import content, least
from backup.disks.free_blocks import NotCertainError, free_runs, stated_size, superblock
from converter.sources.image_file import LocalFile
from converter.sources.local import RawSource
from tests.system.installer.support import output

MIB = 1 << 20
KINDS = {
    "ext2": ("mkfs.ext2",),
    "ext3": ("mkfs.ext3",),
    "ext4": ("mkfs.ext4",),
    "1 KiB": ("mkfs.ext4", "-b", "1024"),
    "64 KiB": ("mkfs.ext4", "-F", "-b", "65536"),
    "without flex_bg": ("mkfs.ext4", "-O", "^flex_bg"),
    "32 bits": ("mkfs.ext4", "-O", "^64bit"),
    "group checksums": ("mkfs.ext4", "-O", "^metadata_csum,uninit_bg"),
    "without checksums": ("mkfs.ext4", "-O", "^metadata_csum,^uninit_bg"),
    "without sparse superblocks": ("mkfs.ext4", "-O", "^sparse_super,^resize_inode"),
    "few blocks in a group": ("mkfs.ext4", "-b", "1024", "-g", "1024"),
    "lazy": ("mkfs.ext4", "-E", "lazy_itable_init=1"),
    "features": ("mkfs.ext4", "-O", "quota,project,encrypt,casefold,inline_data,large_dir"),
    "its seed": ("mkfs.ext4", "-O", "metadata_csum_seed"),
    "orphan file": ("mkfs.ext4", "-O", "orphan_file"),
}
DOUBTS = {
    "meta_bg": ("mkfs.ext4", "-O", "meta_bg,^resize_inode"),
    "bigalloc": ("mkfs.ext4", "-O", "bigalloc"),
    "mmp": ("mkfs.ext4", "-O", "mmp"),
    "sparse_super2": ("mkfs.ext4", "-O", "sparse_super2"),
}


def made(path: Path, argv: tuple[str, ...]) -> Path:
    path.touch()
    os.truncate(path, 300 * MIB + 7 * 1024)
    tree = path.with_name("tree")
    tree.mkdir()
    for number in range(50):
        (tree / f"{number}").write_bytes(os.urandom(number * 20_000))
    ran = subprocess.run(
        [argv[0], "-q", "-F", "-d", tree, *argv[1:], path],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Invalid filesystem option" in ran.stderr:
        pytest.skip("this mke2fs does not know it")
    assert ran.returncode == 0, ran.stderr
    return path


def runs(path: Path) -> list[tuple[int, int]]:
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            return os.pread(file.fileno(), length, offset)

        return list(free_runs(read, path.stat().st_size))


def told(path: Path) -> set[int]:
    """The free blocks, and their size, by dumpe2fs."""
    said = output("dumpe2fs", path)
    found: set[int] = set()
    for line in re.findall(r"^  Free blocks: (.+)$", said, re.M):
        for begin, _, end in (part.strip().partition("-") for part in line.split(",")):
            found |= set(range(int(begin), int(end or begin) + 1))
    return found


def block_size(path: Path) -> int:
    said = re.search(r"^Block size:\s+(\d+)$", output("dumpe2fs", "-h", path), re.M)
    assert said is not None
    return int(said[1])


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_those_of_dumpe2fs(kind: str, tmp_path: Path) -> None:
    path = made(tmp_path / "disk", KINDS[kind])
    size, expected = block_size(path), told(path)
    found = {
        block
        for start, length in runs(path)
        for block in range(start // size, (start + length) // size)
    }
    assert found <= expected
    # Runs of less than 16 blocks are not looked for, nor parts of a byte of the bitmap.
    assert len(found) > 0.95 * len(expected)
    with path.open("rb") as file:
        file.seek(1024)
        assert stated_size(file.read(1024)) <= path.stat().st_size


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_that_it_needs_is_not_more_than_resize2fs_wants(
    kind: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "disk", KINDS[kind])
    told = re.search(
        r"Estimated minimum size of the filesystem: (\d+)", output("resize2fs", "-P", path)
    )
    assert told is not None
    with path.open("rb") as file:
        fd, size = file.fileno(), path.stat().st_size
        system = superblock(lambda at, length: os.pread(fd, length, at), size)
    files = sum(number * 20_000 for number in range(50))
    assert files < least.ext(system) <= int(told[1]) * system.block_size


@pytest.mark.parametrize("kind", DOUBTS)
def test_where_there_is_a_doubt_there_are_none(kind: str, tmp_path: Path) -> None:
    path = made(tmp_path / "disk", DOUBTS[kind])
    with pytest.raises(NotCertainError):
        runs(path)


def test_damage_is_a_doubt(tmp_path: Path) -> None:
    """One bit of a bitmap, and of a superblock's count of free blocks."""
    path = made(tmp_path / "disk", KINDS["ext4"])
    (first, _), *_ = runs(path)
    bitmap = re.search(r"Block bitmap at (\d+)", output("dumpe2fs", path))
    assert bitmap is not None and first
    for place in (int(bitmap[1]) * block_size(path) + 1, 1024 + 0xC):
        with path.open("r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1]))
            file.flush()
            with pytest.raises(NotCertainError):
                runs(path)
            file.seek(place)
            file.write(bytes([byte]))
    assert runs(path)


def test_of_many_file_systems_only_the_largest_runs_take_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "MAX_RUNS", 3)
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, 42 * MIB)
    table = "label: gpt\n" + "".join(f"start={1 + 20 * n}MiB, size=20MiB\n" for n in range(2))
    subprocess.run(["sfdisk", "-q", path], input=table, text=True, check=True)
    for number in range(2):
        at = f"offset={(1 + 20 * number) * MIB}"
        output("mkfs.ext4", "-q", "-F", "-b", "1024", "-E", at, path, "20M")
    with path.open("rb") as file:
        opened = LocalFile(file.fileno(), str(path))
        with closing(opened.pages):
            instance = SimpleNamespace(instance="web", disk={"index": 0})
            plan = content.planned(RawSource(opened), file.fileno(), instance)
    assert len(plan.content.replacements) == 3
    assert plan.header.left_out["free"] > 20 * MIB
