"""`instance-kit import plan`: writes the plan of an import, and checks all that could stop it."""

import argparse
import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from importer import ganeti, journal
from importer.adoption import adopted
from importer.domains.inventory import Inventory
from importer.host.connection import KvmHost, connected
from importer.inspection import take
from importer.plan import gather
from importer.plan.file import problems, render
from importer.plan.load import load
from importer.plan.model import ImportPlan
from importer.plan.preflight import findings
from importer.plan.rules import (
    Draft,
    GroupRules,
    Network,
    Target,
    VolumeGroup,
    draft,
    instance_name,
)
from kit import DONE, PROBLEM
from kit.import_ import group_rules
from node.errors import KitError
from node.files import write_whole
from node.finding import PROBLEM as SERIOUS
from node.finding import Finding, as_json, as_text, problem
from node.log import log
from node.program import say

# Fields of a plan that are given by options, as patterns.
_OPTIONS = (
    ("instance", "--instance NAME"),
    ("disks*.lv", "--instance NAME"),
    ("variables.file", "--instance NAME"),
    ("disks*.vg", "--vg, --rule or --larger"),
    ("nics[[]*", "--network, --link or --ip"),
    ("os", "--os NAME"),
    ("host", "another name for the HOST, in ssh_config(5)"),
)

NAME = "plan"
ABOUT = "write the plan of an import, and check all that could stop it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.set_defaults(quiet=False)
    parser.add_argument("host", nargs="?", metavar="HOST", help="the KVM host, as for ssh")
    parser.add_argument("domain", nargs="?", metavar="DOMAIN", help="libvirt's name, or the UUID")
    parser.add_argument("--check", metavar="PLAN", help="check an existing plan; writes nothing")
    parser.add_argument("--output", metavar="FILE", help="the plan; default: INSTANCE.toml")
    parser.add_argument("--force", action="store_true", help="replace FILE")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    parser.add_argument("--json", action="store_true", help="findings for programs")
    parser.add_argument("--instance", metavar="NAME", help="default: the domain's name")
    parser.add_argument(
        "--os",
        default="debootstrap+default",
        help="the OS that Ganeti notes (default: %(default)s)",
    )
    group_rules.arguments(parser)
    for name, what in (("network", "Ganeti's network"), ("link", "bridge"), ("ip", "address")):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            help=f'{what} of a NIC; once for each, in their order; "" for none',
        )
    parser.add_argument(
        "--keep-mac",
        action="store_true",
        help="NICs keep their MACs; source and copy must not meet",
    )


def run(options: argparse.Namespace) -> int:
    """Writes or reads the plan, and prints the findings; PROBLEM if one would stop the import.

    Raises:
        KitError: a host cannot be asked, or the plan cannot be read or written.
    """
    cluster = ganeti.of_this_node()
    groups = gather.volume_groups()
    if options.check is not None:
        plan, _ = load(Path(options.check))
        with connected(plan.host) as host:
            found = _findings(plan, take(host, plan.uuid), host, cluster, groups)
        return _report(found, json_=options.json)
    if options.host is None or options.domain is None:
        raise KitError("import plan: HOST and DOMAIN are needed", hint="import plan HOST DOMAIN")
    rules = group_rules.given(options, cluster, groups)
    with connected(options.host) as host:
        inventory = take(host, options.domain)
        made = _draft(options, inventory, host, cluster, groups, rules)
        found = _findings(made.plan, inventory, host, cluster, groups)
    invalid = [*_superfluous(options, made.plan), *_invalid(made.plan)]
    if invalid:
        return _report([*invalid, *found], json_=options.json)
    text = render(made)
    if not options.dry_run:
        _write(Path(options.output or f"{made.plan.instance}.toml"), text, force=options.force)
    elif not options.json:
        say(text)
    return _report(found, json_=options.json)


def _invalid(plan: ImportPlan) -> Iterator[Finding]:
    """Why there can be no such plan, and the option for it."""
    for each in problems(plan):
        place, _, why = each.partition(": ")
        options = (option for pattern, option in _OPTIONS if fnmatchcase(place, pattern))
        remedy = next(options, "change the domain there: virsh edit, or virsh blockcopy for disks")
        yield problem(f"no plan of {plan.domain} is written: {place}", why, remedy)


def _superfluous(options: argparse.Namespace, plan: ImportPlan) -> Iterator[Finding]:
    """Options for more NICs than there are: which NIC was meant is not clear."""
    for name in ("network", "link", "ip"):
        given, there = len(getattr(options, name)), len(plan.nics)
        if given > there:
            yield problem(
                f"no plan of {plan.domain} is written: --{name}",
                f"given {given} times, and the domain has {there} NICs",
                'once for each NIC, in their order; "" for none',
            )


def _draft(
    options: argparse.Namespace,
    inventory: Inventory,
    host: KvmHost,
    cluster: ganeti.Ganeti,
    groups: dict[str, VolumeGroup],
    rules: GroupRules,
) -> Draft:
    domain = inventory.domain
    name = options.instance or instance_name(domain.name, cluster.here)
    network = Network(
        tuple(options.network), tuple(options.link), tuple(options.ip), options.keep_mac
    )
    size = gather.file_size(host, domain.nvram) if domain.nvram else 0
    target = Target(name, cluster.here, options.os)
    return draft(inventory, options.host, target, groups, rules, network, gather.qemu(), size)


def _findings(
    plan: ImportPlan,
    inventory: Inventory,
    host: KvmHost,
    cluster: ganeti.Ganeti,
    groups: dict[str, VolumeGroup],
) -> list[Finding]:
    known = gather.facts(plan, host, cluster, gather.qemu(), groups, ours(plan))
    return findings(plan, inventory, known)


def ours(plan: ImportPlan) -> set[str]:
    """The volumes of a plan, as vg/lv, and the instance, that an earlier run has made.

    Raises:
        KitError: the journal cannot be read, or LVM's tools fail.
    """
    if plan.instance not in journal.imports():
        return set()
    state = adopted.refreshed(journal.read(plan.instance))
    made = {f"{disk.vg}/{disk.lv}" for disk in plan.disks if state.volume(disk.target)}
    return made | ({plan.instance} if state.done("add") else set())


def _write(path: Path, text: str, *, force: bool) -> None:
    """Writes a plan.

    Raises:
        KitError: the file exists, or cannot be written.
    """
    if path.exists() and not force:
        raise KitError(
            f"plan {path}: exists, and may have been edited", hint="--force, or --output FILE"
        )
    try:
        write_whole(path, text.encode(), mode=0o600)
    except OSError as error:
        raise KitError(f"plan {path}: {error.strerror}", hint="--output FILE") from error
    log.info("plan %s", path)


def _report(found: Sequence[Finding], *, json_: bool) -> int:
    say(json.dumps(as_json(found), indent=2) if json_ else as_text(found))
    return PROBLEM if any(each.level == SERIOUS for each in found) else DONE
