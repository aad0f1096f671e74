"""What is left of a move."""

from dataclasses import replace

import pytest

from importer import run
from importer.import_state import ImportState, Pass, Step
from importer.run import Choices, Command

NAME = "web.example.org"
BEGUN = ImportState(
    NAME, "kvm1", "web", "6f2a5f4e-6f26-4c1a-bd53-3a7a3a0e9a10", "", 0.0, {"volumes": 1.0}
)
PLAN = Choices("web.toml")
COPY = ("copy", "web.toml")
AGAIN = (*COPY, "--again")
GIB = 1 << 30


def passed(*sizes: int, state: ImportState = BEGUN) -> ImportState:
    passes = tuple(
        Pass(number, False, "", 0.0, complete=True, bytes=size)
        for number, size in enumerate(sizes, 1)
    )
    return replace(state, passes=passes).with_step("copy")


def done(*steps: Step) -> ImportState:
    state = passed(GIB)
    for step in steps:
        state = state.with_step(step)
    return state


def words(command: Command | None) -> tuple[str, ...] | None:
    return command and command.words


@pytest.mark.parametrize(
    ("state", "before", "expected"),
    [
        (None, 0, COPY),
        (BEGUN, 0, COPY),
        (replace(BEGUN, passes=(Pass(1, False, "", 0.0),)), 0, COPY),
        (passed(GIB), 0, AGAIN),
        (passed(run.SMALL), 0, None),
        (passed(GIB, run.SMALL + 1), 0, AGAIN),
        (passed(GIB, GIB // 2), 0, None),  # it does not shrink
        (passed(GIB, run.SMALL), 0, None),
        (passed(GIB, 0), 2, AGAIN),  # days later
        (passed(GIB, 0, 0), 2, None),
        (replace(passed(GIB), source_before="shut off"), 0, None),
        (done("final copy"), 1, None),
        (done("add"), 1, None),
    ],
)
def test_passes_go_on_until_they_are_small(
    state: ImportState | None, before: int, expected: tuple[str, ...] | None
) -> None:
    assert words(run.preparation(state, before, PLAN)) == expected


def test_passes_end_even_if_each_is_half_of_the_one_before() -> None:
    sizes = [run.SMALL << (40 - 2 * number) for number in range(run.MAX_PASSES)]
    assert run.preparation(passed(*sizes), 0, PLAN) is None
    assert words(run.preparation(passed(*sizes[:-1]), 0, PLAN)) == AGAIN


ORDER: tuple[tuple[tuple[Step, ...], tuple[str, ...]], ...] = (
    ((), (*COPY, "--final", "--rate", "1M", "--suspend")),
    (("final copy",), ("adopt", "web.toml")),
    (("final copy", "add"), ("adopt", "web.toml")),  # killed before it was tagged
    (("final copy", "add", "tag"), ("renumber", NAME)),
    (("final copy", "add", "tag", "renumber"), ("check", NAME, "--fix", "--yes")),
    (("final copy", "add", "tag", "renumber", "check"), ("adopt", "web.toml", "--start")),
)


@pytest.mark.parametrize(("steps", "expected"), ORDER)
def test_each_step_of_the_switch_is_done_once(
    steps: tuple[Step, ...], expected: tuple[str, ...]
) -> None:
    choices = Choices("web.toml", {"check"}, ("--rate", "1M"), ("--suspend",))
    assert words(run.switch(done(*steps), choices)) == expected


def test_a_trial_that_was_started_is_no_switch() -> None:
    state = done("add", "tag", "start")
    assert words(run.switch(state, PLAN)) == (*COPY, "--final")
    assert [each.words[0] for each in run.left(state, "switch", PLAN)][-2:] == ["adopt", "finish"]


def test_the_guest_of_an_instance_that_was_started_is_left_alone() -> None:
    assert run.switch(done("final copy", "tag", "start"), PLAN) is None


def test_a_human_decides_where_something_is_stopped_written_or_started() -> None:
    commands = run.left(done(), "switch", PLAN)
    decisions = [each.decision for each in commands]
    assert decisions == ["final", None, "renumber", "check", "start", None]
    assert set(decisions) - {None} == set(run.DECISIONS)
    # The others show a diff, and ask themselves.
    assert [bool(each.question) for each in commands] == [True, False, False, False, True, False]
    assert commands[0].preview == (*COPY, "--final", "--dry-run")


def test_what_is_left_of_a_stage() -> None:
    assert [each.words for each in run.left(None, "prepare", PLAN)] == [COPY, AGAIN]
    assert [each.words for each in run.left(passed(0), "prepare", PLAN)] == [AGAIN]
    assert run.left(done("final copy"), "prepare", PLAN) == []
    started = done("final copy", "tag", "renumber", "check", "start")
    assert run.left(started, "switch", PLAN) == [Command(("finish", "web.toml"))]
