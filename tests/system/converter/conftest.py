"""An image and a target for tests that need no special ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.converter import support
from tests.system.converter.nbd_device import served
from tests.system.converter.support import MIB, SIZE, TARGET, Write


@pytest.fixture
def no_program_stays(tmp_path: Path) -> Iterator[None]:
    """Once the test is over, no program that names its directory runs any more."""
    yield
    support.require_nothing_left(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Data, compressed clusters, zeros and holes; what it holds is in image.raw."""
    image = support.qcow2(
        tmp_path / "image.qcow2",
        SIZE,
        Write(0, support.noise(2 * MIB, 1)),
        Write(3 * MIB, support.prose(2 * MIB, 2), compressed=True),
        Write(6 * MIB, MIB),
        Write(9 * MIB + 512, support.noise(MIB, 3)),
    )
    support.raw_of(image, tmp_path / "image.raw")
    return image


@pytest.fixture
def reference(image: Path) -> Path:
    """What the image holds."""
    return image.with_suffix(".raw")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A dirty device, larger than the image."""
    with support.target(tmp_path / "target", TARGET) as device:
        yield device


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Path]:
    """A dirty device of which a copy of `image` takes some 4 seconds, on a busy machine more.

    It reads fast, and takes one request to write after the other, each in its time: from the
    first byte on, there is as much time to stop the copy as there are writes.
    """
    filters = ("--filter=noparallel", "--filter=delay")
    file = support.dirty(tmp_path / "slow", TARGET)
    parameters = ("serialize=requests", "wdelay=200ms")
    with served(tmp_path, *filters, "file", file, *parameters) as device:
        yield device.path
