"""Connects to the KVM host again when the connection is lost."""

import time
from collections.abc import Callable
from typing import TypeVar

from importer.copying.jobs.cleanup import run_again
from importer.copying.jobs.watch import PATIENCE_SECONDS, SILENCE_SECONDS
from importer.errors import HostLost
from importer.host.connection import KvmHost, connected
from importer.journal import Journal
from importer.plan.model import ImportPlan
from node.errors import KitError
from node.log import log

Result = TypeVar("Result")

PAUSES = (2.0, 5.0, 15.0, 30.0, 60.0, 60.0, 60.0)  # seconds before each further attempt
SETTLE_PAUSES = (0.0, 2.0, 10.0, 30.0)
STEADY_SECONDS = 600.0  # after so long a connection, the pauses begin anew


def with_host(host: str, action: Callable[[KvmHost], Result]) -> Result:
    """Does something with a connection to a KVM host, again each time that it is lost.

    Args:
        host: as for `connected`.
        action: what is done; it goes on where it was.

    Raises:
        HostLost: the host could not be reached at first, or for some minutes.
    """
    pauses = iter(PAUSES)
    was_there = False
    while True:
        began = time.monotonic()
        try:
            with connected(host) as there:
                was_there = True
                return action(there)
        except HostLost as error:
            if time.monotonic() - began > STEADY_SECONDS:
                pauses = iter(PAUSES)
            pause = next(pauses, None)
            if not was_there or pause is None:
                raise
            log.warning("%s; trying again in %.0f s", error.message, pause)
            time.sleep(pause)


def settle(plan: ImportPlan, journal: Journal) -> None:
    """After a lost connection: makes sure that the domain runs again, if it was stopped by us.

    The script that watches on the KVM host does so, too, when it notices the loss. After a complete
    last pass, the domain stays as it is: what it writes would be in no copy.
    """
    state = journal.read()
    if state.stopped_by_us is None:
        return
    if state.done("final copy"):
        log.warning("the last pass of %s is complete: it does not run again", plan.domain)
        return
    for pause in SETTLE_PAUSES:
        time.sleep(pause)
        try:
            with connected(plan.host) as host:
                settled = run_again(host, plan, journal)
            log.info("%s runs again" if settled else "%s still runs", plan.domain)
            return
        except KitError as error:
            log.debug("%s", error.message)
    log.warning(
        "%s cannot be reached; %s is made to run again there within %d s after the connection was"
        " cut: see virsh domstate",
        *(plan.host, plan.domain, SILENCE_SECONDS + PATIENCE_SECONDS),
    )
