"""Runs helper programs for the duration of a block, such as qemu-nbd."""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from os import PathLike
from queue import Empty, Queue
from typing import Any

from node.errors import KitError
from node.log import log
from node.run import TAIL_LINES, end, spawn

_TICK = 0.05  # polling interval, seconds

_HINT = "debug mode shows all its output"


class _Helper:
    """A running program, and the last lines of its stderr."""

    def __init__(
        self,
        argv: Sequence[str | PathLike[str]],
        what: str,
        env: Mapping[str, str] | None,
        stdin: Queue[str | None] | int,
        on_stdout: Callable[[str], None] | int,
    ) -> None:
        self.what = what
        self.complaints: deque[str] = deque(maxlen=TAIL_LINES)  # lines of stderr, newest last
        self._process: Any = spawn(
            argv,
            what=what,
            stdin=stdin,
            on_stdout=on_stdout,
            on_stderr=self._complain,
            env=env,
            ends_with_us=True,
        )

    def _complain(self, line: str) -> None:
        log.debug("%s: %s", self.what, line.rstrip("\n"))
        if line.strip():
            self.complaints.append(line.strip())

    @property
    def pid(self) -> int:
        """The number of the program's process."""
        return int(self._process.pid)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self._process.is_alive())

    @property
    def last_words(self) -> str:
        """The last line of its stderr."""
        return self.complaints[-1] if self.complaints else "it ended without a message"

    def complained(self, word: str) -> bool:
        """Whether a word is in the last lines of its stderr."""
        return any(word in line for line in list(self.complaints))

    def stop(self, grace: float) -> None:
        """Closes its stdin, waits up to `grace` seconds for its end, then kills its group."""
        self._close_stdin()
        try:
            deadline = time.monotonic() + grace
            while self.running and time.monotonic() < deadline:
                time.sleep(_TICK)
        finally:
            end(self._process)

    def _close_stdin(self) -> None:
        raise NotImplementedError


class Service(_Helper):
    """A running program whose stdin is written and whose stdout is read line by line.

    Its stdin stays open until the block ends, so the program can see when it is no longer needed.
    """

    def __init__(
        self, argv: Sequence[str | PathLike[str]], what: str, env: Mapping[str, str] | None
    ) -> None:
        self.exit_code: int | None = None  # once it has ended; negative: by that signal
        self._input: Queue[str | None] = Queue()
        self._lines: Queue[str] = Queue()
        super().__init__(
            argv, what, env, self._input, lambda line: self._lines.put(line.rstrip("\n"))
        )

    def send(self, line: str) -> None:
        """Writes a line to its stdin."""
        self._input.put(line + "\n")

    def line(self, seconds: float) -> str:
        """The next line of its stdout, without the newline.

        Raises:
            KitError: it ended, or printed nothing for `seconds`.
        """
        found: list[str] = []

        def came(seconds: float) -> bool:
            with suppress(Empty):
                found.append(self._lines.get(timeout=seconds))
            return bool(found)

        self._await(came, seconds)
        return found[0]

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Waits until the program has made a condition true.

        Raises:
            KitError: it ended before (with its last line of stderr), or `seconds` have passed.
        """

        def holds(seconds: float) -> bool:
            if condition():
                return True
            time.sleep(seconds)
            return condition()

        self._await(holds, seconds)

    def _await(self, waited: Callable[[float], bool], seconds: float) -> None:
        """Calls `waited` until it returns True; it waits for the seconds that it is given."""
        deadline = time.monotonic() + seconds
        while not waited(_TICK):
            if not self.running:
                self.exit_code = self._process.process.wait()  # until all its output has been read
                if waited(_TICK):
                    return
                raise KitError(f"{self.what}: {self.last_words}", hint=_HINT)
            if time.monotonic() > deadline:
                raise KitError(f"{self.what}: no answer within {seconds:.0f} s", hint=_HINT)

    def _close_stdin(self) -> None:
        self._input.put(None)


class BinaryService(_Helper):
    """A running program with one socket as its stdin and stdout, for binary data.

    Attributes:
        channel: our end of the socket; it has no timeout.
    """

    def __init__(
        self, argv: Sequence[str | PathLike[str]], what: str, env: Mapping[str, str] | None
    ) -> None:
        self.channel, own = socket.socketpair()
        try:
            with own:
                super().__init__(argv, what, env, own.fileno(), own.fileno())
        except BaseException:
            self.channel.close()
            raise

    def _close_stdin(self) -> None:
        with suppress(OSError):  # it has ended
            self.channel.shutdown(socket.SHUT_WR)

    def stop(self, grace: float) -> None:
        """Also closes the socket."""
        try:
            super().stop(grace)
        finally:
            self.channel.close()


@contextmanager
def serving(
    argv: Sequence[str | PathLike[str]],
    *,
    what: str,
    env: Mapping[str, str] | None = None,
    grace: float = 0.0,
) -> Iterator[Service]:
    """Runs a program during the block and ends it afterwards, also after an error.

    If SIGKILL ends us, this code cannot run: the kernel then ends the program. It also does so at
    the end of the thread that calls this (`ends_with_us` of `node.run.start`).

    Args:
        argv: the program and its arguments.
        what: how errors name it.
        env: added to the fixed environment of `node.run`.
        grace: seconds it may take to end by itself after its stdin is closed.

    Raises:
        KitError: it does not exist or cannot be executed.
    """
    service = Service(argv, what, env)
    try:
        yield service
    finally:
        service.stop(grace)


@contextmanager
def serving_binary(
    argv: Sequence[str | PathLike[str]],
    *,
    what: str,
    env: Mapping[str, str] | None = None,
    grace: float = 0.0,
) -> Iterator[BinaryService]:
    """Like `serving`, for a program that reads and writes binary data."""
    service = BinaryService(argv, what, env)
    try:
        yield service
    finally:
        service.stop(grace)
