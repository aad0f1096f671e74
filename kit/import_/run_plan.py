"""`instance-kit import run`: a whole move by two commands, of which only the second stops it."""

import argparse
import shlex
import signal
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from importer import journal
from importer import run as steps
from importer.adoption.adopted import as_found, exists, located
from importer.import_state import ImportState
from importer.plan.load import load
from importer.plan.word import word
from importer.run import DECISIONS, STAGES, Choices, Command
from kit import DONE
from node.devices import lvm
from node.errors import KitError
from node.log import log
from node.program import can_ask, complain, confirmed, say
from node.terminal import run_on_terminal
from node.text import printable

NAME = "run"
ABOUT = "do what is left of a move: prepare it while the machine runs, or switch"
# A copy that is stopped lets the machine run again, and ends its job, on the KVM host.
GRACE_SECONDS = 90.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.set_defaults(quiet=False)
    add = parser.add_argument
    add("plan", metavar="PLAN", help="the file that `import plan` has written")
    add(
        "stage",
        choices=STAGES,
        metavar="|".join(STAGES),
        help="prepare: check the plan, copy, copy again until little has changed; switch: the last"
        " copy, adopt, renumber, check, start",
    )
    add(
        "--yes",
        action="append",
        choices=DECISIONS,
        default=[],
        metavar="STEP",
        help=f"do not ask before this one: {', '.join(DECISIONS)}",
    )
    add("--suspend", action="store_true", help="as for import copy --final")
    add("--destroy", action="store_true", help="as for import copy --final")
    add("--max-downtime", metavar="SECONDS", help="as for import copy --final")
    add("--rate", metavar="SIZE", help="as for import copy")
    add("--dry-run", action="store_true", help="print the commands, change nothing")


def run(options: argparse.Namespace) -> int:
    """Runs one command after the other; each says what it does.

    Raises:
        KitError: the plan or the journal cannot be read; or somebody has to decide.
    """
    plan, _ = load(Path(options.plan))
    choices = _choices(options)
    state = _state(plan.instance)
    if options.stage == "switch" and not steps.complete(state):
        raise KitError(
            f"import {plan.instance}: no copy is complete",
            hint=f"instance-kit import run {word(options.plan)} prepare",
        )
    if options.dry_run:
        say("\n".join(map(_line, _all(state, options.stage, choices))))
        return DONE
    if options.stage == "prepare":
        return _prepare(plan.instance, state, choices)
    return _switch(plan.instance, choices)


def _choices(options: argparse.Namespace) -> Choices:
    final = [f"--{name}" for name in ("suspend", "destroy") if getattr(options, name)]
    if options.max_downtime is not None:
        final += ["--max-downtime", options.max_downtime]
    if final and options.stage != "switch":
        raise KitError(f"{final[0]}: only for the switch", hint="see --help")
    copy = () if options.rate is None else ("--rate", options.rate)
    return Choices(options.plan, frozenset(options.yes), copy, tuple(final))


def _state(instance: str) -> ImportState | None:
    """The state as it is now; None if the import has not begun."""
    if instance not in journal.imports():
        return None
    state = journal.read(instance)
    found = located(state.volumes, lvm.volumes())
    return as_found(state, found, exists=exists(instance))


def _all(state: ImportState | None, stage: steps.Stage, choices: Choices) -> list[Command]:
    first = [_preflight(choices)] if state is None else []
    return [*first, *steps.left(state, stage, choices)]


def _preflight(choices: Choices) -> Command:
    return Command(("plan", "--check", choices.plan))


def _prepare(instance: str, state: ImportState | None, choices: Choices) -> int:
    before = len(steps.complete(state))
    if state is None and (code := _do(instance, "prepare", _preflight(choices), choices)) != DONE:
        return code
    while (command := steps.preparation(state, before, choices)) is not None:
        if (code := _do(instance, "prepare", command, choices)) != DONE:
            return code
        state = _state(instance)
    say(f"{instance}: prepared; next: instance-kit import run {word(choices.plan)} switch")
    return DONE


def _switch(instance: str, choices: Choices) -> int:
    if not can_ask() and (code := _require_decisions(instance, choices)) != DONE:
        return code
    while (state := _state(instance)) and (command := steps.switch(state, choices)):
        if (code := _do(instance, "switch", command, choices)) != DONE:
            return code
    return _do(instance, "switch", steps.finish(choices), choices)


def _require_decisions(instance: str, choices: Choices) -> int:
    """Refuses a switch that would stop at a question which nobody can answer: the machine is down.

    Returns:
        DONE; or the exit code of a preview that failed.

    Raises:
        KitError: somebody has to decide.
    """
    left = steps.left(_state(instance), "switch", choices)
    open_ = [each for each in left if each.decision and each.decision not in choices.yes]
    if not open_:
        return DONE
    if left[0] in open_ and left[0].preview and (code := _run(left[0].preview)) != DONE:
        return code
    decided = [each for each in DECISIONS if each in {one.decision for one in open_}]
    raise KitError(
        f"import {instance}: without a terminal, nobody can be asked before: {', '.join(decided)};"
        " nothing was changed",
        hint=f"run it on a terminal, or decide now: {_again('switch', choices, decided)}",
    )


def _again(stage: str, choices: Choices, decided: Collection[str | None]) -> str:
    """The command that goes on, with what is decided by then."""
    words = ["run", choices.plan, stage, *choices.copy, *choices.final]
    for each in DECISIONS:
        if each in choices.yes or each in decided:
            words += ["--yes", each]
    return _line(Command(tuple(words)))


def _source_down(instance: str) -> tuple[str, str]:
    """If the switch has stopped the source for an instance that does not run: that, and a remedy.

    Both begin with a semicolon, or are empty.
    """
    with suppress(KitError):  # another error is being told
        state = _state(instance)
        if state and state.done("final copy") and state.stopped_by_us and not state.done("start"):
            return (
                f"; {state.domain} on {state.host} is down, and the instance does not run yet",
                f"; or let {state.domain} run again: instance-kit import abort {instance}",
            )
    return "", ""


def _do(instance: str, stage: str, command: Command, choices: Choices) -> int:
    """Asks, if it has to, and runs a command; returns its exit code, having said what to do then.

    Raises:
        KitError: nobody has agreed to it.
    """
    again = _again(stage, choices, [command.decision])
    if command.decision is not None and command.decision not in choices.yes:
        if command.preview and (code := _run(command.preview)) != DONE:
            return code
        if command.question and not confirmed(command.question):
            down, back = _source_down(instance)
            raise KitError(
                f"import {instance}: stopped before: {_line(command)}{down}",
                hint=f"to go on: {again}{back}",
            )
    code = _run(command.words)
    if code != DONE:
        hint = f"then go on with: {again}"
        if command.instead:  # a guest that the kit cannot read, or a finding that does not matter
            hint += f"; or start it as it is: {_line(Command(command.instead))}"
        down, back = _source_down(instance)
        complain(f"import {instance}: stopped at: {_line(command)}{down}", hint + back)
    return code


def _run(words: Sequence[str]) -> int:
    log.info("+ instance-kit import %s", shlex.join(words))
    return run_on_terminal(
        [sys.argv[0], "import", *words], Path(), ending=signal.SIGTERM, grace=GRACE_SECONDS
    )


def _line(command: Command) -> str:
    return printable(f"instance-kit import {shlex.join(command.words)}")
