"""The options that say which volume group each disk gets."""

import argparse
import re
from collections.abc import Collection

from importer.ganeti import Ganeti
from importer.plan.cluster_answers import cluster_info
from importer.plan.rules import GroupRules
from node.errors import KitError
from node.text import parse_size

_RULE = re.compile(r"(?P<left>.+)=(?P<vg>[^=]+)")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("--vg", help="volume group; default: the cluster's")
    parser.add_argument(
        "--rule",
        dest="by_name",
        action="append",
        type=_by_name,
        default=[],
        metavar="PATTERN=VG",
        help="volume group of disks whose volume, image or target has such a name: '*-lvm=hdd'",
    )
    parser.add_argument(
        "--larger",
        action="append",
        type=_by_size,
        default=[],
        metavar="SIZE=VG",
        help="volume group of disks that are larger, like 100G=hdd",
    )


def are_given(options: argparse.Namespace) -> bool:
    """Whether there is one of the options."""
    return options.vg is not None or bool(options.by_name or options.larger)


def given(options: argparse.Namespace, cluster: Ganeti, groups: Collection[str]) -> GroupRules:
    """The rules of the options; other disks get the cluster's volume group.

    Args:
        options: of `arguments`.
        cluster: of this node; its master is asked without `--vg`.
        groups: the names of this node's volume groups.

    Raises:
        KitError: this node has not all of the groups; or the cluster has none, or its master
            cannot be asked.
    """
    default = _default_group(options.vg, cluster)
    rules = GroupRules(default, tuple(options.by_name), tuple(options.larger))
    require(rules, groups)
    return rules


def _default_group(given: str | None, cluster: Ganeti) -> str:
    if given is not None:
        return given
    group = cluster_info(cluster.run(["gnt-cluster", "info"]).stdout).group
    if group is None:
        raise KitError("volume group: the cluster has none", hint="--vg VG")
    return group


def require(rules: GroupRules, groups: Collection[str]) -> None:
    """Checks that this node has all volume groups that rules name.

    Raises:
        KitError: it has not.
    """
    named = [rules.default, *(vg for _, vg in rules.by_name), *(vg for _, vg in rules.larger)]
    missing = [vg for vg in dict.fromkeys(named) if vg not in groups]
    if missing:
        raise KitError(
            f"volume group {', '.join(missing)}: this node has none of that name",
            hint="volume groups of this node: " + (", ".join(sorted(groups)) or "none"),
        )


def _by_name(text: str) -> tuple[str, str]:
    if not (found := _RULE.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"{text}: not PATTERN=VG")
    return found["left"], found["vg"]


def _by_size(text: str) -> tuple[int, str]:
    try:
        if not (found := _RULE.fullmatch(text)):
            raise ValueError(text)
        return parse_size(found["left"]), found["vg"]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: not SIZE=VG, like 100G=hdd") from error
