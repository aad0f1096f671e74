"""Copies a file or directory of the node into a guest, by libguestfs."""

import os
from contextlib import suppress
from pathlib import Path

from kit.rescue import tree
from kit.rescue.target import Held, Target, held
from kit.rescue.tree import Tree, told
from node.errors import CommandError, KitError
from node.isolation.apart import Channel, apart
from node.run import start

# In the directory of the destination. Only one process can write to a guest, so what a killed copy
# left there can be removed.
PART = ".instance-kit.part"


def copy(target: Target, source: Path, destination: str, partition: str | None) -> None:
    """Copies a file, symlink or directory with owners, modes, times and extended attributes.

    It gets its name in the guest when all of it is there, and is on the disk at the end.

    Raises:
        KitError: the destination exists as a directory, or has none; or it cannot be written.
    """
    what = f"{destination} in {target.name}"
    with (
        held(target, write=True) as disks,
        apart(_receiver(disks, source.name, destination, partition), what) as channel,
    ):
        channel.receive()  # the destination is as it should be
        reading, writing = os.pipe()
        packing = start(
            _packer(source, f"/proc/{os.getpid()}/fd/{writing}"), what=f"packing of {source}"
        )
        try:
            channel.send({}, reading)
            os.close(reading)
            reading = -1
            packing()
        except CommandError as error:
            if "Broken pipe" in error.stderr:
                channel.receive()  # the other process knows why
            os.close(writing)
            writing = -1
            with suppress(KitError, OSError):  # its error is what follows from ours
                channel.send({"error": error.message, "hint": error.hint})
                channel.receive()  # it has removed what came, and unmounted the guest
            raise
        finally:
            packing.end()
            for descriptor in (reading, writing):
                if descriptor >= 0:
                    os.close(descriptor)
        channel.send({})  # all was read
        channel.receive()


def _packer(source: Path, archive: str) -> list[str]:
    attributes = ("--acls", "--xattrs", "--xattrs-include=*")
    where = (f"--directory={source.parent}", f"./{source.name}")
    return [
        *("tar", "--create", "--sparse", f"--file={archive}", "--numeric-owner"),
        *(*attributes, *where),
    ]


def _receiver(disks: list[Held], name: str, destination: str, partition: str | None) -> tree.Work:
    """The work of the confined process: unpacks what comes from the pipe that it gets."""

    def work(channel: Channel) -> None:
        with tree.opened(disks, write=True) as opened:
            opened.mount(partition)
            with told(f"{destination} in the guest"):
                directory, final = _place(opened, name, destination)
                channel.send({})
                _, pipe = channel.receive()
                _unpack(opened, directory, name, final, f"/proc/self/fd/{pipe}", channel)
        channel.send({})

    return work


def _place(opened: Tree, name: str, destination: str) -> tuple[str, str]:
    """The real path of the directory in the guest, and the name in it.

    Raises:
        KitError: the directory does not exist, or the name is a directory's.
    """
    handle = opened.handle
    if handle.is_dir(destination, followsymlinks=True):
        directory = handle.realpath(destination)
    else:
        above, _, name = destination.rstrip("/").rpartition("/")
        if destination.endswith("/") or not handle.is_dir(above or "/", followsymlinks=True):
            raise KitError(f"{destination}: the guest has no such directory", hint="mkdir it first")
        directory = handle.realpath(above or "/")
    final = f"{directory.rstrip('/')}/{name}"
    if handle.is_dir(final):
        raise KitError(
            f"{final}: the guest has it, and directories are not merged",
            hint="name another destination, or remove it first: instance-kit shell --write",
        )
    return directory, final


def _unpack(
    opened: Tree, directory: str, name: str, final: str, pipe: str, channel: Channel
) -> None:
    handle = opened.handle
    part = f"{directory.rstrip('/')}/{PART}"
    handle.rm_rf(part)
    handle.mkdir_mode(part, 0o700)
    try:
        handle.tar_in(pipe, part, xattrs=True, acls=True)
        channel.receive()
        handle.rename(f"{part}/{name}", final)
    finally:
        handle.rm_rf(part)
