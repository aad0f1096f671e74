"""Copies into a guest whose libguestfs takes every archive."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from kit.rescue import copy_in, tree
from kit.rescue.target import Target
from kit.rescue.tree import Tree, Work
from node.errors import CommandError, KitError
from node.isolation.apart import Channel


class Handle:
    """A guest with a directory /srv; remembers what was done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.before_the_kill: list[str] = []

    def is_dir(self, path: str, **_options: bool) -> bool:
        return path == "/srv"

    def realpath(self, path: str) -> str:
        return path

    def mkdir_mode(self, path: str, _mode: int) -> None:
        self.done.append(f"mkdir {path}")

    def rm_rf(self, path: str) -> None:
        self.done.append(f"rm {path}")

    def rename(self, old: str, new: str) -> None:
        self.done.append(f"mv {old} {new}")

    def tar_in(self, pipe: str, _directory: str, **_options: bool) -> None:
        with open(pipe, "rb") as file:  # noqa: PTH123 - a descriptor's name
            self.done.append(f"tar {file.read().decode()}")


class Mounting(Tree):
    def mount(self, _partition: str | None) -> tree.Mounted:
        return tree.Mounted((), ())


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    handle = Handle()

    @contextmanager
    def opened(_disks: object, *, write: bool) -> Iterator[Tree]:
        yield Mounting(handle, write=write)
        handle.done.append("unmounted")

    @contextmanager
    def apart(work: Work, what: str) -> Iterator[Channel]:
        """A thread in place of the process, which would be killed at the end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel = Channel(theirs, what)

        def act() -> None:
            try:
                work(channel)
            except KitError as error:
                channel.send({"error": error.message, "hint": error.hint})

        thread = threading.Thread(target=act)
        thread.start()
        try:
            yield Channel(ours, what)
        finally:
            handle.before_the_kill = list(handle.done)
            ours.close()
            thread.join()
            theirs.close()

    monkeypatch.setattr(copy_in, "held", lambda *_, **__: nullcontext([]))
    monkeypatch.setattr(copy_in, "apart", apart)
    monkeypatch.setattr(tree, "opened", opened)
    return handle


def packed(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Lets a tar write an archive, and end as `then` does."""

    class Packing:
        def __init__(self, argv: list[str], *, what: str) -> None:
            assert what == "packing of /etc/motd"
            self.archive = next(word for word in argv if word.startswith("--file=")).partition("=")

        def __call__(self) -> None:
            with open(self.archive[2], "wb") as file:  # noqa: PTH123 - a descriptor's name
                file.write(b"archive")
            then()

        def end(self) -> None:
            pass

    monkeypatch.setattr(copy_in, "start", Packing)


def copy() -> None:
    copy_in.copy(Target("web", ()), Path("/etc/motd"), "/srv", None)


BEGUN = ["rm /srv/.instance-kit.part", "mkdir /srv/.instance-kit.part", "tar archive"]


def test_the_name_comes_last(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(monkeypatch, lambda: None)
    copy()
    end = ["mv /srv/.instance-kit.part/motd /srv/motd", BEGUN[0], "unmounted"]
    assert handle.before_the_kill == [*BEGUN, *end]


def test_a_source_that_changes_leaves_nothing_in_the_guest(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed() -> None:
        why = "file changed as we read it"
        raise CommandError(f"packing: {why}", exit_code=1, stdout="", stderr=why, hint="again")

    packed(monkeypatch, changed)
    with pytest.raises(CommandError, match="file changed as we read it"):
        copy()
    assert handle.before_the_kill == [*BEGUN, BEGUN[0]]
