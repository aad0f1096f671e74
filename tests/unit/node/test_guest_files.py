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


class Immutable(Handle):
    """A file that no other one can take the place of."""

    def __init__(self) -> None:
        super().__init__(None)
        self.files = {"/etc/hosts": b"old\n"}
        self.moved = ""

    def is_file(self, path: str, *, followsymlinks: bool) -> bool:
        return path in self.files and followsymlinks

    def realpath(self, path: str) -> str:
        return path

    def write(self, path: str, content: bytes) -> None:
        self.files[path] = content

    def rm_f(self, path: str) -> None:
        self.files.pop(path, None)

    def chmod(self, _mode: int, path: str) -> None:
        assert path in self.files

    def copy_attributes(self, old: str, new: str, *, all: bool) -> None:  # noqa: A002 - libguestfs's
        assert {old, new} <= self.files.keys() and all

    def sync(self) -> None:
        pass

    def mv(self, old: str, new: str) -> None:
        self.moved = old
        raise RuntimeError(f"mv: {old}: {new}: Operation not permitted")


def test_a_file_that_cannot_be_replaced_leaves_nothing_beside_it() -> None:
    handle = Immutable()
    with pytest.raises(KitError, match=r"^/etc/hosts in the guest: .*not permitted") as got:
        GuestFiles(handle).replace("/etc/hosts", "new\n")
    assert handle.files == {"/etc/hosts": b"old\n"}
    # What is left by a kill at this moment is no file of `interfaces.d/*` or NetworkManager's.
    assert handle.moved == "/etc/.hosts.kit-new"
    assert got.value.hint is not None and "chattr -i" in got.value.hint
