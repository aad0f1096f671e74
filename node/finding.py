"""The result of a check: one line for people, and a remedy."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from node.errors import KitError
from node.text import printable

OK, NOTE, PROBLEM = "ok", "note", "problem"
_INDENT = " " * 9


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        level: OK; NOTE if it may be intended, or affects other jobs than those that the checks
            are for; PROBLEM if these fail because of it.
        about: what was checked.
        text: what was found.
        remedy: what to do about it; "" if the level is OK.
    """

    level: str
    about: str
    text: str
    remedy: str = ""


def ok(about: str, text: str) -> Finding:
    """A finding of level OK."""
    return Finding(OK, about, text)


def note(about: str, text: str, remedy: str) -> Finding:
    """A finding of level NOTE."""
    return Finding(NOTE, about, text, remedy)


def problem(about: str, text: str, remedy: str) -> Finding:
    """A finding of level PROBLEM."""
    return Finding(PROBLEM, about, text, remedy)


def failure(about: str, error: KitError) -> Finding:
    """The error with which the job would end that the checks are for."""
    return Finding(PROBLEM, about, error.message, error.hint)


def found_by(check: Callable[[], Iterable[Finding]], about: str) -> Iterator[Finding]:
    """The findings of a check; if the check itself fails, that is a problem, too."""
    try:
        yield from check()
    except KitError as error:
        yield failure(about, error)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        yield problem(about, text, "see dmesg and df")


def as_text(findings: Sequence[Finding]) -> str:
    """A line for each finding, and its remedy below it."""
    lines = []
    for found in findings:
        lines.append(f"{found.level:<{len(_INDENT)}}{found.about}: {found.text}")
        if found.remedy:
            lines.append(f"{_INDENT}{found.remedy}")
    return "\n".join(printable(line) for line in lines)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """For programs, as instance-kit(8) describes it."""
    fit = all(found.level != PROBLEM for found in findings)
    return {"fit": fit, "findings": [asdict(found) for found in findings]}
