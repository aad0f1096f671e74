"""`instance-kit import abort`: undoes an import, but for what Ganeti has by now."""

import argparse
import shlex
from collections.abc import Sequence

from importer import ganeti, journal
from importer.adoption import adopted, nvram, volumes
from importer.adoption.adopt import settled, tag
from importer.copying.jobs import cleanup
from importer.ganeti import Ganeti
from importer.host.connection import KvmHost, connected
from importer.host.virsh import is_unknown
from importer.import_state import ImportState
from importer.journal import Journal
from importer.plan.model import ImportPlan
from importer.plan.word import noted_word
from kit import DONE
from node.devices import lvm
from node.errors import CommandError, KitError
from node.log import log
from node.program import say
from node.text import printable

NAME = "abort"
ABOUT = "undo an import, or forget one that is complete"
# What gnt-instance(8) says in the field `status` of an instance that nobody starts: ganeti-watcher
# starts one with ERROR_down.
STOPPED = ("ADMIN_down", "USER_down")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.set_defaults(quiet=False)
    parser.add_argument("instance", metavar="INSTANCE", help="as `import status` lists it")
    parser.add_argument(
        "--without-source",
        action="store_true",
        help="leave the KVM host alone, because it is gone: what the import made there stays",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what is done, change nothing")


def run(options: argparse.Namespace) -> int:
    """Undoes the import; volumes that Ganeti has adopted stay. The source runs as before.

    After `import finish` the source stays off: then only traces and the journal are removed.

    Raises:
        KitError: something cannot be undone. The journal stays, and this can be run again.
    """
    with journal.opened(options.instance) as record:
        state = adopted.refreshed(record.read())
        plan = journal.recorded_plan(state)
        cluster = ganeti.of_this_node()
        found = adopted.located(state.volumes, lvm.volumes()).values()
        name = adopted.owner(found) or plan.instance
        is_renamed = name != plan.instance
        if state.add_began and not is_renamed and not options.dry_run:
            settled(plan, state, cluster)
        exists = is_renamed or adopted.exists(name)
        swaps = exists and goes_back(state) and not options.without_source
        if options.dry_run:
            if swaps:
                _require_stopped(name, state, cluster)
            say("\n".join(map(printable, intentions(state, without=options.without_source))))
            return DONE
        if exists and not is_renamed:
            tag(plan, record)
        if swaps:
            _require_stopped(name, state, cluster)
            log.warning("the source runs again: do not start the instance %s", name)
        if not options.without_source:
            _clean_source(plan, record)
        removal = volumes.remove(plan.instance)
        for volume in removal.removed:
            say(printable(f"removed {volume.vg}/{volume.name}"))
        kept = [(f"{each.vg}/{each.name}", why) for each, why in removal.kept]
        _require_gone(kept, exists=exists)
        if plan.variables is not None and not exists:
            nvram.remove(plan.variables)
        record.remove()
    return DONE


def goes_back(state: ImportState) -> bool:
    """Whether the source is to run again: the import has stopped it, and is not complete. Pure."""
    return state.stopped_by_us is not None and not state.done("finish")


def _require_stopped(name: str, state: ImportState, cluster: Ganeti) -> None:
    """Refuses to let the source run again while the instance runs, on whatever node.

    Raises:
        KitError: it runs, or the master does not say.
    """
    status = dict(cluster.listed("instance", ("name", "status"))).get(name, "unknown")
    if status not in STOPPED:
        raise KitError(
            f"import {name}: the source was {state.stopped_by_us} for the instance, which is"
            f" {status}: only one of them may run",
            hint=f"to go back to the source: gnt-instance shutdown {name}, then abort again; to"
            " keep the instance: instance-kit import finish"
            f" {noted_word(state.plan_file, state.instance)}",
        )


def _clean_source(plan: ImportPlan, record: Journal) -> None:
    """Lets the source run again if the import has stopped it, and removes our traces there.

    Raises:
        KitError: the KVM host does not do it.
    """
    state = record.read()
    with connected(plan.host) as host:
        settled = not goes_back(state) or _runs_again(host, plan, record)
        left = cleanup.clean(host, plan, state.source_directory, stays_watched=not settled)
    if not settled:
        log.warning(
            "%s was told to shut down, and may still do so: see virsh domstate; to start it: %s",
            *(plan.domain, f"virsh start {shlex.quote(plan.domain)}"),
        )
    for command in left:
        say(printable(f"to do on {plan.host}: {command}"))


def _runs_again(host: KvmHost, plan: ImportPlan, record: Journal) -> bool:
    """See `cleanup.run_again`."""
    try:
        return cleanup.run_again(host, plan, record)
    except CommandError as error:
        if not is_unknown(error):
            raise
        raise KitError(
            f"import {plan.instance}: {plan.domain} cannot run again: libvirt on {plan.host} does"
            " not know it any more",
            hint=f"define it there; or, if it is gone: instance-kit import abort {plan.instance}"
            " --without-source",
        ) from error


def _require_gone(kept: Sequence[tuple[str, str]], *, exists: bool) -> None:
    """Refuses to forget volumes that are neither removed nor Ganeti's.

    Args:
        kept: their names, and why they stay.
        exists: whether Ganeti has the instance.

    Raises:
        KitError: there are such volumes.
    """
    for name, why in kept:
        log.warning("%s stays: %s", name, why)
    if kept and not exists:
        raise KitError(
            f"volumes: not removed: {', '.join(name for name, _ in kept)}",
            hint="end what uses them (fuser -v), then abort again",
        )


def intentions(state: ImportState, *, without: bool) -> list[str]:
    """What `run` would do, in words. Pure.

    Args:
        state: of the import, as it is now.
        without: whether the KVM host is left alone.
    """
    lines = []
    if goes_back(state) and not without:
        lines.append(f"let {state.domain} on {state.host} run again: it was {state.stopped_by_us}")
    if state.source_directory and not without:
        lines.append(f"remove checkpoints, bitmaps and {state.source_directory} from {state.host}")
    for volume in state.volumes:
        what = "keep, for Ganeti has it:" if volume.adopted else "remove"
        lines.append(f"{what} {volume.vg}/{volume.lv}")
    return [*lines, f"forget the import of {state.instance}"]
