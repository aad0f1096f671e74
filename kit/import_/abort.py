"""`instance-kit import abort`: undoes an import, but for what Ganeti has by now."""

import argparse
from collections.abc import Sequence

from importer import adopted, ganeti, journal, nvram, volumes
from importer.adopt import settled
from importer.copying import cleanup
from importer.host.connection import connected
from importer.journal import ImportState, Journal
from importer.plan.file import PlanInvalid, parse
from importer.plan.model import ImportPlan
from kit import DONE
from node.ganeti import kvm_process
from node.errors import KitError
from node.log import log
from node.program import say
from node.text import printable

NAME = "abort"
ABOUT = "undo an import: remove its volumes, clean the KVM host, forget it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument("instance", metavar="INSTANCE", help="as `import status` lists it")
    parser.add_argument(
        "--without-source",
        action="store_true",
        help="leave the KVM host alone, which is gone: its checkpoints and files stay there",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what is done, change nothing")


def run(options: argparse.Namespace) -> int:
    """Undoes the import; volumes that Ganeti has adopted stay.

    Raises:
        KitError: something cannot be undone: the journal stays, and this can be run again.
    """
    with journal.opened(options.instance) as record:
        state = record.read()
        plan = _plan(state)
        exists = adopted.exists(state.instance)
        if options.dry_run:
            say("\n".join(printable(line) for line in intentions(state, exists=exists)))
            return DONE
        if not options.without_source:
            _clean_source(plan, record, exists=exists)
        if not exists and any(
            volumes.is_adopted(each) for each in volumes.of_import(plan.instance)
        ):
            settled(plan, state, ganeti.of_this_node())
            exists = adopted.exists(state.instance)
        removal = volumes.remove(state.instance)
        for volume in removal.removed:
            say(printable(f"removed {volume.vg}/{volume.name}"))
        _require_gone(
            [(f"{each.vg}/{each.name}", why) for each, why in removal.kept], exists=exists
        )
        if plan.variables is not None and not exists:
            nvram.remove(plan.variables)
        record.remove()
    return DONE


def _plan(state: ImportState) -> ImportPlan:
    try:
        return parse(state.plan)
    except PlanInvalid as error:
        raise KitError(
            f"plan in the journal of {state.instance}: {error}",
            hint="abort with the version of the kit that began the import",
        ) from error


def _clean_source(plan: ImportPlan, record: Journal, *, exists: bool) -> None:
    """Lets the source run again if the import has stopped it, and removes our traces there."""
    state = record.read()
    if state.stopped_by_us is not None and exists:
        if kvm_process(plan.instance) is not None:
            raise KitError(
                f"import {plan.instance}: the instance runs, and its source was"
                f" {state.stopped_by_us}: only one of them may run",
                hint=f"to go back: gnt-instance shutdown {plan.instance}, then abort again; to keep"
                " the instance: instance-kit import finish PLAN",
            )
        log.warning("the source runs again; do not start the instance %s", plan.instance)
    with connected(plan.host) as host:
        cleanup.run_again(host, plan, record)
        left = cleanup.clean(host, plan, state.source_directory)
    for command in left:
        say(printable(f"still to do on {plan.host}: {command}"))


def _require_gone(kept: Sequence[tuple[str, str]], *, exists: bool) -> None:
    """Refuses to forget an import whose volumes are neither removed nor Ganeti's."""
    for name, why in kept:
        log.warning("%s stays: %s", name, why)
    if kept and not exists:
        raise KitError(
            f"volumes: not removed: {', '.join(name for name, _ in kept)}",
            hint="end what uses them (fuser -v), then abort again",
        )


def intentions(state: ImportState, *, exists: bool) -> list[str]:
    """What `run` would do, in words. Pure."""
    lines = []
    if state.stopped_by_us is not None:
        lines.append(f"let {state.domain} on {state.host} run again: it was {state.stopped_by_us}")
    if state.source_directory:
        lines.append(f"remove checkpoints, bitmaps and {state.source_directory} from {state.host}")
    for volume in state.volumes:
        name = f"{volume.vg}/{volume.lv}"
        lines.append(
            f"keep {name}: a disk of the instance"
            if volume.adopted and exists
            else f"remove {name}"
        )
    lines.append(f"forget the import of {state.instance}")
    return lines
