"""`instance-kit import run`: a whole move by two commands, of which only the second stops it."""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
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
from node.program import complain, confirmed, say
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
    while (state := _state(instance)) and (command := steps.switch(state, choices)):
        if (code := _do(instance, "switch", command, choices)) != DONE:
            return code
    return _do(instance, "switch", steps.finish(choices), choices)


def _do(instance: str, stage: str, command: Command, choices: Choices) -> int:
    """Asks, if it has to, and runs a command; returns its exit code, having said what to do then.

    Raises:
        KitError: nobody has agreed to it.
    """
    decided = [each for each in DECISIONS if each in choices.yes or each == command.decision]
    words = ["run", choices.plan, stage, *choices.copy, *choices.final]
    words += [word for each in decided for word in ("--yes", each)]
    again = _line(Command(tuple(words)))
    if command.decision is not None and command.decision not in choices.yes:
        if command.preview and (code := _run(command.preview)) != DONE:
            return code
        if command.question and not confirmed(command.question):
            raise KitError(
                f"import {instance}: stopped before: {_line(command)}", hint=f"to go on: {again}"
            )
    code = _run(command.words)
    if code != DONE:
        hint = f"then go on with: {again}"
        if command.instead:  # a guest that the kit cannot read, or a finding that does not matter
            hint += f"; or start it as it is: {_line(Command(command.instead))}"
        complain(f"import {instance}: stopped at: {_line(command)}", hint)
    return code


def _run(words: Sequence[str]) -> int:
    log.info("+ instance-kit import %s", shlex.join(words))
    return run_on_terminal(
        [sys.argv[0], "import", *words], Path(), ending=signal.SIGTERM, grace=GRACE_SECONDS
    )


def _line(command: Command) -> str:
    return printable(f"instance-kit import {shlex.join(command.words)}")
