"""Every kind of qcow2 image, sound and damaged, on a target that is larger and was in use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import corpus
from tests.system.convert_support import FAILED, MIB, REFUSED, loop, output, qcow2raw, raw_of
from tests.unit.converter.qcow2_images import disk

TARGET = 20 * MIB + 4096
OLD = b"\xa5"


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


@pytest.fixture
def target(device: Target) -> Target:
    device.fill()
    return device


@pytest.mark.parametrize("name", corpus.GOOD)
def test_a_good_image_gives_the_bytes_that_qemu_reads(
    name: str, tmp_path: Path, target: Target
) -> None:
    image = corpus.make(tmp_path / "image", corpus.GOOD[name])
    expected = raw_of(image, tmp_path / "raw").read_bytes()
    qcow2raw(image, target.device).done()
    assert target.content() == expected.ljust(TARGET, b"\0")


@pytest.mark.parametrize("name", corpus.BAD)
def test_a_bad_image_is_refused_and_the_target_untouched(
    name: str, tmp_path: Path, target: Target
) -> None:
    words, steps = corpus.BAD[name]
    image = corpus.make(tmp_path / "image.qcow2", steps)
    qcow2raw(image, target.device).failed(REFUSED, str(image), words)
    assert target.content() == OLD * TARGET


@pytest.mark.parametrize("name", corpus.SPOILED)
def test_damage_in_the_data_is_found_and_its_place_named(
    name: str, tmp_path: Path, target: Target
) -> None:
    place, steps = corpus.SPOILED[name]
    image = corpus.make(tmp_path / "image", steps)
    offset = corpus.compressed_place(image, place)
    outcome = qcow2raw(image, target.device)
    outcome.failed(FAILED if place else REFUSED, str(image), f"at byte {offset} ")
    if not place:
        assert target.content() == OLD * TARGET


@pytest.mark.parametrize("seed", range(25))
def test_random_images_give_the_bytes_that_qemu_reads(seed: int, tmp_path: Path) -> None:
    """Through the parser alone, which is quicker."""
    image = corpus.make(tmp_path / "image", [corpus.random_io(seed)])
    expected = raw_of(image, tmp_path / "raw").read_bytes()
    assert disk(image.read_bytes()) == expected
