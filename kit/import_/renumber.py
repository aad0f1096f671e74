"""`instance-kit import renumber`: gives the guest of an instance its new addresses."""

import argparse
import re
import time
from pathlib import Path

from importer.editing import as_diff
from importer.renumber import command, report
from importer.renumber.command import Review
from installer.inputs import resolver
from kit import DONE, FAILED
from kit.import_ import records
from kit.import_.stopped import stopped
from node.errors import KitError
from node.isolation.namespace import contained
from node.program import confirmed, run_command, say
from node.text import printable

NAME = "renumber"
ABOUT = "write an instance's addresses into the files of its guest"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument("instance", metavar="INSTANCE", help="stopped, on this node")
    parser.add_argument("--dry-run", action="store_true", help="show the changes only")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--srv", action="store_true", help="look for old addresses below /srv, too")
    parser.add_argument(
        "--static",
        action="store_true",
        help="write addresses for NICs that use DHCP, too, with the name servers of this node",
    )
    parser.add_argument(
        "--nic",
        action="append",
        default=[],
        type=_nic,
        metavar="N=NAME",
        help="the guest's name of NIC N, if it is not certain",
    )
    parser.set_defaults(quiet=False)


def run(options: argparse.Namespace) -> int:
    """Shows the changes, asks, and writes them."""

    def act() -> int:
        _renumber(options)
        return DONE

    # In namespaces of its own: after SIGKILL, the kernel ends the appliance.
    return contained(lambda: run_command(act, failed=FAILED, debugging="--debug"))


def _nic(text: str) -> tuple[int, str]:
    match = re.fullmatch(r"(\d{1,2})=([\w.*-]{1,15})", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text}: not a NIC and its name, like 0=ens3")
    return int(match[1]), match[2]


def _renumber(options: argparse.Namespace) -> None:
    with stopped(options.instance) as found:
        instance = found.instance
        review = command.review(
            found.disks,
            instance,
            old_macs=records.old_macs(instance.name),
            chosen=dict(options.nic),
            static=resolver(Path("/")) if options.static else None,
            srv=options.srv,
        )
        say(as_text(review))
        if options.dry_run:
            return
        if review.proposal.edits:
            question = f"write these changes into the guest of {instance.name}?"
            if not options.yes and not confirmed(question):
                raise KitError(
                    f"guest of {instance.name}: not changed", hint="--yes writes without asking"
                )
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            records.renumbering(instance.name, review.proposal.changes)
            command.apply(found.disks, instance, review.proposal, stamp)
        records.completed(instance.name, "renumber")


def as_text(review: Review) -> str:
    """The diff, the addresses, what stays, and where else old addresses are."""
    proposal = review.proposal
    parts = [printable(line) for line in as_diff(proposal.edits).splitlines()]
    parts += ["" if parts else "nothing to change"]
    parts += [printable(line) for line in report.addresses(proposal.changes, proposal.edits)]
    parts += [printable(f"note: {note}") for note in proposal.notes]
    if found := report.mentions(review.mentions):
        parts += ["", "old addresses elsewhere:", *(f"  {line}" for line in found)]
    return "\n".join(parts)
