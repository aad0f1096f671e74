"""Makes the images to copy, once, from a seed and this machine's /usr."""

import json
import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from layout import CLUSTER, SEED, layout
from measure import BenchError

NAMES = ("plain", "fragmented", "zlib", "zstd", "empty")
PAGE = 4096
BLOCK = 1024**2  # bytes, the unit of digests
RANDOM_SHARE = 10  # before 1 of 10 files comes a cluster of random bytes, which do not compress
EMPTY_SHARE = 40  # the empty image has 1/40 of the data of the others
VIRTUAL, EMPTY_VIRTUAL = 8, 40  # virtual sizes, as multiples of the data of the others
ZEROS = bytes(BLOCK)


@dataclass(frozen=True)
class Image:
    """A qcow2 image: sizes and places in bytes, and the digest of its contents.

    Attributes:
        data: allocated bytes of the disk.
        dense: the end of the part where most of the data is.
    """

    name: str
    path: Path
    size: int
    data: int
    dense: int
    digest: str


def images(directory: Path, data: int, names: tuple[str, ...]) -> list[Image]:
    """Makes the images that the directory does not have yet.

    Args:
        directory: gets a directory for each amount of data.
        data: bytes of data in an image; virtual sizes are multiples of it.
        names: some of NAMES.

    Raises:
        BenchError: QEMU's tools failed, or /usr is empty.
    """
    place = directory / f"images-{data // 2**20}MiB"
    place.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not _record(place, name).exists()]
    if full := [name for name in missing if name != "empty"]:
        _make(place, full, data * VIRTUAL, data)
    if "empty" in missing:
        _make(place, ["empty"], data * EMPTY_VIRTUAL, data // EMPTY_SHARE)
    return [_read(place, name) for name in names]


def contents_digest(path: Path) -> str:
    """A digest of the places and contents of all blocks that are not zero; holes are not read."""
    digest = blake2b(digest_size=32)
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        size = os.fstat(fd).st_size
        at = 0
        while at < size:
            try:
                at = max(at, os.lseek(fd, at, os.SEEK_DATA) // BLOCK * BLOCK)
            except OSError:  # ENXIO: only a hole follows
                break
            block = os.pread(fd, BLOCK, at)
            if block != ZEROS[: len(block)]:
                digest.update(at.to_bytes(8, "little"))
                digest.update(block)
            at += len(block)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()


def _make(place: Path, names: list[str], size: int, data: int) -> None:
    staging = place / "staging.raw"
    ranges, dense = layout(size, data)
    try:
        _fill(staging, size, ranges)
        digest = contents_digest(staging)
        for name in names:
            path = place / f"{name}.qcow2"
            _convert(staging, path, name, ranges)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            image = Image(name, path, size, sum(length for _, length in ranges), dense, digest)
            _record(place, name).write_text(json.dumps({**asdict(image), "path": path.name}))
    finally:
        staging.unlink(missing_ok=True)


def _convert(staging: Path, path: Path, name: str, ranges: list[tuple[int, int]]) -> None:
    to_qcow2 = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2"]
    match name:
        case "fragmented":
            _write_scattered(staging, path, ranges)
        case "zlib" | "zstd":
            tool([*to_qcow2, "-c", "-o", f"compression_type={name}", str(staging), str(path)])
        case _:
            tool([*to_qcow2, str(staging), str(path)])


def _write_scattered(staging: Path, path: Path, ranges: list[tuple[int, int]]) -> None:
    """Writes the clusters in random order, which is then their order in the file, as in old guests.

    libnbd ends the server and waits for it when its handle goes out of scope.
    """
    import nbd

    size = staging.stat().st_size
    tool(["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size)])
    clusters = [at for start, length in ranges for at in range(start, start + length, CLUSTER)]
    random.Random(SEED).shuffle(clusters)
    server = nbd.NBD()
    server.connect_systemd_socket_activation(
        ["qemu-nbd", "-f", "qcow2", "--cache=writeback", str(path)]
    )
    with staging.open("rb", buffering=0) as file:
        for at in clusters:
            server.pwrite(os.pread(file.fileno(), CLUSTER, at), at)
    server.flush()
    server.shutdown()


def _fill(path: Path, size: int, ranges: list[tuple[int, int]]) -> None:
    pages = _pages()
    with path.open("wb", buffering=0) as file:
        file.truncate(size)
        for start, length in ranges:
            written = 0
            while written < length:
                part = b"".join(next(pages) for _ in range(min(length - written, BLOCK) // PAGE))
                written += os.pwrite(file.fileno(), part, start + written)


def _pages() -> Iterator[bytes]:
    """Pages of files, one file after the other, without pages that are all zero.

    Without zero pages, every tool allocates exactly the ranges of the layout.
    """
    chance = random.Random(SEED)
    files = sorted(
        os.path.join(directory, name)  # noqa: PTH118 - three times as fast, for 100 000 of them
        for directory, _, found in os.walk("/usr")
        for name in found
    )
    chance.shuffle(files)
    while True:
        given = False
        for file in files:
            if chance.randrange(RANDOM_SHARE) == 0:
                yield from _cut(chance.randbytes(CLUSTER))
            for page in _pages_of(file):
                given = True
                yield page
        if not given:
            raise BenchError("/usr: no file in it can be read")


def _pages_of(path: str) -> Iterator[bytes]:
    try:
        if os.path.islink(path) or not os.path.isfile(path):  # noqa: PTH114, PTH113
            return
        with open(path, "rb") as file:  # noqa: PTH123
            while part := file.read(BLOCK):
                yield from _cut(part)
    except OSError:
        return


def _cut(part: bytes) -> Iterator[bytes]:
    for at in range(0, len(part), PAGE):
        page = part[at : at + PAGE].ljust(PAGE, b"\0")
        if page != ZEROS[:PAGE]:
            yield page


def _record(place: Path, name: str) -> Path:
    return place / f"{name}.json"


def _read(place: Path, name: str) -> Image:
    read = json.loads(_record(place, name).read_text())
    return Image(**{**read, "path": place / read["path"]})


def tool(argv: list[str], given: str = "") -> str:
    """Runs a program that is not measured; returns its stdout.

    Args:
        argv: the program.
        given: its stdin.

    Raises:
        BenchError: it failed; the message has its stderr.
    """
    # In a group of its own: a Ctrl-C must not end the program that cleans up.
    ran = subprocess.run(argv, input=given, capture_output=True, text=True, process_group=0)
    if ran.returncode != 0:
        raise BenchError(f"{' '.join(argv)}: ended with {ran.returncode}: {ran.stderr.strip()}")
    return ran.stdout
