"""Every kind of qcow2 image, sound and damaged, on a target that is larger and was in use."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.converter import corpus
from tests.system.converter.support import (
    FAILED,
    MIB,
    REFUSED,
    Outcome,
    loop,
    output,
    qcow2raw,
    raw_of,
    warm_here,
)
from tests.unit.converter.qcow2_images import disk

# These are run as users do, with the program's own start.
COLD = {"empty", "clusters of 65536", "clusters too small", "half missing, compressed", "zlib"}
TARGET = 20 * MIB + 4096
OLD = b"\xa5"
Convert = Callable[[str, Path, Path], Outcome]


class Target:
    """A loop device full of an old tenant's bytes."""

    def __init__(self, file: Path, device: Path) -> None:
        self.file = file
        self.device = device

    def fill(self) -> None:
        with self.device.open("wb", buffering=0) as device:
            device.write(OLD * TARGET)

    def content(self) -> bytes:
        """As another reader finds it: of the device, past what is cached of it."""
        output("blockdev", "--flushbufs", self.device)
        return self.device.read_bytes()


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    file = tmp_path_factory.mktemp("corpus") / "target"
    with file.open("wb") as out:
        out.truncate(TARGET)
    with loop(file, read_only=False) as path:
        yield Target(file, path)
    file.unlink()


@pytest.fixture(scope="module")
def convert() -> Iterator[Convert]:
    """Converts the image of a case, without the start of the program each time."""
    with warm_here() as warm:
        yield lambda name, *words: (qcow2raw if name in COLD else warm.qcow2raw)(*words)


@pytest.fixture
def target(device: Target) -> Target:
    device.fill()
    return device


@pytest.mark.parametrize("seed", range(25))
def test_random_images_give_the_bytes_that_qemu_reads(seed: int, tmp_path: Path) -> None:
    """Through the parser alone, which is quicker."""
    image = corpus.make(tmp_path / "image", [corpus.random_io(seed)])
    expected = raw_of(image, tmp_path / "raw").read_bytes()
    assert disk(image.read_bytes()) == expected


@pytest.mark.parametrize("name", corpus.GOOD)
def test_a_good_image_gives_the_bytes_that_qemu_reads(
    name: str, tmp_path: Path, target: Target, convert: Convert
) -> None:
    image = corpus.make(tmp_path / "image", corpus.GOOD[name])
    expected = raw_of(image, tmp_path / "raw").read_bytes()
    convert(name, image, target.device).done()
    assert target.content() == expected.ljust(TARGET, b"\0")


@pytest.mark.parametrize("name", corpus.BAD)
def test_a_bad_image_is_refused_and_the_target_untouched(
    name: str, tmp_path: Path, target: Target, convert: Convert
) -> None:
    words, steps = corpus.BAD[name]
    image = corpus.make(tmp_path / "image.qcow2", steps)
    convert(name, image, target.device).failed(REFUSED, str(image), words)
    assert target.content() == OLD * TARGET


@pytest.mark.parametrize("name", corpus.SPOILED)
def test_damage_in_the_data_is_found_and_its_place_named(
    name: str, tmp_path: Path, target: Target, convert: Convert
) -> None:
    place, steps = corpus.SPOILED[name]
    image = corpus.make(tmp_path / "image", steps)
    offset = corpus.compressed_place(image, place)
    outcome = convert(name, image, target.device)
    outcome.failed(FAILED if place else REFUSED, str(image), f"at byte {offset} ")
    if not place:
        assert target.content() == OLD * TARGET
