"""Makes the guest to back up, once: a disk as `create` makes it, and files of all kinds in it."""

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import contenders
from contenders import SUITE
from copying import device
from images import tool
from layout import SEED
from measure import BenchError

from tests import bootstraps

DISK_SIZE, LARGE_SIZE = 4 << 30, 100 << 30  # bytes, sparse
USED = 1_800_000_000  # bytes of the file system that are in use
START = 1 << 20  # bytes: where the kit lets the only partition begin
# Of files that are added: 1 of 10 has random bytes, as archives and pictures do not compress.
RANDOM_SHARE = 10
RANDOM_SIZES = (4 << 10, 64 << 10)  # bytes, least and most
FOLDER = 200  # files in one directory
LARGEST = 64 << 20  # bytes of a file that is added


def guest(directory: Path) -> Path:
    """The guest's disk, of DISK_SIZE, made if the directory does not have it yet.

    Raises:
        BenchError: the create failed, or /usr is empty.
    """
    disk = directory / "guest.raw"
    if not disk.exists():
        staging = directory / "guest.new"
        staging.unlink(missing_ok=True)
        _create(directory, staging)
        with mounted(staging, directory / "mnt") as place:
            _fill(place)
        staging.rename(disk)
    return disk


def larger(disk: Path) -> Path:
    """A sparse disk of LARGE_SIZE with the guest's files, made if it is not there yet.

    Raises:
        BenchError: it cannot be made.
    """
    large = disk.with_name("large.raw")
    if not large.exists():
        staging = disk.with_name("large.new")
        staging.unlink(missing_ok=True)
        with staging.open("wb") as file:
            file.truncate(LARGE_SIZE)
        tool(["sfdisk", "--quiet", str(staging)], given=f"start={START // 512}, bootable\n")
        with device(staging, START) as partition:
            tool(["mkfs.ext4", "-q", str(partition)])
        place, other = disk.with_name("mnt"), disk.with_name("mnt-large")
        with mounted(disk, place, "ro"), mounted(staging, other):
            tool(["cp", "-a", f"{place}/.", str(other)])
        staging.rename(large)
    return large


@contextmanager
def mounted(disk: Path, place: Path, options: str = "rw") -> Iterator[Path]:
    """The file system of a disk's partition, mounted; the disk may be a file or a device."""
    with (
        device(disk, START, read_only=options != "rw") as partition,
        mount(partition, place, options),
    ):
        yield place


@contextmanager
def mount(partition: Path, place: Path, options: str = "rw") -> Iterator[None]:
    """A file system, mounted on a directory that is made for it."""
    place.mkdir(exist_ok=True)
    tool(["mount", "-t", "ext4", "-o", options, str(partition), str(place)])
    try:
        yield
    finally:
        tool(["umount", str(place)])
        place.rmdir()


def _create(directory: Path, disk: Path) -> None:
    """Runs our `create`, from a bootstrap of the tests if there is one that fits."""
    ours = contenders.ours(directory / "creates")
    cache = ours.caches / contenders.PEER
    for path in bootstraps.directory().glob(f"cache-{SUITE}-*"):
        shutil.copy2(path, cache)
    with disk.open("wb") as file:
        file.truncate(DISK_SIZE)
    ran = subprocess.run(
        ours.argv("./create"),
        env=contenders.environment(disk) | {"OSP_SWAPFILE_SIZE": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode != 0:
        tail = "\n".join(ran.stdout.splitlines()[-20:])
        raise BenchError(f"create of the guest ended with {ran.returncode}:\n{tail}")
    shutil.rmtree(ours.private)


def _fill(place: Path) -> None:
    """Adds files until the file system has USED bytes in use."""
    chance = random.Random(SEED)
    files = list(_files())
    if not files:
        raise BenchError("/usr: no file in it can be read")
    chance.shuffle(files)
    for number in range(1 << 20):
        status = os.statvfs(place)
        if (status.f_blocks - status.f_bfree) * status.f_frsize >= USED:
            return
        folder = place / f"srv/{number // FOLDER}"
        folder.mkdir(exist_ok=True)
        target = folder / str(number)
        if number % RANDOM_SHARE == 0:
            target.write_bytes(chance.randbytes(chance.randint(*RANDOM_SIZES)))
        else:
            with suppress(OSError):
                shutil.copy2(files[number % len(files)], target)


def _files() -> Iterator[str]:
    """This machine's files below /usr, in an order that is always the same."""
    for folder, folders, names in os.walk("/usr"):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)  # noqa: PTH118 - three times as fast
            if stat.S_ISREG((status := os.lstat(path)).st_mode) and status.st_size <= LARGEST:
                yield path
