"""`instance-kit verify`: reads streams to their ends, and says whether they are whole."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from backup import verifying
from backup.errors import StreamUnreadableError
from backup.verifying import State, Verdict
from converter.cli.progress import chosen
from converter.progress import Progress
from kit import DONE, PROBLEM
from kit.export_directory import CONFIG, dumps
from kit.stream_files import STANDARD, described, open_stream
from kit.verdicts import as_json, as_line, as_text
from node.files import read_text
from node.program import say

NAME = "verify"
ABOUT = "read streams to their ends, and say whether they are whole and what is in them"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="of an export; - for stdin; or a directory of gnt-backup export",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("-q", "--quiet", action="store_true", default=False, help="no progress")


class Candidate(NamedTuple):
    """Something to be verified, or what is known of it without that."""

    name: str
    known: Verdict | None = None


def run(options: argparse.Namespace) -> int:
    """Prints a verdict for each; returns PROBLEM unless all are whole."""
    progress = chosen("auto", quiet=options.quiet)
    found = list(candidates(options.files))
    verdicts = []
    for each in found:
        verdict = each.known or _verdict(each.name, progress)
        verdicts.append(verdict)
        if not options.json:
            say((as_text if len(found) == 1 else as_line)(each.name, verdict))
    if options.json:
        shown = [as_json(each.name, verdict) for each, verdict in zip(found, verdicts, strict=True)]
        say(json.dumps(shown, indent=2))
    return DONE if all(verdict.state is State.WHOLE for verdict in verdicts) else PROBLEM


def candidates(names: Sequence[str]) -> Iterator[Candidate]:
    """The files, and all that should be in directories."""
    for name in names:
        if name != STANDARD and Path(name).is_dir():
            yield from _of_export(Path(name))
        else:
            yield Candidate(name)


def _of_export(directory: Path) -> Iterator[Candidate]:
    config = directory / CONFIG
    try:
        listed = dumps(directory, read_text(config, errors="replace"))
    except OSError as error:
        state = State.MISSING if isinstance(error, FileNotFoundError) else State.UNREADABLE
        why = "the export did not end" if state is State.MISSING else error.strerror
        yield Candidate(str(config), Verdict(state, why))
        return
    except ValueError as error:
        yield Candidate(str(config), Verdict(State.DAMAGED, str(error)))
        return
    if not listed:
        yield Candidate(str(directory), Verdict(State.MISSING, "there is no dump of a disk"))
    for number, path in listed:
        if path is None:
            why = f"there is no dump of disk {number}"
            yield Candidate(str(directory), Verdict(State.MISSING, why))
        else:
            yield Candidate(str(path))


def _verdict(name: str, progress: Progress) -> Verdict:
    if name != STANDARD and not Path(name).exists():
        return Verdict(State.MISSING)
    try:
        with open_stream(name) as fd:
            return verifying.verify(fd, described(name), progress)
    except StreamUnreadableError as error:
        return Verdict(State.UNREADABLE, error.message)
