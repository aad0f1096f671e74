"""What programs of a guest may say and take, by a libguestfs that runs nothing."""

import os
import threading

import pytest

from node import guest_files
from node.errors import KitError
from node.guest_files import GuestFiles

QEMU = 4711


class Handle:
    """Fails as libguestfs does; without an answer, not before its QEMU is gone."""

    def __init__(self, answer: str | None) -> None:
        self._answer = answer
        self.gone = threading.Event()

    def get_pid(self) -> int:
        return QEMU

    def command(self, _argv: list[str]) -> str:
        if self._answer is None:
            self.gone.wait()
        raise RuntimeError(self._answer or "appliance closed the connection unexpectedly")


def test_a_program_of_a_guest_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Handle(None)
    killed = []

    def kill(process: int, _number: int) -> None:
        killed.append(process)
        handle.gone.set()

    monkeypatch.setattr(guest_files, "RUN_SECONDS", 0)
    monkeypatch.setattr(os, "kill", kill)
    with pytest.raises(KitError, match=r"^grub-install of the guest.* did not end in 0 s$"):
        GuestFiles(handle).run(["grub-install"])
    assert killed == [QEMU]


def test_a_program_of_a_guest_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    said = "\n".join(f"line {number} {'x' * 1000}" for number in range(1000))
    with pytest.raises(KitError) as caught:
        GuestFiles(Handle(said)).run(["grub-install"])
    assert "line 999" in caught.value.message
    assert len(caught.value.message) < 400
    assert len(caplog.records) <= 20
