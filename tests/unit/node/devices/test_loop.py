"""The choice of a loop device; the kernel is faked."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from node.devices import loop
from node.devices.claim import Backing
from node.errors import KitError


class Kernel:
    """Opens devices: those in `failing` give an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: dict[str, int]) -> None:
        self.opened: list[str] = []
        self._failing = failing
        self._open = os.open
        monkeypatch.setattr(loop, "_add", lambda *_: None)
        monkeypatch.setattr(loop.os, "open", self.open)
        monkeypatch.setattr(loop.fcntl, "ioctl", lambda *_: 0)

    def open(self, path: Path, *_: Any) -> int:
        self.opened.append(path.name)
        if path.name in self._failing:
            code = self._failing[path.name]
            raise OSError(code, os.strerror(code))
        return self._open(os.devnull, os.O_RDONLY)


@pytest.fixture
def backing() -> Backing:
    return Backing(Path("/srv/disk"), 0, 3, is_block=False)


def test_devices_that_others_use_or_detach_are_left_out(
    monkeypatch: pytest.MonkeyPatch, backing: Backing
) -> None:
    kernel = Kernel(monkeypatch, {"loop10": errno.EBUSY, "loop11": errno.ENXIO})
    device, fd = loop._attach(backing, 0, 0)
    os.close(fd)
    assert device == Path("/dev/loop12")
    assert kernel.opened == ["loop10", "loop11", "loop12"]


def test_other_errors_are_told(monkeypatch: pytest.MonkeyPatch, backing: Backing) -> None:
    Kernel(monkeypatch, {"loop10": errno.EACCES})
    with pytest.raises(KitError, match="loop device /dev/loop10 over /srv/disk: Permission denied"):
        loop._attach(backing, 0, 0)
