"""Images of every kind that qemu-img and qemu-io make, and damaged ones: for the corpus tests.

A step gets the path of an image and makes or changes it; a case is a row of steps. Functions that
are named for what is done return a step.
"""

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.system.converter.support import MIB, noise, output, prose

SIZE = 4 * MIB  # of most disks
CLUSTER = 65536  # of most images
COPIED = 1 << 63
COMPRESSED = 1 << 62
OFFSET = 0x00FF_FFFF_FFFF_FE00
KEPT_BYTES = 512 * 9 + 100  # of a file that is cut off in its tables

Step = Callable[[Path], object]
Field = tuple[int, int]  # a number in the file: its offset, and how many bytes it has

# Of the header.
VERSION, BACKING_OFFSET, BACKING_SIZE, CLUSTER_BITS = (4, 4), (8, 8), (16, 4), (20, 4)
DISK_SIZE, CRYPT_METHOD, L1_SIZE, L1_OFFSET = (24, 8), (32, 4), (36, 4), (40, 8)
REFCOUNT_OFFSET, REFCOUNT_CLUSTERS, SNAPSHOTS, SNAPSHOTS_OFFSET = (48, 8), (56, 4), (60, 4), (64, 8)
INCOMPATIBLE, COMPATIBLE, AUTOCLEAR = (72, 8), (80, 8), (88, 8)
REFCOUNT_ORDER, HEADER_LENGTH, COMPRESSION_TYPE = (96, 4), (100, 4), (104, 1)
EXTENSION = (112, 4)  # the type of the first one: qemu-img begins with the feature names


def get(image: Path, field: Field) -> int:
    with image.open("rb") as file:
        return int.from_bytes(os.pread(file.fileno(), field[1], field[0]), "big")


def put(image: Path, field: Field, value: int) -> None:
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), value.to_bytes(field[1], "big"), field[0])


def l1_entry(image: Path, number: int = 0) -> Field:
    return get(image, L1_OFFSET) + 8 * number, 8


def l2_entry(image: Path, place: int = 0) -> Field:
    """For a byte of the disk; of an extended entry the first half."""
    cluster = 1 << get(image, CLUSTER_BITS)
    width = 16 if get(image, VERSION) == 3 and get(image, INCOMPATIBLE) & 16 else 8
    table, entry = divmod(place // cluster, cluster // width)
    return (get(image, l1_entry(image, table)) & OFFSET) + width * entry, 8


def bitmap(image: Path, place: int = 0) -> Field:
    """Of subclusters: the second half of an extended L2 entry."""
    return l2_entry(image, place)[0] + 8, 8


def refcount_entry(image: Path) -> Field:
    return get(image, REFCOUNT_OFFSET), 8


# Steps


def create(options: str = "", size: int = SIZE) -> Step:
    words = ["-o", options] if options else []
    return lambda image: output("qemu-img", "create", "-q", "-f", "qcow2", *words, image, str(size))


def img(*words: str, behind: str = "") -> Step:
    """A qemu-img command for the image, with what stands behind its path."""
    return lambda image: output("qemu-img", *words, image, *behind.split())


def io(*commands: str, options: str = "") -> Step:
    """qemu-io commands, which all must succeed."""
    words = [word for command in commands for word in ("-c", command)]
    target = "driver=qcow2,file.filename={}" + (f",{options}" if options else "")
    return lambda image: output("qemu-io", *words, "--image-opts", target.format(image))


def write(*pieces: tuple[int, bytes], compressed: bool = False) -> Step:
    """Writes bytes at offsets of the disk."""

    def step(image: Path) -> None:
        commands, files = [], []
        for number, (offset, data) in enumerate(pieces):
            files.append(image.with_name(f"{image.name}.{number}"))
            files[-1].write_bytes(data)
            mode = "-c " if compressed else ""
            commands.append(f"write {mode}-s {files[-1]} {offset} {len(data)}")
        io(*commands)(image)
        for file in files:
            file.unlink()

    return step


def data(size: int = SIZE) -> Step:
    """Data not in order, not in whole clusters, up to the disk's end; and holes."""
    half = size // 1024 * 512
    pieces = [(half, noise(min(size - half, 300_032), 2)), (0, noise(min(size, 4608), 1))]
    pieces += [(size // 8 // 512 * 512, noise(512, 3)), (size - 512, noise(512, 4))]
    return write(*pieces)


def packed(size: int = SIZE) -> Step:
    """Compressed clusters in the second quarter of the disk, whole and in a row."""

    def step(image: Path) -> None:
        cluster = 1 << get(image, CLUSTER_BITS)
        first = size // 4 // cluster * cluster
        pieces = [(first + n * cluster, prose(cluster, n)) for n in range(5)]
        write(*(p for p in pieces if p[0] + cluster <= size // 2), compressed=True)(image)

    return step


def zeros(size: int = SIZE) -> Step:
    """Zero clusters with and without a place in the file, and discarded ones."""
    half = size // 2
    return io(
        f"write -z {half + 65536} 65536",
        f"write -z -u {half + 131072} 65536",
        f"write -z {half - 200_192} 99840",
        "discard 0 65536",
    )


def poke(where: Field | Callable[[Path], Field], value: int | Callable[[Path, int], int]) -> Step:
    """Replaces a number of the file; a function gets the image and the old number."""

    def step(image: Path) -> None:
        field = where(image) if callable(where) else where
        new = value(image, get(image, field)) if callable(value) else value
        assert new != get(image, field), "this would change nothing"
        put(image, field, new)

    return step


def flip(where: Field | Callable[[Path], Field], bit: int) -> Step:
    return poke(where, lambda _, old: old ^ 1 << bit)


def cut(size: int) -> Step:
    """Leaves so many bytes of the file; below zero: takes so many away."""

    def step(image: Path) -> None:
        old = image.stat().st_size
        new = size if size >= 0 else old + size
        assert 0 <= new < old
        os.truncate(image, new)

    return step


def cut_half(image: Path) -> None:
    os.truncate(image, image.stat().st_size // 2 // 512 * 512)


def converted(*words: str, size: int = SIZE, to: str = "qcow2") -> Step:
    """From a raw disk with data that compresses, and holes."""

    def step(image: Path) -> None:
        disk = image.with_suffix(".disk")
        with disk.open("wb") as file:
            file.truncate(size)
            for number, offset in enumerate(range(0, size, size // 4)):
                os.pwrite(file.fileno(), prose(size // 7, number), offset)
        output("qemu-img", "convert", "-q", "-f", "raw", "-O", to, *words, disk, image)
        disk.unlink()

    return step


def killed(image: Path) -> None:
    """A QEMU that dies after it wrote."""
    words = ["-c", "write -P 17 1M 300k", "-c", "sigraise 9"]
    result = subprocess.run(["qemu-io", *words, str(image)], capture_output=True, check=False)
    assert result.returncode == -9, result


def random_io(seed: int) -> Step:
    """An image of random options, and random commands on it."""
    source = random.Random(seed)
    bits = source.choice([9, 10, 12, 14, 16, 16, 16, 18, 21])
    cluster = 1 << bits
    options = [f"cluster_size={cluster}"]
    if source.random() < 0.2:
        options.append("compat=0.10")
    else:
        if bits >= 14 and source.random() < 0.5:
            options.append("extended_l2=on")
        if source.random() < 0.3:
            options.append("compression_type=zstd")
        options.append(f"refcount_bits={source.choice([1, 8, 16, 64])}")
    options.append(f"preallocation={source.choice(['off', 'off', 'off', 'metadata', 'falloc'])}")
    size = source.choice([512, MIB, 3 * MIB + 512, source.randrange(1, 8 * 2048) * 512])
    preallocated = "preallocation=off" not in options
    commands = []
    touched: set[int] = set()  # clusters; QEMU compresses only into new ones
    for number in range(source.randrange(24)):
        start = source.randrange(size // 512) * 512
        length = source.choice([512, 4096, 65536, cluster, source.randrange(1, 400) * 512])
        kind = source.choice(["write", "write", "write -c", "write -z", "write -z -u", "discard"])
        if kind == "write -c":
            start, length = start // cluster * cluster, cluster
            if preallocated or start // cluster in touched or start + length > size:
                continue
        length = min(length, size - start)
        touched.update(range(start // cluster, (start + length - 1) // cluster + 1))
        pattern = f" -P {number + 1}" if kind in ("write", "write -c") else ""
        commands.append(f"{kind}{pattern} {start} {length}")
    steps = [create(",".join(options), size)]
    unmap = source.choice(["discard=unmap", "discard=ignore"])
    middle = source.randrange(len(commands) + 1)
    if commands[:middle]:
        steps.append(io(*commands[:middle], options=unmap))
    if source.random() < 0.3 and "refcount_bits=1" not in options:
        steps.append(img("snapshot", "-c", "before"))
    if commands[middle:]:
        steps.append(io(*commands[middle:], options=unmap))

    def step(image: Path) -> None:
        for part in steps:
            part(image)

    return step


# Cases


def _good() -> dict[str, list[Step]]:
    """QEMU reads these, and we must read the same."""
    everything = [data(), packed(), zeros()]
    cases: dict[str, list[Step]] = {
        "empty": [create()],
        "full": [create(), write((0, noise(SIZE, 7)))],
        "version 2": [create("compat=0.10"), *everything],
        "version 2, clusters of 512": [create("compat=0.10,cluster_size=512"), *everything],
        "amended to version 3": [create("compat=0.10"), data(), img("amend", "-o", "compat=1.1")],
        "amended to version 2": [create(), data(), img("amend", "-o", "compat=0.10")],
    }
    for bits in range(9, 22):
        size = SIZE if bits < 18 else 16 * MIB
        cases[f"clusters of {1 << bits}"] = [
            create(f"cluster_size={1 << bits}", size),
            *(data(size), packed(size), zeros(size)),
        ]
    for width in (1, 2, 4, 8, 32, 64):
        cases[f"refcounts of {width} bits"] = [create(f"refcount_bits={width}"), *everything]
    for mode in ("metadata", "falloc", "full"):
        cases[f"preallocation {mode}"] = [create(f"preallocation={mode}"), data(), zeros()]
        cases[f"preallocation {mode}, odd size, untouched"] = [
            create(f"preallocation={mode}", SIZE - 1536)
        ]
    for sectors in (1, 127, 128, 129, 8191):
        size = sectors * 512
        cases[f"{sectors} sectors"] = [create("", size), data(size)]
    cases |= {
        "odd size, compressed": [converted("-c", size=SIZE - 2560)],
        # QEMU leaves out the part of a sector at the end; it is a hole here.
        "size within a sector": [create(), write((0, noise(9728, 1))), poke(DISK_SIZE, 2**20 + 9)],
        "made larger": [
            create(),
            *everything,
            img("resize", "-q", "-f", "qcow2", behind=str(SIZE + 3584)),
            write((SIZE + 512, noise(1024, 9))),
        ],
        "made larger, preallocated": [
            create(),
            *everything,
            img("resize", "-q", "-f", "qcow2", "--preallocation=metadata", behind=str(2 * SIZE)),
        ],
        "made smaller": [
            create("", 2 * SIZE),
            data(2 * SIZE),
            packed(2 * SIZE),
            img("resize", "-q", "-f", "qcow2", "--shrink", behind=str(SIZE + 1024)),
        ],
    }

    # compression
    for options in ("compression_type=zlib", "compression_type=zstd"):
        for cluster in ("512", "4k", "64k", "2M"):
            words = f"{options},cluster_size={cluster}"
            cases[f"compressed, {words}"] = [converted("-c", "-o", words)]
    cases |= {
        "converted": [converted()],
        "converted, all allocated": [converted("-S", "0")],
        "zstd, mixed": [create("compression_type=zstd"), *everything],
        "zstd, nothing compressed": [create("compression_type=zstd"), data()],
        "compressed clusters written over": [
            converted("-c"),
            write((1000 * 512, noise(70_144, 5)), (SIZE - 1024, noise(1024, 6))),
            zeros(),
        ],
        "compressed, the file ends with its last byte": [converted("-c"), cut_last_sector],
    }

    # zeros
    cases |= {
        "zero clusters": [create(), io("write -z 0 4M")],
        "zeros over data": [create(), write((0, noise(SIZE, 8))), io("write -z 64k 3M")],
        "zeros over data, unmapped": [
            create(),
            write((0, noise(SIZE, 8))),
            io("write -z -u 64k 3M", options="discard=unmap"),
        ],
        "discarded": [
            create(),
            write((0, noise(SIZE, 8))),
            io("discard 128k 2M", options="discard=unmap"),
        ],
        "discarded, version 2": [
            create("compat=0.10"),
            write((0, noise(SIZE, 8))),
            io("discard 128k 2M", options="discard=unmap"),
        ],
    }

    # extended L2 entries
    holes = io("write -z 6k 9k", "write -z -u 2M 40k", "discard 2100k 20k", "write -P 5 30k 1k")
    for cluster in ("16k", "64k", "128k", "2M"):
        for options in ("", ",compression_type=zstd"):
            cases[f"extended L2, {cluster}{options}"] = [
                create(f"extended_l2=on,cluster_size={cluster}{options}", 16 * MIB),
                *(data(16 * MIB), packed(16 * MIB), holes),
            ]
    for mode in ("metadata", "full"):
        cases[f"extended L2, preallocation {mode}"] = [
            create(f"extended_l2=on,preallocation={mode}", SIZE - 512),
            data(SIZE - 512),
            holes,
        ]
    cases["extended L2, one subcluster in the last cluster"] = [
        create("extended_l2=on", SIZE - 63 * 1024),
        write((SIZE - 64 * 1024, noise(512, 1))),
    ]

    # what else there is in images
    snap = img("snapshot", "-c", "one")
    cases |= {
        "snapshot": [create(), *everything, snap],
        "snapshots, written between": [
            create(),
            data(),
            snap,
            write((0, noise(100_352, 11))),
            img("snapshot", "-c", "two"),
            packed(),
            img("snapshot", "-c", "three" * 20),
            zeros(),
        ],
        "snapshots, one deleted": [
            create(),
            data(),
            snap,
            write((0, noise(100_352, 11))),
            img("snapshot", "-c", "two"),
            img("snapshot", "-d", "one"),
        ],
        "snapshot applied": [create(), data(), snap, zeros(), img("snapshot", "-a", "one")],
        "snapshot, version 2": [create("compat=0.10"), data(), snap, packed()],
        "snapshot, clusters of 512": [create("cluster_size=512"), data(), snap, packed()],
        "snapshot, extended L2": [create("extended_l2=on"), data(), snap, holes],
        "bitmaps": [
            create(),
            data(),
            img("bitmap", "--add", behind="b0"),
            img("bitmap", "--add", "--disable", "-g", "512", behind="b1"),
            packed(),
        ],
        "bitmaps, inconsistent": [
            create(),
            data(),
            img("bitmap", "--add", behind="b0"),
            poke(AUTOCLEAR, 0),
        ],
        "dirty": [create("lazy_refcounts=on"), data(), killed],
        "dirty, snapshot": [create("lazy_refcounts=on"), data(), snap, killed],
        "killed": [create(), data(), killed],
        "extension that nobody knows": [create(), data(), poke(EXTENSION, 0x6B697421)],
        "compatible feature that nobody knows": [create(), data(), flip(COMPATIBLE, 40)],
        "autoclear feature that nobody knows": [create(), data(), flip(AUTOCLEAR, 40)],
        "backing file removed": [with_backing, img("rebase", "-f", "qcow2", "-b", "")],
        "refcount table larger": [create("refcount_bits=64,cluster_size=512"), *everything],
    }
    return cases


def cut_last_sector(image: Path) -> None:
    """Takes away the zeros that follow the last compressed cluster, which need not be there."""
    content = image.read_bytes()
    end = len(content.rstrip(b"\0"))
    assert len(content) - 512 < end < len(content)
    os.truncate(image, end)


def with_backing(image: Path) -> None:
    base = image.with_suffix(".base")
    create()(base)
    data()(base)
    words = ["-f", "qcow2", "-b", str(base), "-F", "qcow2"]
    output("qemu-img", "create", "-q", *words, image)
    packed()(image)


def with_backing_of_the_node(image: Path) -> None:
    """What a hostile image would name."""
    output(
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-b",
        "/etc/passwd",
        "-F",
        "raw",
        image,
        "1M",
    )


def with_data_file(options: str) -> Step:
    def step(image: Path) -> None:
        create(f"data_file={image}.data{options}")(image)
        data()(image)

    return step


def encrypted(image: Path) -> None:
    secret = "secret,id=s,data=sesame"
    options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    words = ["-q", "--object", secret, "-f", "qcow2", "-o", options]
    for _ in range(20):  # QEMU measures how fast it hashes, and gives up where that looks odd
        output("qemu-img", "create", *words, image, "1M", check=False)
        if image.exists() and get(image, CRYPT_METHOD) == 2:
            return
    raise AssertionError("qemu-img made no encrypted image")


def _bad() -> dict[str, tuple[str, list[Step]]]:
    """These are refused, with these words."""
    made = [create(), data(), packed()]
    fine = [create("cluster_size=512"), data(), packed()]
    extended = [create("extended_l2=on"), data(), packed()]
    snapshot = [*made, img("snapshot", "-c", "one")]
    bitmaps = [*made, img("bitmap", "--add", behind="b0")]
    place = SIZE // 2  # data is there
    first = SIZE // 4  # a compressed cluster is there

    def at_data(image: Path) -> Field:
        return l2_entry(image, place)

    def at_packed(image: Path) -> Field:
        return l2_entry(image, first)

    def second_l1(image: Path) -> Field:
        return l1_entry(image, 1)

    def end_of_bitmaps(image: Path) -> Field:
        """The offset of the directory, in the bitmaps extension."""
        head = image.read_bytes()[:4096]
        return head.index(0x23852875.to_bytes(4, "big")) + 8 + 16, 8

    def snapshot_l1(image: Path) -> Field:
        return get(image, SNAPSHOTS_OFFSET), 8

    return {
        # not a qcow2 image at all
        "an empty file": ("not a qcow2 image", [lambda image: image.write_bytes(b"")]),
        "a file of 100 bytes": ("cut off", [create(), cut(100)]),
        "a raw disk": ("not a qcow2 image", [converted(to="raw")]),
        "vmdk": ("vmdk", [converted(to="vmdk")]),
        "vdi": ("vdi", [converted(to="vdi")]),
        "vhdx": ("vhdx", [converted(to="vhdx")]),
        "qed": ("qed", [converted(to="qed")]),
        "qcow, version 1": ("version 1", [converted(to="qcow")]),
        "version 4": ("version 4", [*made, poke(VERSION, 4)]),
        # the header
        "clusters too small": ("cluster_bits is 8", [*made, poke(CLUSTER_BITS, 8)]),
        "clusters too large": ("cluster_bits is 22", [*made, poke(CLUSTER_BITS, 22)]),
        "header length": ("header's length", [*made, poke(HEADER_LENGTH, 100)]),
        "header length beyond": ("header's length", [*made, poke(HEADER_LENGTH, 1 << 30)]),
        "refcount order": ("refcount_order is 7", [*made, poke(REFCOUNT_ORDER, 7)]),
        "extension too long": ("header extension", [*made, poke((116, 4), 65536)]),
        "corrupt bit": ("marked as corrupt", [*made, flip(INCOMPATIBLE, 1)]),
        "unknown feature": ("bit 63 (not named)", [*made, flip(INCOMPATIBLE, 63)]),
        "unknown feature with a name": (
            "bit 21 ('dirty bit')",  # the table's first name, made that of another bit
            [*made, poke((121, 1), 21), flip(INCOMPATIBLE, 21)],
        ),
        "compression bit alone": ("contradicts", [*made, flip(INCOMPATIBLE, 3)]),
        "compression type alone": ("contradicts", [*made, poke(COMPRESSION_TYPE, 1)]),
        "compression unknown": (
            "compression type 2",
            [create("compression_type=zstd"), data(), poke(COMPRESSION_TYPE, 2)],
        ),
        # what does not stand alone
        "backing file": ("backing file, '", [with_backing]),
        "backing file of the node": ("'/etc/passwd'", [with_backing_of_the_node]),
        "backing file without a name": ("backing file", [*made, poke(BACKING_OFFSET, 4096)]),
        "external data file": ("external data file, '", [with_data_file("")]),
        "external data file, raw": ("external data file", [with_data_file(",data_file_raw=on")]),
        "external data bit": ("external data file", [*made, flip(INCOMPATIBLE, 2)]),
        "LUKS": ("encrypted (LUKS)", [encrypted]),
        "LUKS header alone": ("encrypted", [*made, poke(EXTENSION, 0x0537BE77)]),
        "AES": ("encrypted (AES)", [*made, poke(CRYPT_METHOD, 1)]),
        # the L1 table
        "L1 table too small": ("L1 table has 1 entries", [*made, poke(DISK_SIZE, 1 << 40)]),
        "disk of 16 EiB": ("L1 table has 1 entries", [*made, poke(DISK_SIZE, (1 << 64) - 512)]),
        "L1 table absurd": ("more than 33554432", [*made, poke(L1_SIZE, 0xFFFFFFFF)]),
        "L1 table beyond": ("the L1 table", [*made, poke(L1_SIZE, 1 << 22)]),
        "L1 table not aligned": ("the L1 table", [*made, flip(L1_OFFSET, 9)]),
        "L1 table outside": ("the L1 table", [*made, flip(L1_OFFSET, 40)]),
        "L1 table in the header": ("overlap at 0", [*made, poke(L1_OFFSET, 0)]),
        "L1 entry, reserved bit": ("entry 0 of the L1", [*made, flip(l1_entry, 0)]),
        "L1 entry, reserved high bit": ("entry 0 of the L1", [*made, flip(l1_entry, 60)]),
        "L1 entry not aligned": ("entry 0 of the L1", [*made, flip(l1_entry, 12)]),
        "L1 entry outside": ("missing", [*made, flip(l1_entry, 45)]),
        "L1 entry without a place": ("points to the header", [*made, poke(l1_entry, COPIED)]),
        "L2 table in the L1 table": (
            "the L1 table",
            [*made, poke(l1_entry, lambda image, _: get(image, L1_OFFSET))],
        ),
        "L2 table in the refcount table": (
            "the refcount table",
            [*made, poke(l1_entry, lambda image, _: get(image, REFCOUNT_OFFSET))],
        ),
        "L2 table in a refcount block": (
            "overlap",
            [*made, poke(l1_entry, lambda image, _: get(image, refcount_entry(image)))],
        ),
        "L2 table twice": (
            "overlap",
            [*fine, poke(second_l1, lambda image, _: get(image, l1_entry(image)))],
        ),
        # the refcount table
        "no refcount table": ("no refcount table", [*made, poke(REFCOUNT_CLUSTERS, 0)]),
        "refcount table absurd": ("more than", [*made, poke(REFCOUNT_CLUSTERS, 0xFFFFFFFF)]),
        "refcount table not aligned": ("refcount table", [*made, flip(REFCOUNT_OFFSET, 3)]),
        "refcount table outside": ("refcount table", [*made, flip(REFCOUNT_OFFSET, 50)]),
        "refcount table on the header": ("overlap at 0", [*made, poke(REFCOUNT_OFFSET, 0)]),
        "refcount entry, reserved bit": (
            "entry 0 of the refcount",
            [*made, flip(refcount_entry, 5)],
        ),
        "refcount entry outside": ("missing", [*made, flip(refcount_entry, 62)]),
        # L2 entries
        "L2 entry, reserved bit": (f"byte {place}", [*made, flip(at_data, 4)]),
        "L2 entry, reserved high bit": (f"byte {place}", [*made, flip(at_data, 58)]),
        "L2 entry not aligned": (f"byte {place}", [*made, flip(at_data, 15)]),
        "L2 entry outside": (f"byte {place}", [*made, flip(at_data, 42)]),
        "data in the header": (f"byte {place}", [*made, poke(at_data, COPIED)]),
        "data in the L1 table": (
            "in the L1 table",
            [*made, poke(at_data, lambda image, _: COPIED | get(image, L1_OFFSET))],
        ),
        "data in the refcount table": (
            "in the refcount table",
            [*made, poke(at_data, lambda image, _: COPIED | get(image, REFCOUNT_OFFSET))],
        ),
        "data in a refcount block": (
            "L2 table or refcount block",
            [*made, poke(at_data, lambda image, _: COPIED | get(image, refcount_entry(image)))],
        ),
        "data in its own L2 table": (
            "L2 table or refcount block",
            [*made, poke(at_data, lambda image, _: get(image, l1_entry(image)))],
        ),
        "data in a snapshot's L1 table": (
            "L1 table of snapshot 0",
            [*snapshot, poke(at_data, lambda image, _: get(image, snapshot_l1(image)))],
        ),
        "zero bit in version 2": (
            "reserved bits",
            [create("compat=0.10"), data(), flip(at_data, 0)],
        ),
        "behind the disk's end": (
            "reserved bits",
            [*made, poke(lambda image: l2_entry(image, SIZE), 1 << 57)],
        ),
        # extended L2 entries
        "subcluster allocated and zero": (
            "at once",
            [*extended, poke(lambda image: bitmap(image, place), (1 << 64) - 1)],
        ),
        "subclusters without a cluster": ("are allocated", [*extended, poke(at_data, 0)]),
        "zero bit in an extended entry": ("reserved bits", [*extended, flip(at_data, 0)]),
        "compressed with subclusters": (
            "no compressed cluster",
            [*extended, poke(lambda image: bitmap(image, first), 1)],
        ),
        # compressed clusters
        "compressed outside": ("(compressed)", [*made, flip(at_packed, 41)]),
        "compressed beyond the end": (
            "(compressed)",
            [*made, poke(at_packed, lambda _, old: old | (1 << 62) - (1 << 54))],
        ),
        "compressed in the header": ("in the header", [*made, poke(at_packed, COMPRESSED | 700)]),
        "compressed and copied": ("no compressed cluster", [*made, flip(at_packed, 63)]),
        "compressed, high bits": ("no compressed cluster", [*fine, flip(at_packed, 57)]),
        # snapshots, bitmaps
        "snapshots without end": ("snapshots, more than", [*snapshot, poke(SNAPSHOTS, 1 << 31)]),
        "more snapshots than there are": ("snapshot", [*snapshot, poke(SNAPSHOTS, 60000)]),
        "snapshot table not aligned": ("snapshot", [*snapshot, flip(SNAPSHOTS_OFFSET, 4)]),
        "snapshot table outside": ("the snapshot table", [*snapshot, flip(SNAPSHOTS_OFFSET, 55)]),
        "snapshot's L1 table outside": ("of snapshot 0", [*snapshot, flip(snapshot_l1, 44)]),
        "snapshot's L1 table not aligned": ("of snapshot 0", [*snapshot, flip(snapshot_l1, 10)]),
        "bitmap directory not aligned": ("bitmap directory", [*bitmaps, flip(end_of_bitmaps, 8)]),
        "bitmap directory outside": ("bitmap directory", [*bitmaps, flip(end_of_bitmaps, 43)]),
        "bitmaps bit alone": ("marked to have bitmaps", [*made, flip(AUTOCLEAR, 0)]),
        # files that were cut off
        "last byte missing": ("at least 1 bytes are missing", [create(), data(), cut(-1)]),
        "half missing": ("missing", [create(), write((0, noise(SIZE, 7))), cut_half]),
        "only the header left": ("missing", [*made, cut(CLUSTER)]),
        "cut within the first cluster": ("missing", [*made, cut(KEPT_BYTES)]),
        "half missing, compressed": ("missing", [converted("-c"), cut_half]),
        "half missing, compressed with zstd": (
            "missing",
            [converted("-c", "-o", "compression_type=zstd"), cut_half],
        ),
        "half missing, preallocated": ("missing", [create("preallocation=falloc"), cut_half]),
        "half missing, clusters of 512": ("missing", [*fine, cut_half]),
        "half missing, extended": ("missing", [*extended, cut_half]),
    }


def compressed_place(image: Path, place: int) -> int:
    """Where the compressed cluster for a byte of the disk stands in the file."""
    entry = get(image, l2_entry(image, place))
    assert entry & COMPRESSED
    return entry & (1 << 62 - (get(image, CLUSTER_BITS) - 8)) - 1


def spoil(place: int, nonsense: bytes = b"\xff" * 400) -> Step:
    """Writes nonsense over the beginning of a compressed cluster."""

    def step(image: Path) -> None:
        with image.open("r+b") as file:
            os.pwrite(file.fileno(), nonsense, compressed_place(image, place))

    return step


GOOD = _good()
BAD = _bad()
# Sound tables, and a compressed cluster that cannot be inflated: at the disk's beginning, where it
# is read before the target is opened, or in its middle. RFC 1951: a last, stored block of 5 bytes.
MIDDLE = SIZE // 2
SHORT = b"\x01\x05\x00\xfa\xffshort"
SPOILED: dict[str, tuple[int, list[Step]]] = {
    "zlib": (MIDDLE, [converted("-c"), spoil(MIDDLE)]),
    "zlib, less than a cluster": (MIDDLE, [converted("-c"), spoil(MIDDLE, SHORT)]),
    "zstd": (MIDDLE, [converted("-c", "-o", "compression_type=zstd"), spoil(MIDDLE)]),
    "zlib, first cluster": (0, [converted("-c"), spoil(0)]),
}


def make(image: Path, steps: list[Step]) -> Path:
    for step in steps:
        step(image)
    return image
