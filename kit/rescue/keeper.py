"""The background process of a mount: it holds the disks and waits for the end of the mount."""

import json
import logging
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from kit.rescue import records, tree
from kit.rescue.records import Record
from kit.rescue.target import Held, Target, held
from node import mount_fds
from node.cleanup import Terminated
from node.errors import KitError
from node.files import kernel_text
from node.isolation.apart import Channel, Message, apart
from node.isolation.mount import unmount
from node.log import flush, log
from node.processes import PROC, Mount, mounts
from node.program import failure_of

_TICK = 1000  # milliseconds until the mounts are looked at again, if the kernel tells of no change


def server(disks: list[Held], partition: str | None, *, write: bool) -> tree.Work:
    """The work of the confined process that serves a tree; for `node.isolation.apart`.

    It sends what is mounted, with the descriptor of the FUSE mount; and an empty message once the
    mount has ended and all that was written is in the disks' files.
    """

    def work(channel: Channel) -> None:
        with tree.opened(disks, write=write) as opened:
            found = opened.mount(partition)
            places = [[place.device, place.point] for place in found.places]
            descriptor = opened.serve()
            channel.send({"places": places, "left_out": found.left_out}, descriptor)
            os.close(descriptor)
            opened.answer()
        channel.send({})

    return work


@contextmanager
def served(
    target: Target, directory: Path, partition: str | None, *, write: bool
) -> Iterator[tuple[Message, Channel]]:
    """Mounts a tree on a directory; at the end it is unmounted, and what was written is on disk.

    Yields:
        What is mounted, and the channel to the process that serves it.

    Raises:
        KitError: it cannot be mounted; or, at the end, something holds it, or could not be written.
    """
    what = f"file systems of {target.name}"
    with (
        held(target, write=write) as disks,
        apart(server(disks, partition, write=write), what) as channel,
    ):
        message, descriptor = channel.receive()
        if descriptor is None:
            raise KitError(f"{what}: no FUSE mount came", hint="run it again")
        try:
            mount_fds.attach(descriptor, directory)
        finally:
            os.close(descriptor)
        abort = mount_fds.fuse_abort(_mount_on(directory).device)
        try:
            yield message, channel
        finally:
            _end(directory, abort, channel)


def _end(directory: Path, abort: int, channel: Channel) -> None:
    """Ends a mount and waits for the process that serves it.

    A mount that is in use is ended all the same, after its time: what was written has to get to the
    disk.
    """
    busy: KitError | None = None
    try:
        if records.is_mounted(directory):
            unmount(directory)
    except KitError as error:
        busy = error
    os.write(abort, b"1")
    os.close(abort)
    channel.receive()
    if busy:
        raise busy


def _mount_on(directory: Path) -> Mount:
    found = [each for each in _mounts() if each.point == directory]
    if not found:
        raise KitError(f"mount point {directory}: it was unmounted at once", hint="run it again")
    return found[-1]


def _mounts() -> list[Mount]:
    return mounts(kernel_text(PROC / "self/mountinfo"))


def in_background(record: Record, target: Target, partition: str | None) -> Message:
    """Starts a process that serves a mount until its end; returns what is mounted.

    Raises:
        KitError: it cannot be mounted.
        Terminated: a signal came meanwhile; the process has ended.
    """
    ours, theirs = os.pipe()
    flush()
    child = 0
    try:
        # Signals are not blocked: the process must not inherit that. If one comes before `child` is
        # set, the process ends when it finds the pipe closed.
        child = os.fork()
        if child == 0:
            os.close(ours)
            _background(record, target, partition, theirs)
        os.close(theirs)
        theirs = -1
        message: Message = json.loads(_line(ours) or b"{}")
    except BaseException:
        if child:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
        raise
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
    if "places" not in message:
        os.waitpid(child, 0)
        why = message.get("error", f"mount of {target.name}: its process ended unexpectedly")
        raise KitError(why, hint=message.get("hint", "see dmesg; --debug shows more"))
    return message


def _line(pipe: int) -> bytes:
    """What comes up to a line's end; not up to its closing: the confined process has it open."""
    found = b""
    while not found.endswith(b"\n"):
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return b""
        found += piece
    return found


def _background(record: Record, target: Target, partition: str | None, pipe: int) -> None:
    """The process: never returns."""
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        _leave_streams()
        _serve(replace(record, pid=os.getpid()), target, partition, pipe)
        code = 0
    except Terminated:
        code = 0
    except Exception as error:  # whatever it is, the user has to know
        failure = failure_of(error, 1, "--debug")
        with suppress(OSError):  # nobody waits for it any more
            _tell(pipe, {"error": failure.message, "hint": failure.hint})
    finally:
        flush()
        os._exit(code)


def _serve(record: Record, target: Target, partition: str | None, pipe: int) -> None:
    directory = Path(record.directory)
    with (
        records.begun(record) as keep_error,
        served(target, directory, partition, write=record.write) as (message, channel),
    ):
        _tell(pipe, message)
        keep_error()
        _await_end(directory, channel)


def _await_end(directory: Path, channel: Channel) -> None:
    """Waits until the mount is gone, or the process that serves it."""
    number = _mount_on(directory).id
    with (PROC / "self/mountinfo").open("rb") as table:
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        poll.register(table.fileno(), select.POLLPRI)
        while any(each.id == number for each in _mounts()):
            if channel.fileno() in (descriptor for descriptor, _ in poll.poll(_TICK)):
                return


def _tell(pipe: int, message: dict[str, Any]) -> None:
    """Tells the process that the user waits for.

    Raises:
        OSError: it has been ended, so the mount must end, too.
    """
    data = memoryview(json.dumps(message).encode() + b"\n")
    while data:
        data = data[os.write(pipe, data) :]


def _leave_streams() -> None:
    """Leaves the terminal, or pipes whose end somebody waits for; in debug mode, not stderr."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for stream in (0, 1) if log.isEnabledFor(logging.DEBUG) else (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)
