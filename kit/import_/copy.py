"""`instance-kit import copy`: copies the disks of a machine into the volumes of its instance."""

import argparse
from pathlib import Path

from converter.cli.options import progress_kind
from converter.cli.progress import chosen
from importer import ganeti, journal
from importer.adoption import adopt
from importer.adoption.adopted import refreshed, without_bitmaps
from importer.copying import final, methods, passes, targets
from importer.copying.final import Finished, Stop
from importer.copying.jobs.facts import look
from importer.copying.jobs.job import QEMU_STATE, RESERVE
from importer.copying.rate import Rate
from importer.copying.reconnect import settle, with_host
from importer.copying.session import Session, point_of, require_behind
from importer.errors import HostLost
from importer.host.connection import KvmHost, connected
from importer.journal import ImportState, Journal, Pass
from importer.plan.load import load
from importer.plan.model import ImportPlan
from importer.plan.word import word
from kit import DONE
from kit.import_.status import next_steps
from node.errors import KitError
from node.log import log
from node.program import confirmed, say
from node.text import parse_size, printable, size

NAME = "copy"
ABOUT = "copy the disks while the machine runs, again what has changed, and the last of it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.set_defaults(quiet=False)
    add = parser.add_argument
    add("plan", metavar="PLAN", help="the file that `import plan` has written")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--again", action="store_true", help="copy what has changed since")
    which.add_argument(
        "--final", action="store_true", help="shut the machine down, and copy the rest"
    )
    add("--suspend", action="store_true", help="with --final: suspend it, do not shut it down")
    add(
        "--destroy",
        action="store_true",
        help="with --final: switch it off, if it does not shut down in time, or was suspended",
    )
    add(
        "--shutdown-seconds",
        type=_seconds,
        default=final.SHUTDOWN_SECONDS,
        metavar="N",
        help="time for the shutdown (default: %(default)s)",
    )
    add(
        "--max-downtime",
        type=_seconds,
        metavar="SECONDS",
        help="with --final: give up after this time, and let the machine run again (default: 10"
        " times the expected time, at least 300)",
    )
    add("--rate", type=_rate, metavar="SIZE", help="maximum bytes a second, such as 50M")
    add(
        "--scratch",
        default=QEMU_STATE,
        metavar="DIRECTORY",
        help="on the KVM host: for what the guest overwrites meanwhile (default: %(default)s)",
    )
    add(
        "--reserve",
        type=_size,
        default=RESERVE,
        metavar="SIZE",
        help="there, at least so much stays free: else the copy is aborted (default: 1G)",
    )
    add("--progress", default="auto", type=progress_kind, metavar="HOW", help="as for qcow2raw")
    add("--dry-run", action="store_true", help="say what would be done, change nothing")


def _rate(text: str) -> Rate:
    try:
        return Rate(parse_size(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: not a number of seconds")
    return int(text)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(options: argparse.Namespace) -> int:
    """Copies the disks.

    Raises:
        KitError: it failed; the source runs as before.
    """
    plan, text = load(Path(options.plan))
    _check(options)
    if options.dry_run:
        with connected(plan.host) as host:
            say("\n".join(map(printable, _foreseen(options, plan, host))))
        return DONE
    with journal.begun(plan, text) as record:
        record.note_plan_file(Path(options.plan))
        record.update(lambda state: without_bitmaps(refreshed(state)))
        _require_order(options, record.read())
        volumes = targets.made(record, plan)
        shown = chosen(options.progress, quiet=False)

        def session(host: KvmHost) -> Session:
            return Session(
                *(host, plan, record, volumes, shown),
                scratch=options.scratch,
                reserve=options.reserve,
                rate=options.rate,
            )

        if options.final:
            stop = _stop(options)
            try:
                with connected(plan.host) as host:
                    finished = final.run(session(host), stop, lambda: _rehearse(plan, record, host))
            except HostLost:
                settle(plan, record)
                raise
            lines = _finished(plan, finished)
        else:

            def one_pass(host: KvmHost) -> Pass:
                done = passes.run(session(host))
                if not options.again:
                    _foretell(plan, record, host)
                return done

            lines = [_passed(plan, with_host(plan.host, one_pass))]
        lines += _next(record, options.plan)
    say("\n".join(map(printable, lines)))
    return DONE


def _rehearse(plan: ImportPlan, record: Journal, host: KvmHost) -> None:
    adopt.rehearse(plan, record, ganeti.of_this_node(), host)


def _foretell(plan: ImportPlan, record: Journal, host: KvmHost) -> None:
    """Warns of what would make the adoption fail; the last pass would be refused."""
    try:
        _rehearse(plan, record, host)
    except KitError as error:
        log.warning("before the last pass: %s; %s", error.message, error.hint)


def _stop(options: argparse.Namespace) -> Stop:
    return Stop(
        *(options.suspend, options.destroy, confirmed),
        *(options.shutdown_seconds, options.max_downtime),
    )


def _check(options: argparse.Namespace) -> None:
    """Refuses options that belong to a final pass."""
    if not options.final:
        for name in ("suspend", "destroy", "max-downtime"):
            if getattr(options, name.replace("-", "_")):
                raise KitError(f"--{name}: only with --final", hint="see --help")
    if not options.scratch.startswith("/"):
        raise KitError(f"--scratch {options.scratch}: not absolute", hint="see --help")


def _require_order(options: argparse.Namespace, state: ImportState) -> None:
    """Checks that there is a first copy before others.

    Raises:
        KitError: it is not complete; or it is, and `--again` or `--final` is missing; or the
            instance is in use already.
    """
    # Each pass forgets an earlier start (`Session.note`). Times would not do: clocks are set.
    if state.done("start") and state.done("final copy"):
        raise KitError(
            f"import {state.instance}: its instance was started after the last copy, and another"
            " copy would overwrite what it has written since",
            hint=f"to go back to the source: instance-kit import abort {state.instance}",
        )
    is_copied = any(each.complete for each in state.passes)
    if options.again and not is_copied:
        raise KitError(
            f"import {state.instance}: its first copy is not complete, and --again goes on from it",
            hint=f"first: instance-kit import copy {word(options.plan)}",
        )
    if is_copied and not (options.again or options.final):
        raise KitError(
            f"import {state.instance}: its first copy is complete",
            hint="--again copies what has changed since; --final is the last pass",
        )


def _foreseen(options: argparse.Namespace, plan: ImportPlan, host: KvmHost) -> list[str]:
    """What the pass would do now.

    Raises:
        KitError: it would be refused.
    """
    state = ImportState(plan.instance, plan.host, plan.domain, plan.uuid, "", 0.0)
    if plan.instance in journal.imports():
        state = refreshed(journal.read(plan.instance))
    _require_order(options, state)
    done = state.passes
    facts = look(host, plan, point_of(done))
    require_behind(state, facts)
    works, estimate = final.expected(
        plan, done, facts, options.rate, suspend=options.suspend or not options.final
    )
    lines = [f"{plan.domain} on {plan.host}: {facts.state.state}"]
    lines += [f"disk {each.disk.target}: {methods.WORDS[each.work]}" for each in works]
    for disk in plan.disks:
        if not disk.is_copied:
            lines.append(f"disk {disk.target}: swap, made anew")
    stops = options.final and facts.state.state == "running"
    limit = methods.limit(options.max_downtime, estimate) if stops else None
    lines.append(f"if it came now: {methods.in_words(estimate, limit)}")
    if stops and (why := final.too_long(estimate, _stop(options))) is not None:
        lines.append(f"{plan.domain} would not be stopped: {why}")
    return lines


def _passed(plan: ImportPlan, done: Pass) -> str:
    return f"{plan.domain}: pass {done.number}: {size(done.bytes)} in {done.seconds:.0f} s"


def _finished(plan: ImportPlan, finished: Finished) -> list[str]:
    done = finished.copied
    down = "" if done.downtime is None else f"; {plan.domain} was down for {done.downtime:.1f} s"
    lines = [f"{plan.domain}: the last pass is complete: {size(done.bytes)}{down}"]
    lines.append(f"{plan.domain} stays {finished.state} on {plan.host}")
    if finished.left:
        lines.append(f"left on {plan.host}, when {plan.domain} is off:")
        lines += [f"  {command}" for command in finished.left]
    return lines


def _next(record: Journal, file: str) -> list[str]:
    """What comes next, as commands; `file` is the plan's, as the user gave it."""
    return [f"{when}: {what}" for when, what in next_steps(record.read(), word(file))]
