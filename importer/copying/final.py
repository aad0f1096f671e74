"""The last pass: the domain is suspended or shut down, and the rest of its changes is copied.

If it fails, the domain runs again as it did: by us, or by the script that watches on the KVM host
when it does not hear of us any more.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from importer.copying import methods, passes
from importer.copying.carry import Carried
from importer.copying.jobs import job
from importer.copying.jobs.cleanup import clean, run_again
from importer.copying.jobs.facts import SourceFacts, look, require_restartable, shut_down
from importer.copying.jobs.guard import explained, require_suspended, watched
from importer.copying.jobs.job import Place, token_of
from importer.copying.jobs.virsh_jobs import JobVirsh
from importer.copying.jobs.watch import Watch
from importer.copying.methods import DiskWork, Estimate
from importer.copying.rate import Rate
from importer.copying.session import Session, last_complete, point_of
from importer.errors import HostLost
from importer.host.virsh import DomainState, Virsh
from importer.journal import Pass
from importer.plan.model import ImportPlan
from node.cleanup import time_limit
from node.errors import KitError
from node.log import log

SHUTDOWN_SECONDS = 180
OFF = DomainState("shut off", "")


@dataclass(frozen=True)
class Stop:
    """How the domain is stopped.

    Attributes:
        suspend: suspended, not shut down: its file systems look as after a power cut, unless the
            guest's agent can freeze them.
        destroy: whether it may be switched off: a guest that does not shut down in time, or one
            that was suspended, when all is copied.
        confirm: asks whether to switch off a guest that does not shut down; False without a user.
        seconds: that the guest has for its shutdown.
        max_downtime: seconds after which the pass is given up, since the domain was told to
            suspend, or was off; None for those of `methods.limit`.
    """

    suspend: bool = False
    destroy: bool = False
    confirm: Callable[[str], bool] = lambda _: False
    seconds: int = SHUTDOWN_SECONDS
    max_downtime: int | None = None


@dataclass(frozen=True)
class Finished:
    """A final pass, how it leaves the domain, and commands that remove what is left of ours."""

    copied: Pass
    state: Literal["suspended", "off"]
    left: Sequence[str]


def expected(
    plan: ImportPlan,
    passes_done: tuple[Pass, ...],
    facts: SourceFacts,
    rate: Rate | None,
    *,
    suspend: bool,
) -> tuple[Sequence[DiskWork], Estimate]:
    """What a final pass would do and take if it came now. Pure.

    Args:
        plan: of the import.
        passes_done: those of the journal.
        facts: of the domain, looked at for the checkpoint of `point_of`.
        rate: at which disks are read, or None for no limit.
        suspend: whether the domain is suspended, not shut down.
    """
    targets = (disk.target for disk in plan.disks if disk.is_copied)
    copied = frozenset(targets) if last_complete(passes_done) else frozenset()
    then = facts if suspend else replace(facts, state=OFF)
    works = methods.work(plan.disks, then.situation(copied, point_of(passes_done)))
    rates = reversed(passes_done)
    copy_rate = next((each.copy_rate for each in rates if each.copy_rate), None)
    if rate is not None and copy_rate is not None:
        copy_rate = min(copy_rate, rate.bytes_per_second)
    rates = reversed(passes_done)
    compare_rate = next((each.compare_rate for each in rates if each.compare_rate), None)
    return works, methods.estimate(works, facts.dirty, copy_rate, compare_rate)


def run(session: Session, stop: Stop, rehearse: Callable[[], None]) -> Finished:
    """Copies the rest while the domain does not run; it then stays suspended or off.

    A domain that runs is copied once more before that, to make the time short.

    Args:
        session: of the import.
        stop: how the domain is stopped.
        rehearse: finds out, before that, what would make the adoption fail; raises KitError then.

    Raises:
        HostLost: the connection is lost: the domain is made to run again.
        KitError: it failed, or takes too long; the domain runs as before.
    """
    if not session.journal.read().done("final copy"):  # an earlier run may have been killed
        run_again(session.host, session.plan, session.journal)
    rehearse()
    facts = look(session.host, session.plan, session.point())
    session.note_source(facts)
    if not facts.is_on:
        done = passes.from_images(session, facts, final=True)
        session.journal.completed("final copy")
        return _finished(session, done, "off", None)
    running = facts.state.state == "running"
    if running and not stop.suspend:
        require_restartable(facts, session.plan)
    # Without backup jobs, another pass over an image that changes meanwhile would be of no use.
    if not _is_copied(session) or (running and facts.has_jobs):
        passes.run(session)
        facts = look(session.host, session.plan, session.point())
    earlier = session.journal.read().passes
    suspend = stop.suspend or not running
    _, found = expected(session.plan, earlier, facts, session.rate, suspend=suspend)
    limit: float | None = None
    if running:
        if (why := too_long(found, stop)) is not None:
            raise KitError(
                f"copy of {session.plan.domain}: {why}; it was not stopped",
                hint="copy --again when the guest writes less, or allow more: --max-downtime",
            )
        limit = methods.limit(stop.max_downtime, found)
    how = "stopped for the last pass" if running else "suspended already, and is not shut down"
    log.info("%s is %s: %s", session.plan.domain, how, methods.in_words(found, limit))
    if running and not stop.suspend:
        return _shut_down(session, facts, stop, limit)
    return _suspended(session, facts, stop, limit)


def _is_copied(session: Session) -> bool:
    return last_complete(session.journal.read().passes) is not None


def too_long(found: Estimate, stop: Stop) -> str | None:
    """Why the domain is not stopped: its last pass takes longer than it may; or None. Pure."""
    longest = stop.max_downtime
    if longest is None or found.seconds is None or found.seconds <= longest:
        return None
    return f"its last pass takes about {ceil(found.seconds)} s, but may take {longest} s"


def _limited(session: Session, limit: float | None) -> AbstractContextManager[None]:
    """Ends the block when the domain has been stopped for too long."""
    took = "" if limit is None else f" after {ceil(limit)} s"
    return time_limit(
        limit,
        KitError(
            f"copy of {session.plan.domain}: its last pass is not complete{took}",
            hint="run it again: it goes on with what it has; or allow more: --max-downtime",
        ),
    )


def _begun(session: Session) -> Pass:
    state = session.journal.read()
    base = last_complete(state.passes)
    count = len(state.passes) + (not state.passes or state.passes[-1].complete)
    current = Pass(count, True, base.checkpoint if base else "", time.time())
    session.note(current)
    return current


@contextmanager
def _running_again(session: Session, watch: Watch, place: Place) -> Iterator[None]:
    """If the block fails, the domain runs again, and the job ends.

    The watching script sees to both if we are cut off, or if the guest may still shut down.
    """
    try:
        yield
    except BaseException:
        try:
            settled = _runs_again(session)
            job.end(session.host, session.plan.uuid, place)
            if settled:
                watch.end()
        except KitError as error:
            log.debug("%s", error.message)
        raise


def _runs_again(session: Session) -> bool:
    """See `run_again`; False if the script has to see to it."""
    try:
        return run_again(session.host, session.plan, session.journal)
    except HostLost:
        raise
    except KitError as error:
        log.error("%s does not run again: %s", session.plan.domain, error.message)
        return False


def _suspended(session: Session, facts: SourceFacts, stop: Stop, limit: float | None) -> Finished:
    """The last pass of a suspended domain, or of one whose host has no backup jobs."""
    was_running = facts.state.state == "running"
    copied = frozenset(session.volumes)
    works = methods.work(session.plan.disks, facts.situation(copied, session.point()))
    host, uuid = session.host, session.plan.uuid
    token = token_of(session.journal.read().source_directory)
    job.require_ours(facts.job, has_other=facts.has_other_job, plan=session.plan, token=token)
    current = _begun(session)
    directory = session.directory()
    if facts.job is not None:  # of an earlier run
        job.end(host, uuid, Place(directory, token, facts.job.socket))
    sizes = {each.disk.target: each.disk.size for each in works} if facts.has_jobs else {}
    place = job.prepare(host, uuid, directory, sizes, session.reserve)
    passes.log_works(works)
    reserve = None if facts.has_jobs else 0
    with watched(session, place, reserve) as watch, explained(session, watch):
        if was_running:
            watch.arm("suspended")
            session.journal.update(lambda now: replace(now, stopped_by_us="suspended"))
        with _running_again(session, watch, place):
            with _limited(session, limit), ExitStack() as stack:
                if facts.has_jobs:
                    pieces = stack.enter_context(passes.exported(session, works, place.socket))
                began = _begin_suspended(session, facts, works, place, was_running)
                if not facts.has_jobs:  # QEMU has written all to the image by now
                    pieces = stack.enter_context(passes.images(session, works, is_on=True))
                carried, current = passes.carry(session, current, pieces, watch)
                require_suspended(session)
            seconds = time.monotonic() - began
            watch.end()  # from here on, it stays suspended
            done = _complete(session, current, carried, seconds if was_running else None)
    found = _finished(session, done, "suspended", seconds if was_running else None)
    if not stop.destroy:
        return found
    JobVirsh(host).destroy(uuid)
    return replace(found, state="off")


def _begin_suspended(
    session: Session,
    facts: SourceFacts,
    works: Sequence[DiskWork],
    place: Place,
    was_running: bool,
) -> float:
    """Suspends the domain, and begins the job; returns when, seconds of time.monotonic()."""
    if not facts.has_jobs:
        began = time.monotonic()
        if was_running:
            Virsh(session.host).suspend(session.plan.uuid)
        return began
    freeze = facts.has_agent and was_running
    begun = job.begin(
        *(session.host, session.plan.uuid, place, passes.job_disks(works)),
        passes.others(facts, works),
        suspend=was_running,
        freeze=freeze,
    )
    if freeze and not begun.is_frozen:
        log.warning("%s: its agent did not freeze its file systems", session.plan.domain)
    return begun.at


def _shut_down(session: Session, facts: SourceFacts, stop: Stop, limit: float | None) -> Finished:
    """The last pass of a domain that is shut down."""
    current = _begun(session)
    directory = session.directory()
    place = job.prepare(session.host, session.plan.uuid, directory, {})
    with (
        watched(session, place, reserve=0) as watch,
        explained(session, watch, stopped=True),
    ):
        watch.arm("stopped")
        session.journal.update(lambda now: replace(now, stopped_by_us="shut down"))
        with _running_again(session, watch, place):
            began = time.monotonic()
            _await_off(session, stop)
            with _limited(session, limit):
                facts = shut_down(session.host, session.plan, facts, current.checkpoint)
                works = methods.work(
                    session.plan.disks,
                    facts.situation(frozenset(session.volumes), current.checkpoint),
                )
                passes.log_works(works)
                with passes.images(session, works, is_on=False) as pieces:
                    carried, current = passes.carry(session, current, pieces, watch)
            seconds = time.monotonic() - began
            watch.end()  # from here on, it stays off
            done = _complete(session, current, carried, seconds)
    return _finished(session, done, "off", seconds)


def _await_off(session: Session, stop: Stop) -> None:
    """Shuts the domain down, and waits until it is off.

    Raises:
        KitError: it does not shut down in time, and must not be switched off.
    """
    virsh, name = JobVirsh(session.host), session.plan.domain
    if virsh.shut_down(session.plan.uuid, stop.seconds):
        return
    late = f"{name} has not shut down within {stop.seconds} s"
    if not (stop.destroy or stop.confirm(f"{late}. Switch it off?")):
        raise KitError(
            f"copy of {name}: {late}; it runs on",
            hint="it may still shut down: see its console; switch it off with --destroy, or"
            f" copy with --suspend; to start it: virsh start {shlex.quote(name)}",
        )
    virsh.destroy(session.plan.uuid)


def _complete(session: Session, current: Pass, carried: Carried, downtime: float | None) -> Pass:
    rounded = None if downtime is None else round(downtime, 3)
    # Its checkpoint is deleted right after this.
    done = passes.complete(session, replace(current, checkpoint="", downtime=rounded), carried)
    session.journal.completed("final copy")
    return done


def _finished(
    session: Session, done: Pass, state: Literal["suspended", "off"], downtime: float | None
) -> Finished:
    if downtime is not None:
        log.info("%s has been down for %.1f s", session.plan.domain, downtime)
    left: list[str] = []
    try:
        left = clean(session.host, session.plan, session.journal.read().source_directory)
        if not left:  # else `abort` finds it by the name of the directory
            session.journal.update(lambda now: replace(now, source_directory=""))
    except KitError as error:
        log.warning("%s", error.message)
        log.warning("what the import made on %s is still there", session.plan.host)
    return Finished(done, state, left)
