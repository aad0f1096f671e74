"""`instance-kit import check`: checks the guest of an instance before its first boot."""

import argparse
import json
import time

from importer.check import command
from importer.check.command import Checked
from importer.editing import as_diff
from kit import DONE, FAILED, PROBLEM
from kit.import_ import records
from kit.import_.stopped import Stopped, stopped
from node import finding
from node.errors import KitError
from node.isolation.namespace import contained
from node.program import confirmed, run_command, say
from node.text import printable

NAME = "check"
ABOUT = "check the guest of an instance before its first boot"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument("instance", metavar="INSTANCE", help="stopped, on this node")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print the findings for programs")
    how.add_argument(
        "--fix", action="store_true", help="mend what can be mended; shows a diff, and asks"
    )
    parser.add_argument("--dry-run", action="store_true", help="with --fix: show the diff only")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(quiet=False)


def run(options: argparse.Namespace) -> int:
    """Checks, mends if asked, and checks again."""

    def act() -> int:
        with stopped(options.instance) as found:
            return _check(found, options)

    # In namespaces of its own: after SIGKILL, the kernel ends the appliance.
    return contained(lambda: run_command(act, failed=FAILED, debugging="--debug"))


def _check(found: Stopped, options: argparse.Namespace) -> int:
    name = found.instance.name
    checked = command.check(found.disks, found.instance)
    if options.fix and (checked.edits or checked.tables):
        say(finding.as_text(checked.findings))
        say(mending(checked))
        if options.dry_run:
            return _code(checked)
        if not options.yes and not confirmed(f"write these changes into the guest of {name}?"):
            raise KitError(f"guest of {name}: not changed", hint="--yes writes without asking")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        command.mend(found.disks, found.instance, checked, stamp)
        checked = command.check(found.disks, found.instance)
    if options.json:
        say(json.dumps(finding.as_json(checked.findings), indent=2))
    else:
        say(finding.as_text(checked.findings))
    if _code(checked) == DONE and not options.dry_run:
        records.completed(name, "check")
    return _code(checked)


def mending(checked: Checked) -> str:
    """What `--fix` writes."""
    lines = [printable(line) for line in as_diff(checked.edits).splitlines()]
    lines += [f"disk {number}: the GPT's backup moves to its end" for number in checked.tables]
    return "\n".join(lines)


def _code(checked: Checked) -> int:
    bad = any(found.level == finding.PROBLEM for found in checked.findings)
    return PROBLEM if bad else DONE
