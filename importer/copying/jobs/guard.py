"""Watches a backup job for the time of a pass, explains its failures, and ends it."""

from collections.abc import Iterator
from contextlib import contextmanager

from importer.copying.jobs import job
from importer.copying.jobs.cleanup import run_again
from importer.copying.jobs.job import Place
from importer.copying.jobs.watch import Watch, watching
from importer.copying.session import Session
from importer.errors import HostLost
from importer.host.connection import KvmHost
from importer.host.virsh import Virsh
from node.errors import KitError
from node.log import log


@contextmanager
def watched(session: Session, place: Place, reserve: int | None = None) -> Iterator[Watch]:
    """Watches a job of this session during the block.

    Args:
        session: of the import.
        place: of the job.
        reserve: bytes that stay free, instead of the session's.
    """
    with watching(
        session.host,
        name=session.plan.domain,
        uuid=session.plan.uuid,
        token=place.token,
        directory=place.directory,
        images=[disk.path for disk in session.plan.disks],
        reserve=session.reserve if reserve is None else reserve,
    ) as watch:
        yield watch


@contextmanager
def telling_loss(host: KvmHost) -> Iterator[None]:
    """Raises HostLost instead of an error whose cause is that the connection is lost."""
    try:
        yield
    except KitError as error:
        if isinstance(error, HostLost) or not host.is_lost():
            raise
        raise HostLost(host.name, error.message) from error


@contextmanager
def explained(session: Session, watch: Watch, *, stopped: bool = False) -> Iterator[None]:
    """Raises the cause of an error: the job was aborted, the connection or the domain has ended.

    Args:
        session: of the import.
        watch: of the job.
        stopped: whether the domain is off because of us.
    """
    try:
        with telling_loss(session.host):
            yield
    except KitError as error:
        if watch.failure is not None:
            raise watch.failure from error
        if isinstance(error, HostLost):
            raise
        if not stopped and (why := _off(session)) is not None:
            raise KitError(
                f"copy of {session.plan.domain}: {why}",
                hint="run it again; it goes on with what it has",
            ) from error
        raise


def _off(session: Session) -> str | None:
    """Why the domain has ended, if it has and libvirt tells; it is started if that was our doing.

    A guest that an earlier final pass told to shut down may do so after that has given up.
    """
    try:
        state = Virsh(session.host).state(session.plan.uuid)
        if state.state not in ("shut off", "crashed"):
            return None
        if session.journal.read().stopped_by_us is None:
            return f"it is off now ({state.reason or state.state})"
        run_again(session.host, session.plan, session.journal)
    except KitError as error:
        log.warning("%s: %s", session.plan.domain, error.message)
        return None
    return "it has shut down, as an earlier final pass told it to; it runs again"


def require_suspended(session: Session) -> None:
    """Checks that a domain has not run while its last changes were copied.

    Raises:
        KitError: it is not suspended any more.
    """
    state = Virsh(session.host).state(session.plan.uuid).state
    if state != "paused":
        raise KitError(
            f"copy of {session.plan.domain}: it is {state}, though it was suspended for its last"
            " pass: what it has written since is not copied",
            hint="find out what has resumed it, such as a cluster manager; then run this again",
        )


@contextmanager
def ending(session: Session, place: Place, watch: Watch) -> Iterator[None]:
    """Ends the job after the block, unless the connection is lost: then it can be gone on with.

    The script watches until the job has ended: nobody else would see that its room is used up.

    Raises:
        KitError: the job or the watching does not end; after another error, that one.
    """

    def end() -> None:
        job.end(session.host, session.plan.uuid, place)
        watch.end()

    try:
        yield
    except BaseException:
        if watch.failure is None:
            try:
                end()
            except KitError as error:
                log.debug("%s", error.message)
        raise
    end()
