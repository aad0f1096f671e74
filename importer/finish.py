"""What remains for people after a move, filled in: DNS, the announcement, the source. Pure."""

import re
import shlex
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from importer import retiring
from importer.import_state import UNDONE_BY_A_PASS, ImportState, NicAddresses, Step
from importer.plan.model import ImportPlan
from importer.renumber import tokens
from importer.retiring import Source, block

LOW_TTL, USUAL_TTL = 300, 3600  # seconds
# What a move consists of; mirroring and failing over are choices.
STEPS: tuple[Step, ...] = ("final copy", "add", "renumber", "check", "start")
# Steps of a stopped instance. Of one that runs, somebody has done them by hand.
_BEFORE_START: tuple[Step, ...] = ("renumber", "check")

_Address = IPv4Address | IPv6Address


class _Section(NamedTuple):
    title: str
    lines: Sequence[str]


def text(plan: ImportPlan, state: ImportState, source: Source, file: str) -> str:
    """The whole text, in Markdown.

    Args:
        plan: of the import.
        state: its journal.
        source: is used only if the import is complete (`complete`).
        file: of the plan, as a word of a command (`importer.plan.word`).
    """
    way_back = list(retiring.way_back(plan, source)) if complete(state) else []
    sections = (
        _Section("Not done yet", list(_open_steps(plan, state, file))),
        _Section("DNS", list(_dns(plan, state.addresses))),
        _Section("Reverse DNS", list(_reverse(plan, state.addresses))),
        _Section("Announcement", list(_announcement(plan, state))),
        _Section("Old addresses in other places", list(_greps(plan, state.addresses))),
        _Section("The way back", way_back),
        _Section(
            "The source", list(retiring.lines(plan, state, source, file, complete=complete(state)))
        ),
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


def downtime(state: ImportState) -> float | None:
    """Seconds from the stop of the source until the instance was started; None if not known."""
    if not complete(state) or not state.passes:
        return None
    last, copied, started = state.passes[-1], state.steps["final copy"], state.steps["start"]
    if not last.final or last.downtime is None or started < copied:  # a clock was set
        return None
    return started - copied + last.downtime


def _open_steps(plan: ImportPlan, state: ImportState, file: str) -> Iterator[str]:
    verbs = {
        "final copy": f"instance-kit import copy {file} --final",
        "add": f"instance-kit import adopt {file}",
        "renumber": f"instance-kit import renumber {plan.instance}",
        "check": f"instance-kit import check {plan.instance}",
        "start": f"instance-kit import adopt {file} --start",
    }
    if not state.done("final copy"):
        if state.done("start"):  # a trial
            yield f"- end of the trial: `gnt-instance shutdown {plan.instance}`"
        state = state.without_step(*UNDONE_BY_A_PASS)
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


def _is_renamed(plan: ImportPlan) -> bool:
    """Whether the instance may have another name than the guest had: only the domain's is known."""
    full = plan.instance.lower()
    return plan.domain.lower() not in (full, full.partition(".")[0])


def _dns(plan: ImportPlan, addresses: Sequence[NicAddresses]) -> Iterator[str]:
    yield from _zone(plan, addresses)
    if _is_renamed(plan):
        yield "The guest's own host name stays as it was: the import does not change it."


def _zone(plan: ImportPlan, addresses: Sequence[NicAddresses]) -> Iterator[str]:
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
        dig = [] if _is_renamed(plan) else [f"dig {owner} A; dig {owner} AAAA"]
        yield from block([*dig, f"gnt-instance console {plan.instance}"])
    if not _has_moved(addresses):
        if not without:
            yield "All addresses stay as they are."
        return
    first, *others = addresses
    if first not in without:
        yield from _named(owner, first) if _is_renamed(plan) else _replaced(owner, first)
    for nic in others:
        if nic.new:
            yield f"NIC {nic.nic} has {', '.join(nic.new)} now; which name is that?"
    yield f"A day later, raise the TTL again ({USUAL_TTL})."


def _replaced(owner: str, first: NicAddresses) -> Iterator[str]:
    """The records of the first NIC, which has the instance's name."""
    yield f"Before the switch, lower the TTL of the old records to {LOW_TTL} seconds:"
    old = _records(owner, LOW_TTL, [ip_address(each) for each in first.old])
    yield from block(old or [f"dig {owner} A; dig {owner} AAAA    # they came by DHCP"])
    yield "At the switch, replace them:"
    yield from block(_records(owner, LOW_TTL, [ip_address(each) for each in first.new]))


def _named(owner: str, first: NicAddresses) -> Iterator[str]:
    """As `_replaced`, if the names of the old records are not known."""
    if first.old:
        yield f"Before the switch, lower the TTL of all records with these to {LOW_TTL} seconds:"
        yield from block(first.old)
    else:
        yield f"Before the switch, lower the TTL of the machine's records to {LOW_TTL} seconds."
    yield "At the switch, replace them. The records of the instance's name:"
    yield from block(_records(owner, LOW_TTL, [ip_address(each) for each in first.new]))


def _records(owner: str, ttl: int, addresses: Sequence[_Address]) -> list[str]:
    return [f"{owner} {ttl} IN {'A' if each.version == 4 else 'AAAA'} {each}" for each in addresses]


def _reverse(plan: ImportPlan, addresses: Sequence[NicAddresses]) -> Iterator[str]:
    lost, won = _lost_and_won(addresses)
    fresh = [each for each in won if not any(str(each) in nic.old for nic in addresses)]
    if fresh:
        yield "New, at the provider of each network:"
        yield from block(
            [f"{each.reverse_pointer}. {LOW_TTL} IN PTR {plan.instance}." for each in fresh]
        )
    if lost:
        yield "To be removed when the source is retired:"
        yield from block([f"{each.reverse_pointer}. IN PTR" for each in lost])


def _announcement(plan: ImportPlan, state: ImportState) -> Iterator[str]:
    if not complete(state):
        yield from block(_notice(plan, state))
        return
    lost, _ = _lost_and_won(state.addresses)
    lines = [
        f"Subject: {plan.instance} has moved" + (", and has new addresses" if lost else ""),
        "",
        f"{plan.instance} runs on our Ganeti cluster now.",
    ]
    if (down := downtime(state)) is not None:
        lines.append(f"It was down for about {_duration(down)}.")
    if lost:
        lines += ["", "Its addresses have changed:", ""]
        lines += [
            *_changed(state.addresses),
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
    yield from block(lines)


def _notice(plan: ImportPlan, state: ImportState) -> list[str]:
    """The announcement before the move."""
    changed = list(_changed(state.addresses))
    lines = [
        f"Subject: {plan.instance} will move"
        + (", and its addresses will change" if changed else ""),
        "",
        f"{plan.instance} will move to our Ganeti cluster on DATE at TIME. It will be down for a",
        "while then.",
    ]
    if changed:
        lines += ["", "Its addresses will change:", "", *changed, ""]
        lines += ["Please add the new ones to firewalls, access lists and configuration files, and"]
        lines += ["remove the old ones after the move. The SSH host keys stay the same."]
    return lines


def _changed(addresses: Sequence[NicAddresses]) -> Iterator[str]:
    """The addresses that are lost or new, for people."""
    lost, _ = _lost_and_won(addresses)
    for nic in addresses:
        yield from (f"  old: {each}" for each in nic.old if ip_address(each) in lost)
        yield from (f"  new: {each}" for each in nic.new if each not in nic.old)


def _greps(plan: ImportPlan, addresses: Sequence[NicAddresses]) -> Iterator[str]:
    lost, _ = _lost_and_won(addresses)
    if not lost:
        return
    words = " ".join(f"-e {shlex.quote(word)}" for each in lost for word in _spellings(each))
    yield "In the repositories of DNS zones, configuration management and monitoring:"
    yield from block([f"git grep -nwiF {words}"])
    yield "On machines that talk to it, and in the guest itself:"
    yield from block(
        [
            f"grep -rnwiF {words} /etc",
            f"ssh root@{plan.instance} {shlex.quote(f'grep -rnwIiF {words} /etc /srv')}",
        ]
    )


def _spellings(address: _Address) -> tuple[str, ...]:
    whole = [":".join(tokens.groups_of(address))] if isinstance(address, IPv6Address) else []
    return tuple(dict.fromkeys((str(address), *whole)))


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{max(2, round(seconds))} seconds"
