"""Programs that serve us for a while: they run as long as a block does."""

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

_TICK = 0.05  # seconds between two looks at what has no other way to tell us

_HINT = "debug mode shows all that it prints"


class Service:
    """A running program: we may write lines to it, and read the lines that it writes.

    Its stdin stays open until the block ends, so a program can tell that it is not needed any more.
    """

    def __init__(
        self, argv: Sequence[str | PathLike[str]], what: str, env: Mapping[str, str] | None
    ) -> None:
        self.what = what
        self.complaints: deque[str] = deque(maxlen=TAIL_LINES)  # of stderr, the newest last
        self._input: Queue[str | None] = Queue()
        self._lines: Queue[str] = Queue()
        self._process: Any = spawn(
            argv,
            what=what,
            stdin=self._input,
            on_stdout=lambda line: self._lines.put(line.rstrip("\n")),
            on_stderr=self._complain,
            env=env,
        )

    def _complain(self, line: str) -> None:
        log.debug("%s: %s", self.what, line.rstrip("\n"))
        if line.strip():
            self.complaints.append(line.strip())

    @property
    def pid(self) -> int:
        """The program's process."""
        return int(self._process.pid)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self._process.is_alive())

    def send(self, line: str) -> None:
        """Writes a line to its stdin."""
        self._input.put(line + "\n")

    def line(self, seconds: float) -> str:
        """The next line of its stdout, without the newline.

        Raises:
            KitError: it ended, or says nothing for so many seconds.
        """
        found: list[str] = []

        def came(seconds: float) -> bool:
            with suppress(Empty):
                found.append(self._lines.get(timeout=seconds))
            return bool(found)

        self._await(came, seconds)
        return found[0]

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Waits until a condition holds that the program brings about.

        Raises:
            KitError: it ended before, with the last thing it said; or so many seconds are over.
        """

        def holds(seconds: float) -> bool:
            if condition():
                return True
            time.sleep(seconds)
            return condition()

        self._await(holds, seconds)

    def _await(self, waited: Callable[[float], bool], seconds: float) -> None:
        """`waited` waits for some seconds, and says whether it has come."""
        deadline = time.monotonic() + seconds
        while not waited(_TICK):
            if not self.running:
                self._process.process.wait()  # for the threads that read its output
                if waited(_TICK):
                    return
                raise KitError(f"{self.what}: {self.last_words}", hint=_HINT)
            if time.monotonic() > deadline:
                raise KitError(f"{self.what}: no answer in {seconds:.0f} s", hint=_HINT)

    @property
    def last_words(self) -> str:
        """The last line of its stderr."""
        return self.complaints[-1] if self.complaints else "it ended without a message"

    def complained(self, word: str) -> bool:
        """Whether a word stands in the last lines of its stderr."""
        return any(word in line for line in list(self.complaints))

    def stop(self, grace: float) -> None:
        """Closes its stdin, gives it so many seconds to end by itself, then kills its group."""
        self._input.put(None)
        try:
            deadline = time.monotonic() + grace
            while self.running and time.monotonic() < deadline:
                time.sleep(_TICK)
        finally:
            end(self._process)


@contextmanager
def serving(
    argv: Sequence[str | PathLike[str]],
    *,
    what: str,
    env: Mapping[str, str] | None = None,
    grace: float = 0.0,
) -> Iterator[Service]:
    """Runs a program until the block ends, however it ends.

    After our SIGKILL nothing here runs: the program's own command line has to see to that
    (`setpriv --pdeathsig`).

    Args:
        argv: the program and its arguments.
        what: the phrase for errors.
        env: added to the fixed environment of `node.run`.
        grace: seconds that it gets to end by itself once its stdin is closed.

    Raises:
        KitError: it does not exist or cannot be executed.
    """
    service = Service(argv, what, env)
    try:
        yield service
    finally:
        service.stop(grace)
