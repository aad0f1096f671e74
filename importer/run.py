"""What is left of a move, as commands of `instance-kit import`. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from importer.import_state import UNDONE_BY_A_PASS, ImportState, Pass

Stage = Literal["prepare", "switch"]
# Where a human decides: before the machine stops, over what is written into its guest, and before
# the instance runs.
Decision = Literal["final", "renumber", "check", "start"]
STAGES: tuple[Stage, ...] = get_args(Stage)
DECISIONS: tuple[Decision, ...] = get_args(Decision)
SMALL = 64 << 20  # bytes of a pass after which another one is not worth it
MAX_PASSES = 8  # of one run


@dataclass(frozen=True)
class Command:
    """A command of `instance-kit import`.

    Attributes:
        words: it and its arguments.
        decision: what it needs; None if nothing.
        question: is asked before it; "" if it needs no decision, or asks itself.
        preview: a command that shows first what would be done; () for none.
        instead: a command that leaves it out for good, if it cannot be done; () for none.
    """

    words: tuple[str, ...]
    decision: Decision | None = None
    question: str = ""
    preview: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choices:
    """What the user says.

    Attributes:
        plan: path of the plan's file.
        yes: decisions made beforehand.
        copy: options of all copies.
        final: more options of the last one.
    """

    plan: str
    yes: Collection[str] = ()
    copy: tuple[str, ...] = ()
    final: tuple[str, ...] = ()


def preparation(state: ImportState | None, before: int, choices: Choices) -> Command | None:
    """The next command while the machine goes on; None if it is prepared.

    Args:
        state: of the import; None before its first step.
        before: how many passes were complete when this run began.
        choices: of the user.
    """
    copy = ("copy", choices.plan, *choices.copy)
    if state is None or not state.done("volumes"):
        return Command(copy)
    passes = complete(state)
    if state.done("final copy") or state.done("add"):
        return None
    if not passes:
        return Command(copy)
    if len(passes) == before or _another_helps(passes, len(passes) - before, state):
        return Command((*copy, "--again"))
    return None


def switch(state: ImportState, choices: Choices) -> Command | None:
    """The next command of the switch itself; None if only `finish` is left.

    Args:
        state: of the import, with a complete copy.
        choices: of the user.
    """
    name = state.instance
    if not state.done("final copy"):  # also of a trial that was started
        words = ("copy", choices.plan, "--final", *choices.copy, *choices.final)
        return Command(
            words,
            "final",
            f"stop {state.domain} on {state.host} for the last pass?",
            (*words, "--dry-run"),
        )
    if state.done("start"):  # then nobody changes its guest any more
        return None
    if not state.done("tag"):
        return Command(("adopt", choices.plan))
    start = ("adopt", choices.plan, "--start")
    if not state.done("renumber"):
        words = ("renumber", name, *_yes("renumber", choices))
        return Command(words, "renumber", instead=start)
    if not state.done("check"):
        words = ("check", name, "--fix", *_yes("check", choices))
        return Command(words, "check", instead=start)
    return Command(start, "start", f"start {name}?")


def left(state: ImportState | None, stage: Stage, choices: Choices) -> list[Command]:
    """All commands of a stage that are left if each does what it should, without repeated ones."""
    if stage == "prepare":
        first = preparation(state, len(complete(state)), choices)
        if first is None:
            return []
        again = Command(("copy", choices.plan, *choices.copy, "--again"))
        return [first] if first == again else [first, again]
    found: list[Command] = []
    while state is not None and (each := switch(state, choices)) is not None:
        found.append(each)
        if each.decision == "final":
            state = state.without_step(*UNDONE_BY_A_PASS)
        state = state.with_step(_done_by(each))
    return [*found, finish(choices)]


def finish(choices: Choices) -> Command:
    """The last command of a switch."""
    return Command(("finish", choices.plan))


def complete(state: ImportState | None) -> list[Pass]:
    """The passes that have copied all disks."""
    return [] if state is None else [each for each in state.passes if each.complete]


def _another_helps(passes: list[Pass], run: int, state: ImportState) -> bool:
    """Whether one more pass makes the last one clearly shorter."""
    last = passes[-1].bytes
    shrinks = len(passes) == 1 or last < passes[-2].bytes / 2
    return state.source_before != "shut off" and last > SMALL and shrinks and run < MAX_PASSES


def _done_by(command: Command) -> Literal["final copy", "tag", "renumber", "check", "start"]:
    match command.decision:
        case None:
            return "tag"
        case "final":
            return "final copy"
        case "renumber" | "check" | "start" as same:
            return same


def _yes(decision: Decision, choices: Choices) -> tuple[str, ...]:
    return ("--yes",) if decision in choices.yes else ()
