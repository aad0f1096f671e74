"""`instance-kit doctor`: checks whether this node is fit for creates, and names remedies."""

import argparse
import json

from kit import DONE, PROBLEM, site
from kit.checks import definition, hooks, machine, storage, variants
from node.errors import KitError
from node.finding import PROBLEM as SERIOUS
from node.finding import Finding, as_json, as_text, found_by
from node.program import say

NAME = "doctor"
ABOUT = "check whether this node is fit for creates"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument(
        "--variant",
        action="append",
        metavar="VARIANT",
        help="check this one; may be repeated; default: all published ones",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Prints the findings; returns PROBLEM if one is a problem."""
    findings = examine(options.variant)
    say(json.dumps(as_json(findings), indent=2) if options.json else as_text(findings))
    return PROBLEM if any(found.level == SERIOUS for found in findings) else DONE


def examine(names: list[str] | None) -> list[Finding]:
    """Runs all checks.

    Args:
        names: the variants; None for all published ones.
    """
    findings = [
        *found_by(machine.versions, "versions"),
        *found_by(machine.master, "cluster"),
        *found_by(machine.clock, "clock"),
        *found_by(machine.kernel, "kernel"),
        *found_by(machine.sockets, "sockets"),
        *found_by(lambda: definition.check(site.OS_DIR), "gnt-os diagnose"),
    ]
    looked = variants.Variants()

    def look() -> list[Finding]:
        looked_at = variants.check(site.variants() if names is None else names, site.builder())
        looked.decided.update(looked_at.decided)
        return looked_at.findings

    findings += found_by(look, "variants")
    findings += found_by(lambda: variants.programs(looked.decided), "programs")
    findings += found_by(lambda: variants.mirrors(looked.decided), "mirrors")
    try:
        settings, directories = site.settings(""), site.cache_directories()
    except KitError:  # each variant has reported it: the settings of the site are part of theirs
        return [*findings, *found_by(storage.logs, "OS logs")]
    return [
        *findings,
        *found_by(lambda: hooks.check(settings), "site hooks"),
        *found_by(lambda: storage.caches(directories, settings), "cache"),
        *found_by(lambda: storage.of_variants(looked.decided), "cache"),
        *found_by(lambda: storage.leftovers(directories), "leftovers"),
        *found_by(storage.logs, "OS logs"),
    ]
