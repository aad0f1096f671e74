"""Watches a backup job while it is read: free space for its scratch files, and the guest's state.

The watching is done by a script beside QEMU (`watch_script`), which acts alone when the connection
is cut; this is its client.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from converter import PartedProgress, Progress
from importer.copying.jobs.job import RESERVE
from importer.copying.jobs.watch_script import command
from importer.errors import HostLost, JobAborted
from importer.host.connection import KvmHost
from node.cleanup import signals_blocked
from node.errors import KitError
from node.log import log
from node.service import Service
from node.text import size

ALIVE_SECONDS = 5.0
SILENCE_SECONDS = 45  # as ssh's own: three times ServerAliveInterval
ANSWER_SECONDS = 20.0

PATIENCE_SECONDS = 600

Armed = Literal["suspended", "stopped"]


class Watch:
    """The running script. Other threads may ask `failure`."""

    def __init__(self, service: Service, host: str, domain: str, directory: str) -> None:
        self._service = service
        self._host, self._domain, self._directory = host, domain, directory
        self._failure: KitError | None = None
        self._armed, self._ended = threading.Event(), threading.Event()
        self._closing = threading.Event()
        with signals_blocked():
            self._thread = threading.Thread(target=self._listen, daemon=True)
            self._thread.start()

    @property
    def failure(self) -> KitError | None:
        """Why the copy cannot go on: JobAborted or HostLost; None if all is well."""
        return self._failure

    def check(self) -> None:
        """Raises the failure, if there is one."""
        if self._failure is not None:
            raise self._failure

    def arm(self, state: Armed) -> None:
        """Makes the script run the domain again if the connection is cut from now on.

        Raises:
            KitError: it does not answer.
        """
        self._armed.clear()
        self._tell(f"arm {state}", self._armed)

    def end(self) -> None:
        """Ends the watching: from now on, the script does nothing more.

        Raises:
            KitError: it does not answer: it may be cut off, and an armed one runs the domain again.
        """
        if not self._ended.is_set():
            self._tell("end", self._ended)

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._thread.join()

    def _tell(self, line: str, answer: threading.Event) -> None:
        self.check()
        self._service.send(line)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not answer.wait(0.02):
            self.check()
            if time.monotonic() > deadline:
                raise HostLost(self._host, f"no answer within {ANSWER_SECONDS:.0f} s")

    def _listen(self) -> None:
        told = -ALIVE_SECONDS
        while not (self._closing.is_set() or self._ended.is_set()):
            if time.monotonic() - told >= ALIVE_SECONDS:
                told = time.monotonic()
                self._service.send("alive")
            try:
                line = self._service.line(0.1)
            except KitError as error:
                if self._service.exit_code is not None:
                    log.debug("%s", error.message)
                    self._fail(HostLost(self._host, "it was cut"))
                    return
                continue
            self._heard(line)

    def _heard(self, line: str) -> None:
        word, _, number = line.partition(" ")
        if word == "armed":
            self._armed.set()
        elif word == "ended":
            self._ended.set()
        elif word == "space":
            free = int(number) if number.isdecimal() else 0
            self._fail(
                JobAborted(
                    f"copy of {self._domain}: aborted so that the guest goes on: its scratch files"
                    f" on {self._host} have only {size(free)} left in {self._directory}",
                    hint="run it again when the guest writes less, or name a directory with more"
                    " room: --scratch DIRECTORY",
                )
            )
        elif word == "paused":
            self._fail(
                JobAborted(
                    f"copy of {self._domain}: aborted, since the guest was paused by an I/O error;"
                    " it was resumed",
                    hint=f"see virsh domstate --reason {self._domain} and df on {self._host}",
                )
            )

    def _fail(self, error: KitError) -> None:
        log.debug("%s", error.message)
        self._failure = self._failure or error


@contextmanager
def watching(
    host: KvmHost,
    *,
    name: str,
    uuid: str,
    token: str,
    directory: str,
    images: Sequence[str] = (),
    reserve: int = RESERVE,
    silence: int = SILENCE_SECONDS,
    patience: int = PATIENCE_SECONDS,
) -> Iterator[Watch]:
    """Watches a job during the block. Call `Watch.end` before the block ends, if all is well.

    Otherwise the script goes on alone, see `watch_script`.

    Args:
        host: the KVM host.
        name, uuid: of the domain.
        token: by which the job's socket is known.
        directory: of the scratch files.
        images: paths of the images that are read while the domain is off.
        reserve: bytes that must stay free there.
        silence: seconds without a word of ours after which the connection counts as cut.
        patience: seconds that the guest may take to shut down.

    Raises:
        KitError: the script cannot be started.
    """
    argv = command(
        *(uuid, token, directory, images), reserve=reserve, silence=silence, patience=patience
    )
    with host.service(argv, what=f"watch of {name}") as service:
        watch = Watch(service, host.name, name, directory)
        try:
            yield watch
        finally:
            watch.close()


class Watched:
    """A `converter.PartedProgress` that ends the copy when the job was aborted."""

    def __init__(self, progress: PartedProgress, watch: Watch) -> None:
        self._progress, self._watch = progress, watch

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """See `Progress`."""
        self._progress.begin(phase, total, done)

    def update(self, done: int) -> None:
        """See `Progress`; raises JobAborted or HostLost."""
        self._watch.check()
        self._progress.update(done)

    def end(self) -> None:
        """See `Progress`."""
        self._progress.end()

    def part(self, name: str) -> Progress:
        """See `PartedProgress`."""
        return self._progress.part(name)
