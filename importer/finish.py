"""What remains for people after a move, filled in: DNS, the announcement, the source. Pure."""

import re
import shlex
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from importer.import_state import ImportState, NicAddresses, Step
from importer.plan.model import ImportPlan
from importer.renumber import tokens

LOW_TTL, USUAL_TTL = 300, 3600  # seconds
# What a move consists of; mirroring and failing over are choices.
STEPS: tuple[Step, ...] = ("final copy", "add", "renumber", "check", "start")
# Steps of a stopped instance. Of one that runs, somebody has done them by hand.
_BEFORE_START: tuple[Step, ...] = ("renumber", "check")

_Address = IPv4Address | IPv6Address


class _Section(NamedTuple):
    title: str
    lines: Sequence[str]


def text(plan: ImportPlan, state: ImportState, checkpoints: Sequence[str], file: str) -> str:
    """The whole text, in Markdown.

    Args:
        plan: of the import.
        state: its journal.
        checkpoints: names of libvirt's that are still on the source.
        file: of the plan, as a word of a command (`importer.plan.word`).
    """
    sections = (
        _Section("Not done yet", list(_open_steps(plan, state, file))),
        _Section("DNS", list(_dns(plan, state.addresses))),
        _Section("Reverse DNS", list(_reverse(plan, state.addresses))),
        _Section("Announcement", list(_announcement(plan, state))),
        _Section("Old addresses in other places", list(_greps(plan, state.addresses))),
        _Section("The source", list(_source(plan, state, checkpoints))),
    )
    parts = [f"# What remains of the move of {plan.domain} to {plan.instance}"]
    for section in sections:
        if section.lines:
            parts += ["", f"## {section.title}", "", *section.lines]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip()


def complete(state: ImportState) -> bool:
    """Whether the instance was started after the last copy.

    A guest that the kit cannot read, such as an encrypted one, is never renumbered nor checked.
    """
    return all(state.done(step) for step in STEPS if step not in _BEFORE_START)


def _open_steps(plan: ImportPlan, state: ImportState, file: str) -> Iterator[str]:
    verbs = {
        "final copy": f"instance-kit import copy {file} --final",
        "add": f"instance-kit import adopt {file}",
        "renumber": f"instance-kit import renumber {plan.instance}",
        "check": f"instance-kit import check {plan.instance}",
        "start": f"instance-kit import adopt {file} --start",
    }
    for step in STEPS:
        if not state.done(step) and not (step in _BEFORE_START and state.done("start")):
            yield f"- {step}: `{verbs[step]}`"


def _lost_and_won(addresses: Sequence[NicAddresses]) -> tuple[list[_Address], list[_Address]]:
    """The addresses that the machine has no more, and all that it has now."""
    new = [ip_address(each) for nic in addresses for each in nic.new]
    old = [ip_address(each) for nic in addresses for each in nic.old]
    return [each for each in old if each not in new], new


def _has_moved(addresses: Sequence[NicAddresses]) -> bool:
    """Whether the machine has lost an address, or has one that it did not have."""
    return any(set(nic.old) != set(nic.new) for nic in addresses)


def _without(addresses: Sequence[NicAddresses]) -> list[NicAddresses]:
    """The NICs whose addresses are not known: others give them, such as a DHCP server."""
    return [nic for nic in addresses if not nic.old and not nic.new]


def _dns(plan: ImportPlan, addresses: Sequence[NicAddresses]) -> Iterator[str]:
    if not addresses:
        yield "The journal has no addresses: `import renumber` was not run, or changed nothing."
        return
    owner = f"{plan.instance}."
    if without := _without(addresses):
        numbers = ", ".join(str(nic.nic) for nic in without)
        yield (
            f"NIC {numbers}: no address is in the guest's files. Compare what it had with what it"
            " gets, such as by DHCP:"
        )
        yield from _block(
            [f"dig {owner} A; dig {owner} AAAA", f"gnt-instance console {plan.instance}"]
        )
    if not _has_moved(addresses):
        if not without:
            yield "All addresses stay as they are."
        return
    first, *others = addresses
    if first not in without:
        yield from _replaced(owner, first)
    for nic in others:
        if nic.new:
            yield f"NIC {nic.nic} has {', '.join(nic.new)} now; which name is that?"
    yield f"A day later, raise the TTL again ({USUAL_TTL})."


def _replaced(owner: str, first: NicAddresses) -> Iterator[str]:
    """The records of the first NIC, which has the instance's name."""
    yield f"Before the switch, lower the TTL of the old records to {LOW_TTL} seconds:"
    old = _records(owner, LOW_TTL, [ip_address(each) for each in first.old])
    yield from _block(old or [f"dig {owner} A; dig {owner} AAAA    # they came by DHCP"])
    yield "At the switch, replace them:"
    yield from _block(_records(owner, LOW_TTL, [ip_address(each) for each in first.new]))


def _records(owner: str, ttl: int, addresses: Sequence[_Address]) -> list[str]:
    return [f"{owner} {ttl} IN {'A' if each.version == 4 else 'AAAA'} {each}" for each in addresses]


def _reverse(plan: ImportPlan, addresses: Sequence[NicAddresses]) -> Iterator[str]:
    lost, won = _lost_and_won(addresses)
    fresh = [each for each in won if not any(str(each) in nic.old for nic in addresses)]
    if fresh:
        yield "New, at the provider of each network:"
        yield from _block(
            [f"{each.reverse_pointer}. {LOW_TTL} IN PTR {plan.instance}." for each in fresh]
        )
    if lost:
        yield "To be removed when the source is retired:"
        yield from _block([f"{each.reverse_pointer}. IN PTR" for each in lost])


def _announcement(plan: ImportPlan, state: ImportState) -> Iterator[str]:
    lost, _ = _lost_and_won(state.addresses)
    final = next((each for each in reversed(state.passes) if each.final), None)
    lines = [
        f"Subject: {plan.instance} has moved" + (", and has new addresses" if lost else ""),
        "",
        f"{plan.instance} runs on our Ganeti cluster now.",
    ]
    if final and final.downtime is not None:
        lines.append(f"It was down for {_duration(final.downtime)} while its disks were copied.")
    if lost:
        lines += ["", "Its addresses have changed:", ""]
        for nic in state.addresses:
            lines += [f"  old: {each}" for each in nic.old if ip_address(each) in lost]
            lines += [f"  new: {each}" for each in nic.new if each not in nic.old]
        lines += [
            "",
            "Please replace them in firewalls, access lists and configuration files. Names in DNS",
            "lead to the new ones already. The SSH host keys are the same: if ssh complains about",
            "an old address, remove its line:",
            "",
            *(f"  ssh-keygen -R {each}" for each in lost),
        ]
    elif _has_moved(state.addresses):
        new = [each for nic in state.addresses for each in nic.new]
        lines += ["", f"Its addresses are {', '.join(new)} now; the SSH host keys are the same."]
    elif _without(state.addresses):
        lines += ["", "Its SSH host keys are the same as before."]
    elif state.addresses:
        lines += ["", "Its addresses and SSH host keys are the same as before."]
    yield from _block(lines)


def _greps(plan: ImportPlan, addresses: Sequence[NicAddresses]) -> Iterator[str]:
    lost, _ = _lost_and_won(addresses)
    if not lost:
        return
    words = " ".join(f"-e {shlex.quote(word)}" for each in lost for word in _spellings(each))
    yield "In the repositories of DNS zones, configuration management and monitoring:"
    yield from _block([f"git grep -nwiF {words}"])
    yield "On machines that talk to it, and in the guest itself:"
    yield from _block(
        [
            f"grep -rnwiF {words} /etc",
            f"ssh root@{plan.instance} {shlex.quote(f'grep -rnwIiF {words} /etc /srv')}",
        ]
    )


def _spellings(address: _Address) -> tuple[str, ...]:
    whole = [":".join(tokens.groups_of(address))] if isinstance(address, IPv6Address) else []
    return tuple(dict.fromkeys((str(address), *whole)))


def _source(plan: ImportPlan, state: ImportState, checkpoints: Sequence[str]) -> Iterator[str]:
    name = shlex.quote(plan.domain)
    host = shlex.quote(plan.host)

    def virsh(words: str) -> str:
        return f"ssh {host} {shlex.quote(f'virsh -c qemu:///system {words}')}"

    yield f"The domain {plan.domain} is still on {plan.host}, and nothing of it is deleted."
    if state.stopped_by_us == "suspended":
        yield "It is suspended. End it: it must never run beside the instance."
        yield from _block([virsh(f"destroy {name}")])
    yield "It must not start with its host:"
    yield from _block([virsh(f"autostart --disable {name}"), virsh(f"domstate {name}")])
    if checkpoints:
        yield (
            "Checkpoints of the copy are left, as libvirt deletes none of a domain that is off."
            " To keep the domain, start it paused, delete them, and end it:"
        )
        yield from _block(
            [
                virsh(f"start --paused {name}"),
                *(virsh(f"checkpoint-delete {name} {shlex.quote(each)}") for each in checkpoints),
                virsh(f"destroy {name}"),
            ]
        )
    if state.source_directory and complete(state):  # before that, abort would undo all of it
        yield "Something of the copy is left there. To remove it, and to forget the import:"
        yield from _block([f"instance-kit import abort {plan.instance}"])
    yield "When a backup of the instance has been made and tried, retire the source:"
    steps = [virsh(f"checkpoint-delete --metadata {name} {shlex.quote(c)}") for c in checkpoints]
    steps.append(virsh(f"undefine --nvram {name}" if plan.variables else f"undefine {name}"))
    yield from _block(steps)
    yield "Its disks stay until somebody removes them:"
    yield from _block([f"{plan.host}:{disk.path}" for disk in plan.disks])


def _block(lines: Sequence[str]) -> Iterator[str]:
    """Lines of a literal block, between empty lines."""
    yield ""
    yield from (f"    {line}".rstrip() for line in lines)
    yield ""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} seconds" if round(seconds) != 1 else "1 second"
    return f"{round(seconds / 60)} minutes"
