#!/usr/bin/python3
"""Damages small qcow2 images at random, as long as is asked for, and parses and inflates them.

Nothing but a FormatError or an InflateError may come of it, in little time and memory, and what
is accepted must be whole: `disk` checks that. Run by hand; the unit tests have a small, seeded
version of this.

    tests/fuzz/fuzz_qcow2.py --minutes 60 [--seed 1] [IMAGE...]

Images given are damaged, too: small ones of qemu-img, with snapshots, bitmaps and the like.
"""

import argparse
import random
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from converter.formats.inflate import InflateError
from converter.formats.qcow2 import FormatError
from tests.unit.converter.qcow2_images import Image, deflated, disk, extension, parsed

SECONDS = 2.0  # that one image may take
MEMORY = 64 << 20  # bytes that one image may take, besides the disk that it makes
LARGEST = 64 << 20  # bytes of a disk that is put together; larger ones are walked only
HEADER = 112
INTERESTING = [0, 1, 7, 8, 9, 255, 511, 512, 513, 65535, 65536, 1 << 31, 1 << 32, 1 << 62, 1 << 63]


def samples() -> list[bytearray]:
    """Images of every kind that can be built in memory."""
    noise = random.Random(0)
    pieces = {n: noise.randbytes(512) for n in (0, 1, 2, 70, 71, 149)}
    packed = {5: deflated(b"a" * 512), 6: deflated(noise.randbytes(300).ljust(512))}
    mixed = {"clusters": 150, "data": pieces, "compressed": packed, "zero": {9: False, 10: True}}
    large = {1: noise.randbytes(1 << 14), 2: b"x" * (1 << 14)}
    names = extension(0x6803F857, bytes(96))
    images = [
        Image(**mixed),
        Image(**mixed | {"version": 2, "zero": {}}),
        Image(**mixed, extensions=names, incompatible=1, compatible=1, cut=100),
        Image(5, large, cluster_bits=14, incompatible=16, bitmaps={1: 0xFF00FF, 2: 1 << 40}),
        Image(5, large, {3: deflated(bytes(1 << 14))}, cluster_bits=14),
    ]
    return [image.build() for image in images]


def damage(file: bytearray, source: random.Random) -> None:
    """Changes bits, bytes and words, mostly of header and tables; sometimes cuts the file."""
    words = [int.from_bytes(file[at : at + 8], "big") for at in range(0, min(len(file), 4096), 8)]
    words = [word for word in words if word]
    for _ in range(source.choice([1, 1, 1, 2, 3, 8])):
        limit = source.choice([HEADER, HEADER, 1024, 1 << 13, len(file)])
        at = source.randrange(min(limit, len(file)))
        how = source.randrange(6)
        if how == 0:
            file[at] ^= 1 << source.randrange(8)
        elif how == 1:
            file[at] = source.randrange(256)
        elif how == 2:
            width = source.choice([2, 4, 8])
            value = source.choice(INTERESTING) + source.randrange(-1, 2)
            new = (value % (1 << 8 * width)).to_bytes(width, "big")
            file[at // width * width : at // width * width + width] = new
        elif how == 3:
            value = 512 * source.randrange(len(file) // 256) | source.choice([0, 1, 3]) << 62
            file[at // 8 * 8 : at // 8 * 8 + 8] = value.to_bytes(8, "big")
        elif how == 4 and words:
            value = source.choice(words) ^ 1 << source.randrange(64)
            file[at // 8 * 8 : at // 8 * 8 + 8] = value.to_bytes(8, "big")
        else:
            length = source.randrange(1, 64)
            begin = source.randrange(len(file))
            piece = file[begin : begin + length]
            file[at : at + len(piece)] = piece
    if source.random() < 0.1:
        del file[source.randrange(len(file)) :]


def attempt(file: bytearray) -> str:
    """What came of an image: accepted, or how it was refused."""
    try:
        if parsed(file).size > LARGEST:
            parsed(file).check()
        else:
            disk(file)
    except FormatError as error:
        # Without numbers, messages tell which checks were reached.
        return " ".join(word for word in str(error).split() if not any(map(str.isdigit, word)))
    except InflateError:
        return "does not inflate"
    return "accepted"


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzzes the qcow2 parser.")
    parser.add_argument("--minutes", type=float, default=1.0, help="of the processor")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE")
    options = parser.parse_args()
    corpus = samples() + [bytearray(path.read_bytes()) for path in options.images]
    for file in corpus:
        assert attempt(bytearray(file)) == "accepted"
    outcomes: Counter[str] = Counter()
    deadline = time.process_time() + 60 * options.minutes
    number = 0
    while time.process_time() < deadline:
        number += 1
        source = random.Random(options.seed * 1_000_003 + number)
        file = bytearray(source.choice(corpus))
        damage(file, source)
        measured = number % 50 == 0  # it makes all slow
        if measured:
            tracemalloc.start()
        started = time.process_time()
        try:
            outcomes[attempt(bytearray(file))] += 1
            taken = time.process_time() - started
            assert measured or taken < SECONDS, f"{taken:.1f} s"
            if measured:
                peak = tracemalloc.get_traced_memory()[1]
                assert peak < MEMORY + 2 * LARGEST, f"{peak} bytes"
        except BaseException:
            kept = Path(f"fuzz-{options.seed}-{number}.qcow2")
            kept.write_bytes(file)
            print(f"failed: {kept}, --seed {options.seed}, number {number}", file=sys.stderr)
            raise
        finally:
            tracemalloc.stop()
    for outcome, times in outcomes.most_common(40):
        print(f"{times:9} {outcome[:110]}")
    print(f"{number} images, {len(outcomes)} outcomes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
