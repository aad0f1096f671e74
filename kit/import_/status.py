"""`instance-kit import status`: where imports stand, and what comes next."""

import argparse
import json
import time
from dataclasses import asdict

from importer import journal
from importer.adoption.adopted import as_found, exists, located
from importer.journal import ImportState, Pass
from importer.plan.word import noted_word
from kit import DONE
from node.devices import lvm
from node.errors import KitError
from node.log import log
from node.program import say
from node.text import printable, size

NAME = "status"
ABOUT = "list imports, or show where one stands"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument("instance", nargs="?", metavar="INSTANCE", help="default: all imports")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Prints the state of one import or of all.

    Raises:
        KitError: there is no such import, a journal cannot be read, or LVM's tools fail. The other
            imports are printed nevertheless.
    """
    names = [options.instance] if options.instance else list(journal.imports())
    present = lvm.volumes() if names else []
    states, damaged = [], []
    for name in names:
        try:
            state = journal.read(name)
        except KitError as error:
            damaged.append(error)
            continue
        found = located(state.volumes, present)
        states.append(as_found(state, found, exists=exists(name)))
    if options.json:
        say(json.dumps([asdict(state) for state in states], indent=2))
    else:
        for state in states:
            plan = noted_word(state.plan_file, state.instance)
            lines = as_text(state, plan, in_use=journal.in_use(state.instance))
            say("\n".join(printable(line) for line in lines))
        if not names:
            say("no imports")
    for other in damaged[1:]:
        log.error("%s", other.message)
    if damaged:
        raise damaged[0]
    return DONE


def as_text(state: ImportState, plan: str, *, in_use: bool) -> list[str]:
    """Lines for people.

    Args:
        state: of the import, with the names that its volumes have now.
        plan: its file, as a word of a command.
        in_use: whether a command works on it.
    """
    lines = [f"{state.instance}: {state.domain} on {state.host}, began {_when(state.began)}"]
    if in_use:
        lines.append("  a command works on it")
    if state.source_before is not None:
        now = f", {state.stopped_by_us} by the import" if state.stopped_by_us else ""
        lines.append(f"  source    was {state.source_before}{now}")
    for volume in state.volumes:
        whose = "of the instance" if volume.adopted else "of the import"
        lines.append(f"  disk      {volume.target}: {volume.vg}/{volume.lv}, {whose}")
    lines += [f"  pass {each.number:<4} {_figures(each)}" for each in state.passes]
    for name, at in sorted(state.steps.items(), key=lambda step: step[1]):
        lines.append(f"  done      {name}, {_when(at)}")
    for nic in state.addresses:
        old, new = (", ".join(each) or "none" for each in (nic.old, nic.new))
        lines.append(f"  NIC {nic.nic:<5} {old} is now {new}")
    return lines + [f"  {when:<9} {what}" for when, what in next_steps(state, plan)]


def next_steps(state: ImportState, plan: str) -> list[tuple[str, str]]:
    """What comes next, as commands, each after `next` or `then`. Pure.

    Args:
        state: of the import.
        plan: its file, as a word of a command.
    """
    name, verb = state.instance, "instance-kit import"
    if not state.done("copy") and not state.done("final copy"):
        return [("next", f"{verb} copy {plan}")]
    if not state.done("final copy"):
        trial = state.done("add")
        first = f"gnt-instance shutdown {name}" if trial else f"{verb} copy {plan} --again"
        return [("next", first), ("then", f"{verb} copy {plan} --final")]
    if not state.done("tag"):
        return [("next", f"{verb} adopt {plan}")]
    for step, command in (
        ("renumber", f"renumber {name}"),
        ("check", f"check {name}"),
        ("start", f"adopt {plan} --start"),
        ("finish", f"finish {plan}"),
    ):
        # When the instance runs, nobody else changes its guest (`importer.run.switch`).
        if step in ("renumber", "check") and state.done("start"):
            continue
        if step not in state.steps:
            return [("next", f"{verb} {command}")]
    return [("next", f"nothing; {verb} abort {name} only forgets the import")]


def _figures(one: Pass) -> str:
    kind = "final" if one.final else "all of it" if one.number == 1 else "changes"
    if not one.complete:
        return f"{kind}, began {_when(one.began)}, not complete"
    down = "" if one.downtime is None else f", {one.downtime:.1f} s without the source"
    return f"{kind}, {size(one.bytes)} in {one.seconds:.1f} s{down}"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
