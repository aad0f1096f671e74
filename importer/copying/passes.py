"""A pass over all disks while the domain goes on as it is: the first one, and repeated ones.

A pass of a running domain reads a backup job, and makes a checkpoint with it: the next pass copies
what has changed since. A job is kept when the connection is cut or we are killed; the next run
goes on with it. When a pass fails otherwise, it is ended.

A first pass that goes on with another job keeps its checkpoint, and the disks that are complete.
They are then of different moments, all after the checkpoint, so the next pass corrects them. A disk
that is not complete begins anew: its first part would be of another moment than what the
verification reads.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from importer.copying import methods
from importer.copying.carry import Carried, Carrier
from importer.copying.jobs import job
from importer.copying.jobs.backup_xml import JobDisk, RunningJob
from importer.copying.jobs.cleanup import delete_checkpoints, end_servers
from importer.copying.jobs.facts import SourceFacts, look, source_disk
from importer.copying.jobs.guard import ending, explained, telling_loss, watched
from importer.copying.jobs.job import Checkpoint, Place
from importer.copying.jobs.watch import Watch, Watched
from importer.copying.methods import DiskWork
from importer.copying.opening import Export, Piece
from importer.copying.session import Session, last_complete, new_checkpoint, unfinished
from importer.host.images import served
from importer.journal import ImportState, Pass
from node.log import log


@dataclass(frozen=True)
class Reading:
    """How the disks of a pass are read: the pass, its work, and the job, if there is one."""

    current: Pass
    works: Sequence[DiskWork]
    place: Place
    begins: bool = False  # whether the job has to begin; else interrupted copies of disks go on
    checkpoint: Checkpoint | None = None


def run(session: Session) -> Pass:
    """Copies all disks, or what has changed; the domain goes on as it is.

    Raises:
        HostLost: the connection is lost: connect again, and call this again.
        KitError: it failed; the domain goes on.
    """
    facts = look(session.host, session.plan, session.point())
    session.note_source(facts)
    if facts.is_on and facts.has_jobs:
        return _from_job(session, facts)
    return from_images(session, facts)


def _from_job(session: Session, facts: SourceFacts) -> Pass:
    reading = _planned(session, facts)
    place = reading.place
    if reading.begins and not reading.works:  # an earlier run was killed when all was copied
        job.remove(session.host, place.directory)
        return complete(session, reading.current, Carried())
    log_works(reading.works)
    with watched(session, place) as watch, explained(session, watch):
        if reading.begins:
            job.begin(
                *(session.host, session.plan.uuid, place, job_disks(reading.works)),
                others(facts, reading.works),
                checkpoint=reading.checkpoint,
            )
        with (
            ending(session, place, watch),
            exported(session, reading.works, place.socket) as pieces,
        ):
            carried, current = carry(
                session, reading.current, pieces, watch, resumes=not reading.begins
            )
    done = complete(session, current, carried)
    # Only now: until the journal has the new one, a rerun needs the one before.
    delete_checkpoints(session.host, session.plan, facts, place.token, [done.checkpoint])
    return done


def _planned(session: Session, facts: SourceFacts) -> Reading:
    """Finds out what there is to do, ends what is left of earlier runs, and prepares a job."""
    state = session.journal.read()
    token = job.token_of(state.source_directory)
    job.require_ours(facts.job, has_other=facts.has_other_job, plan=session.plan, token=token)
    before = unfinished(state.passes)
    if facts.job is not None:
        there = Place(state.source_directory, token, facts.job.socket)
        if before is not None and not before.final:
            log.info("the backup job of an interrupted run goes on")
            return Reading(before, works_of(session, facts.job, state, before), there)
        job.end(session.host, session.plan.uuid, there)
    return _fresh(session, facts, state, before)


def works_of(
    session: Session, running: RunningJob, state: ImportState, current: Pass
) -> list[DiskWork]:
    """What an interrupted pass has still to do with its job."""
    is_first = last_complete(state.passes) is None
    left = []
    for disk in session.plan.disks:
        if disk.target not in running.since or disk.target in current.done:
            continue
        since = running.since[disk.target]
        if since is not None:
            left.append(DiskWork(disk, "job", "changes", since))
        else:
            left.append(DiskWork(disk, "job", "all" if is_first else "compare"))
    return left


def _fresh(
    session: Session, facts: SourceFacts, state: ImportState, before: Pass | None
) -> Reading:
    """A pass with a new job."""
    directory = session.directory()
    token = job.token_of(directory)
    base = last_complete(state.passes)
    point = session.point()
    targets = facts.with_bitmaps
    lost = set(targets) - facts.dirty.keys()
    current = Pass(len(state.passes) + (before is None), False, "", time.time())
    checkpoint: Checkpoint | None = None
    if base is None and before is not None and point and not lost:
        current = replace(current, checkpoint=point, done=before.done)
    elif targets:
        checkpoint = Checkpoint(new_checkpoint(token), targets)
        current = replace(current, checkpoint=checkpoint.name)
    if base is not None and point and lost:
        log.warning(
            "%s: bitmaps of its disks are lost, as QEMU was killed: blocks are compared instead",
            session.plan.domain,
        )
    delete_checkpoints(session.host, session.plan, facts, token, [point, current.checkpoint])
    copied = frozenset(session.volumes) if base else frozenset()
    works = methods.work(session.plan.disks, facts.situation(copied, point))
    works = tuple(each for each in works if each.disk.target not in current.done)
    session.note(current)
    sizes = {each.disk.target: each.disk.size for each in works}
    place = job.prepare(session.host, session.plan.uuid, directory, sizes, session.reserve)
    return Reading(current, works, place, begins=True, checkpoint=checkpoint)


def job_disks(works: Sequence[DiskWork]) -> list[JobDisk]:
    """The disks of a job."""
    return [
        JobDisk(each.disk.target, each.since if each.work == "changes" else None) for each in works
    ]


def others(facts: SourceFacts, works: Sequence[DiskWork]) -> list[str]:
    """The targets of all disks of the domain that a job leaves out."""
    named = {each.disk.target for each in works}
    return [*(target for target in facts.images if target not in named), *facts.others]


@contextmanager
def exported(session: Session, works: Sequence[DiskWork], socket: str) -> Iterator[list[Piece]]:
    """The disks of a job, reached from this node during the block."""
    with session.host.forwarded(socket) as local:
        yield [
            Piece(
                each,
                Export(local, socket, each.disk.target, f"backup-{each.disk.target}"),
                session.volumes[each.disk.target],
            )
            for each in works
        ]


def carry(
    session: Session,
    current: Pass,
    pieces: Sequence[Piece],
    watch: Watch | None,
    *,
    resumes: bool = False,
) -> tuple[Carried, Pass]:
    """Carries disks, and notes in the journal which are complete.

    Raises:
        KitError: see `Carrier.carry`.
    """
    progress = session.progress if watch is None else Watched(session.progress, watch)
    origin = {
        "host": session.host.name,
        "domain": session.plan.domain,
        "uuid": session.plan.uuid,
        "checkpoint": current.checkpoint,
    }
    done = list(current.done)

    def note(targets: Sequence[str]) -> None:
        done.extend(targets)
        session.note(replace(current, done=tuple(done)))

    carrier = Carrier(session.host, origin, progress, session.rate, resume=resumes)
    carried = carrier.carry(pieces, note)
    if watch is not None:
        watch.check()
    return carried, replace(current, done=tuple(done))


def complete(session: Session, current: Pass, carried: Carried) -> Pass:
    """Notes that a pass is complete."""
    whole = replace(
        current,
        complete=True,
        bytes=carried.wire,
        seconds=round(time.time() - current.began, 3),
        copy_rate=carried.copied / carried.copy_seconds if carried.copied else 0.0,
        compare_rate=carried.compared / carried.compare_seconds if carried.compared else 0.0,
    )
    session.note(whole)
    session.journal.completed("copy")
    return whole


def from_images(session: Session, facts: SourceFacts, *, final: bool = False) -> Pass:
    """A pass that reads the images: of a domain that is off, or whose host has no backup jobs.

    Raises:
        HostLost: the connection is lost: connect again, and call this again.
        KitError: it failed.
    """
    state = session.journal.read()
    before, base = unfinished(state.passes), last_complete(state.passes)
    point = base.checkpoint if base else ""
    copied = frozenset(session.volumes) if base else frozenset()
    works = methods.work(session.plan.disks, facts.situation(copied, point))
    current = Pass(len(state.passes) + (before is None), final, point, time.time())
    session.note(current)
    log_works(works)
    end_servers(session.host, session.plan)
    with telling_loss(session.host), images(session, works, is_on=facts.is_on) as pieces:
        goes_on = before is not None and not facts.is_on
        carried, current = carry(session, current, pieces, None, resumes=goes_on)
    if final:  # its checkpoint is deleted right after this
        current = replace(current, checkpoint="")
    return complete(session, current, carried)


@contextmanager
def images(session: Session, works: Sequence[DiskWork], *, is_on: bool) -> Iterator[list[Piece]]:
    """The images of disks, served by qemu-nbd on the KVM host during the block."""
    with ExitStack() as stack:
        pieces = []
        for each in works:
            disk = source_disk(each.disk)
            there = stack.enter_context(
                served(session.host, disk, bitmap=each.since or None, force_share=is_on)
            )
            export = Export(there.local, there.remote, "", each.since, moves=is_on)
            pieces.append(Piece(each, export, session.volumes[each.disk.target]))
        yield pieces


def log_works(works: Sequence[DiskWork]) -> None:
    """Says how each disk is copied."""
    for each in works:
        log.info("disk %s: %s", each.disk.target, methods.WORDS[each.work])
