"""The converters to compare, and the limit: the best that the disk can do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from goals import LIMITS, OURS, PEERS, VERIFIED
from images import PAGE, Image

TOP = Path(__file__).resolve().parent.parent
QCOW2RAW = TOP / "converter/qcow2raw.py"
# The fastest options of nbdcopy: searching for zeros, larger requests and direct I/O are slower.
PARALLEL = ("--connections=4", "--requests=64", "--threads=2", "--sparse=0")

# Copies parts of a file in parallel streams; fails if one of them does.
STREAMS = """
source=$1 target=$2 part=$3 streams=$4 flags=$5
pids=
for number in $(seq 0 $((streams - 1))); do
    at=$((number * part))
    dd if="$source" of="$target" bs=4M conv=notrunc status=none count="$part" \\
        skip="$at" seek="$at" iflag="${flags}fullblock,skip_bytes,count_bytes" \\
        oflag=direct,seek_bytes &
    pids="$pids $!"
done
for pid in $pids; do wait "$pid" || exit 1; done
"""


@dataclass(frozen=True)
class Contender:
    """A program that copies an image.

    Attributes:
        argv: makes its command line from the image, the target, and whether the image is cached.
        copies: whether the target holds the image's contents afterwards.
    """

    name: str
    argv: Callable[[Image, Path, bool], list[str]]
    copies: bool = True


def everyone() -> list[Contender]:
    """All contenders, in the order of the tables."""
    qemu = ["qemu-img", "convert"]
    tuned = [*qemu, "-f", "qcow2", "-O", "raw", "-n", "-W", "-m", "16", "-t", "none"]
    serve = ["qemu-nbd", "--read-only", "--format=qcow2"]
    commands: dict[str, tuple[list[str], list[str]]] = {
        OURS: ([str(QCOW2RAW), "--force", "--progress=none"], []),
        VERIFIED: ([str(QCOW2RAW), "--force", "--progress=none", "--verify"], []),
        "qemu-img": ([*qemu, "-O", "raw"], []),
        "qemu-img none": ([*tuned, "-T", "none"], []),
        "qemu-img wb": ([*tuned, "-T", "writeback"], []),
        "nbdcopy": (["nbdcopy", "--", "[", *serve], ["]"]),
        "nbdcopy tuned": (["nbdcopy", *PARALLEL, "--", "[", *serve, "--shared=4"], ["]"]),
    }
    assert set(commands) == {OURS, VERIFIED, *PEERS}
    return [
        *(Contender(name, _program(*command)) for name, command in commands.items()),
        *(Contender(name, _limit(int(name.split()[1])), copies=False) for name in LIMITS),
    ]


def takes_part(contender: Contender, image: Image) -> bool:
    """Whether a contender copies this image; the limit does not apply to compressed images."""
    return contender.copies or image.name in ("plain", "fragmented")


def _program(head: list[str], tail: list[str]) -> Callable[[Image, Path, bool], list[str]]:
    def argv(image: Image, target: Path, cached: bool) -> list[str]:  # noqa: ARG001
        return [*head, str(image.path), *tail, str(target)]

    return argv


def _limit(streams: int) -> Callable[[Image, Path, bool], list[str]]:
    """Copies as many bytes of the image's file as the image has data, in order, by dd."""

    def argv(image: Image, target: Path, cached: bool) -> list[str]:
        part = min(image.data, image.path.stat().st_size) // streams // PAGE * PAGE
        words = [str(image.path), str(target), str(part), str(streams)]
        return ["sh", "-c", STREAMS, "sh", *words, "" if cached else "direct,"]

    return argv
