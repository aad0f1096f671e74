"""The file of a plan: TOML with comments for its reader. Pure."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from importer.fields import FieldsInvalid, decoded
from importer.plan import command, names
from importer.plan.hypervisor import variables_file
from importer.plan.model import DiskPlan, ImportPlan, NicPlan
from importer.plan.rules import MIB, Draft
from node import text

VERSION = 1
SIZES = ("memory", "size", "volume_size")
_MIBS = "whole MiB, with which Ganeti counts; a number without a unit is bytes: 2048MiB"
MAX_DISKS, MAX_NICS = 16, 8  # Ganeti's constants of the same names
_EXPLAINED = {"os": "must be installed on the node, though adoption runs none of its scripts"}


class PlanInvalid(ValueError):  # noqa: N818 - as in `except PlanInvalid`
    """The text is no valid plan; `problems` has all reasons."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def render(draft: Draft) -> str:
    """The text of a valid plan (`problems` has none); `parse` gives the plan again."""
    return "\n".join(_lines(draft)) + "\n"


def parse(content: str) -> ImportPlan:
    """The plan of a file.

    Raises:
        PlanInvalid: it is none; if it is TOML, all that is wrong in it is named.
    """
    try:
        table: dict[str, Any] = tomllib.loads(content)
    except (ValueError, RecursionError) as error:
        raise PlanInvalid([str(error)]) from error
    if table.pop("version", None) != VERSION:
        raise PlanInvalid([f"version: not {VERSION}"])
    wrong = list(_parse_sizes(table, ""))
    disks = table.get("disks", ())
    for number, each in enumerate(disks if isinstance(disks, list) else ()):
        wrong += _parse_sizes(each, f"disks[{number}].")
    try:
        plan = decoded(ImportPlan, table)
    except FieldsInvalid as error:
        raise PlanInvalid([*wrong, *error.problems]) from error
    places = {each.partition(":")[0] for each in wrong}
    wrong += [each for each in problems(plan) if each.partition(":")[0] not in places]
    if wrong:
        raise PlanInvalid(wrong)
    return plan


def changes(old: ImportPlan, new: ImportPlan, *, adopted: bool) -> list[str]:
    """The changed fields that must not change any more: volumes were made by the old plan.

    Args:
        old: the plan as it was used.
        new: the plan as it is now.
        adopted: whether there is an instance by now: then no field may change.
    """
    made = ("host", "domain", "uuid", "instance", "node", "disks")
    fixed = tuple(each.name for each in fields(ImportPlan)) if adopted else made
    return [name for name in fixed if getattr(old, name) != getattr(new, name)]


def _parse_sizes(table: object, place: str) -> Iterator[str]:
    """Makes numbers of sizes with a unit; yields which of them are none, and leaves 0 there."""
    for key in SIZES if isinstance(table, dict) else ():
        if isinstance(table, dict) and isinstance(table.get(key), str):
            try:
                table[key] = text.parse_size(table[key])
            except ValueError as error:
                yield f"{place}{key}: {error}"
                table[key] = 0


def problems(plan: ImportPlan) -> Iterator[str]:
    """What is invalid in a plan whose fields have the right types."""
    checks: tuple[tuple[str, bool, str], ...] = (
        ("host", names.is_ssh_host(plan.host), "not [user@]host"),
        ("domain", names.is_domain(plan.domain), "not a name of a domain"),
        ("uuid", names.is_uuid(plan.uuid), "not a UUID"),
        ("instance", names.is_instance(plan.instance), "not a name of an instance, in lower case"),
        ("node", names.is_name(plan.node), "not a name of a node"),
        ("os", names.is_os(plan.os), "not a name of an OS"),
        ("vcpus", 1 <= plan.vcpus <= 4096, "not a number of CPUs"),
        ("memory", plan.memory >= MIB and plan.memory % MIB == 0, f"not {_MIBS}"),
        ("disks", 1 <= len(plan.disks) <= MAX_DISKS, f"not 1 to {MAX_DISKS}"),
        ("nics", len(plan.nics) <= MAX_NICS, f"more than {MAX_NICS}"),
    )
    for place, valid, why in checks:
        if not valid:
            yield f"{place}: {why}"
    for number, disk in enumerate(plan.disks):
        yield from (f"disks[{number}].{each}" for each in _disk_problems(disk))
    for number, nic in enumerate(plan.nics):
        yield from (f"nics[{number}].{each}" for each in _nic_problems(nic))
    yield from _duplicates("disks", "target", [disk.target for disk in plan.disks])
    yield from _duplicates("disks", "path", [disk.path for disk in plan.disks])
    yield from _duplicates("disks", "lv", [f"{disk.vg}/{disk.lv}" for disk in plan.disks])
    macs = [nic.mac for nic in plan.nics if nic.mac != "generate"]
    yield from _duplicates("nics", "mac", macs)
    for name, value in plan.hypervisor.items():
        if not names.PARAMETER.fullmatch(name):
            yield f"hypervisor.{name!r}: not a parameter"
        if not value.isprintable() and value:
            yield f"hypervisor.{name}: not printable"
    if plan.variables is not None:
        if not names.is_path(plan.variables.source):
            yield "variables.source: not an absolute path"
        # It is written on adoption, and `import abort` removes it.
        if plan.variables.file != (file := variables_file(plan.instance)):
            yield f"variables.file: not {file}"
        # The instance would boot without them, or with those of another instance.
        elif file not in re.split("[ ,=]", plan.hypervisor.get("kvm_extra", "")):
            yield f"hypervisor.kvm_extra: does not name the file of variables, {file}"


def _disk_problems(disk: DiskPlan) -> Iterator[str]:
    if not names.is_target(disk.target):
        yield "target: not a disk's name in a domain, such as vda"
    if not names.is_path(disk.path):
        yield "path: not an absolute path of printable characters, without . and .."
    if disk.size < 1:
        yield "size: not positive"
    if not names.is_group(disk.vg):
        yield "vg: not a name of a volume group"
    elif not names.is_volume(disk.vg, disk.lv):
        yield "lv: not a name of a volume, or too long"
    if disk.volume_size < disk.size:
        yield "volume_size: smaller than the source"
    elif disk.volume_size % MIB:
        yield f"volume_size: not {_MIBS}"
    if disk.swap_uuid is not None and not names.is_uuid(disk.swap_uuid):
        yield "swap_uuid: not a UUID"
    if not names.is_swap_label(disk.swap_label or ""):
        yield "swap_label: not a label"
    if disk.swap_label is not None and disk.swap_uuid is None:
        yield "swap_label: without a swap_uuid"


def _nic_problems(nic: NicPlan) -> Iterator[str]:
    if not names.is_mac(nic.old_mac):
        yield "old_mac: not a MAC address in lower case"
    if nic.mac != "generate" and not names.is_mac(nic.mac):
        yield "mac: neither generate nor a MAC address in lower case"
    if nic.network is not None and not names.is_name(nic.network):
        yield "network: not a name of a network"
    if nic.link is not None and not names.is_name(nic.link):
        yield "link: not a name of a bridge"
    if nic.network is not None and nic.link is not None:
        yield "link: the network decides it"
    if nic.ip == "pool":
        if nic.network is None:
            yield "ip: pool needs a network"
    elif nic.ip is not None and not names.is_address(nic.ip):
        yield "ip: neither pool nor an address"


def _duplicates(place: str, field: str, values: Sequence[str]) -> Iterator[str]:
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield f"{place}: {field} {value} twice"


def _lines(draft: Draft) -> Iterator[str]:
    plan = draft.plan
    yield f"# Import of {plan.domain} on {plan.host} as the instance {plan.instance}."
    yield "# Nothing has been changed yet. Review this file, edit it where it is wrong."
    # Not the path itself: the file may be moved.
    yield "# Then, with its path in place of PLAN:"
    yield "#   instance-kit import copy PLAN            while the machine runs; also --again"
    yield "#   instance-kit import copy PLAN --final    it stays off from here on"
    yield "#   instance-kit import adopt PLAN"
    yield "# Sizes are numbers of bytes, or have a unit: 512MiB, 20GiB."
    yield f"version = {VERSION}"
    yield ""
    yield "# the source"
    yield from _values(plan, "host", "domain", "uuid")
    yield ""
    yield "# the instance"
    yield from _comments(draft.notes, "instance")
    yield from _values(plan, "instance", "node", "os", "vcpus", "memory", "ignore_ipolicy")
    if plan.variables is not None:
        yield ""
        yield "# UEFI variables, with the boot entries: the file is copied to the node on adoption"
        yield "[variables]"
        yield from _values(plan.variables, "source", "file")
    yield ""
    yield "# Ganeti's hypervisor parameters that follow from the source"
    yield from _comments(draft.notes, "hypervisor")
    yield "[hypervisor]"
    for name, value in sorted(plan.hypervisor.items()):
        yield from _comments(draft.notes, f"hypervisor.{name}")
        yield f"{name} = {_quoted(value)}"
    for number, disk in enumerate(plan.disks):
        yield ""
        yield f"# disk {number}: {_about(disk)}"
        yield from _comments(draft.notes, f"disks[{number}]")
        yield "[[disks]]"
        yield from _values(disk, *(each.name for each in fields(disk)))
    for number, nic in enumerate(plan.nics):
        yield ""
        yield f"# NIC {number}"
        yield from _comments(draft.notes, f"nics[{number}]")
        yield "[[nics]]"
        yield from _values(nic, *(each.name for each in fields(nic)))
    yield ""
    yield "# What adopt runs on the master, unless this file is changed:"
    yield f"#   {shlex.join(command.add(plan))}"


def _about(disk: DiskPlan) -> str:
    if disk.swap_uuid is not None:
        return f"{text.size(disk.size)} of swap, not copied: made anew with this UUID and label"
    kind = "block device" if disk.is_block else "file"
    return f"{text.size(disk.size)}, {disk.format}, a {kind}"


def _comments(notes: Mapping[str, Sequence[str]], place: str) -> Iterator[str]:
    for note in notes.get(place, ()):
        yield f"# {text.printable(note)}"


def _values(source: object, *names_: str) -> Iterator[str]:
    for name in names_:
        value = getattr(source, name)
        if value is None:
            continue
        why = f"  # {_EXPLAINED[name]}" if name in _EXPLAINED else ""
        if name in SIZES:
            yield f"{name} = {_quoted(_size(value))}{why}"
        elif isinstance(value, bool):
            yield f"{name} = {str(value).lower()}{why}"
        elif isinstance(value, int):
            yield f"{name} = {value}{why}"
        else:
            yield f"{name} = {_quoted(value)}{why}"


def _size(count: int) -> str:
    """A number of bytes, exactly."""
    for unit, word in ((MIB << 10, "GiB"), (MIB, "MiB")):
        if count and count % unit == 0:
            return f"{count // unit}{word}"
    return str(count)


def _quoted(value: str) -> str:
    """A basic string of TOML, for printable text."""
    return json.dumps(value, ensure_ascii=False)
