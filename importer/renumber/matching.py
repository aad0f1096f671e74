"""Which interface of a guest is which NIC of the instance, and what becomes of it. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guest.addresses import plan_nics
from guest.instance import Nic
from guest.resolv import Resolver
from importer.renumber.deciding import carrier, decided
from importer.renumber.model import Card, Change, Seen
from node.errors import KitError


@dataclass(frozen=True)
class Matched:
    """The changes, and what the user should know; one sentence each."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def cards(seen: Sequence[Seen], macs: Mapping[str, str]) -> tuple[Card, ...]:
    """The network cards that a guest's files name, in the natural order of their names.

    Args:
        seen: in all files.
        macs: MAC addresses by the names that udev gives them (.link files, rules).
    """
    known = dict(macs)
    known.update((one.name, one.mac) for one in seen if one.name and one.mac)
    over = {one.name for one in seen if one.kind == "over"}
    others = {one.name for one in seen if one.kind == "other"}
    names = {one.name for one in seen if one.kind == "nic" and one.name}
    names |= {name for one in seen for name in one.below}
    names -= over | others | {"lo"}
    named = [Card(name, known.get(name, "")) for name in sorted(names, key=_natural)]
    taken = {card.mac for card in named}
    bare = dict.fromkeys(one.mac for one in seen if not one.name and one.mac not in taken)
    return (*named, *(Card("", mac) for mac in bare))


def matched(
    nics: Sequence[Nic],
    seen: Sequence[Seen],
    macs: Mapping[str, str],
    old_macs: Mapping[int, str],
    chosen: Mapping[int, str],
    static: Resolver | None,
) -> Matched:
    """Decides what becomes of each NIC of the instance.

    Args:
        nics: of the instance.
        seen: the interfaces in all files of the guest.
        macs: see `cards`.
        old_macs: the MAC addresses that NICs had before, as far as known.
        chosen: names of the guest's interfaces that the user has given for NICs.
        static: see `deciding.decided`.

    Raises:
        KitError: it is not certain which interface is which NIC, or Ganeti does not know what the
            guest needs.
    """
    _require_distinct(nics, chosen)
    found = cards(seen, macs)
    used = [card for card in found if _is_used(card, seen)]
    pairs = _pairs(nics, found, used, old_macs, chosen)
    changes: list[Change] = []
    notes: list[str] = []
    planned = {config.mac: config for config in plan_nics(nics, dhcp=False)}
    routed = {gateway.version for one in seen for gateway in one.gateways}
    for nic in nics:
        card = pairs.get(nic.index)
        if card is None:
            notes.append(f"NIC {nic.index} ({nic.mac}): the guest's files do not name it")
            continue
        routes = planned[nic.mac]
        if card not in found:
            notes.append(f"NIC {nic.index} ({card.name}): the guest's files do not name it")
        above, _ = carrier(card, seen)
        first = next((one for one in changes if above and one.interface == above), None)
        # A bond or bridge has the addresses of its first port only.
        rest = seen if first is None else ()
        change, said = decided(nic, card, rest, routes, frozenset(routed), static)
        if first is not None:
            said.append(
                f"NIC {nic.index} ({card.name}): {above} has the addresses of NIC {first.index}"
            )
        changes.append(change)
        notes += said
    return Matched(tuple(changes), tuple(notes))


def _require_distinct(nics: Sequence[Nic], chosen: Mapping[int, str]) -> None:
    """Refuses names that the user gives to two NICs, or to one that the instance does not have."""
    there = {nic.index for nic in nics}
    for index, name in chosen.items():
        if index not in there:
            raise KitError(
                f"--nic {index}={name}: the instance has no NIC {index}", hint="gnt-instance info"
            )
        other = next((o for o, given in chosen.items() if given == name and o != index), None)
        if other is not None:
            raise KitError(
                f"--nic {index}={name}: NIC {other} gets the same name", hint="give each its own"
            )


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key to sort names by: ens9 before ens10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)


def _is_used(card: Card, seen: Sequence[Seen]) -> bool:
    """Whether files give a card an address, or let it ask for one; itself, or a bridge over it."""
    return any(
        (one.addresses or one.asks)
        and ((one.name == card.name if one.name else one.mac == card.mac) or card.name in one.below)
        for one in seen
    )


def _pairs(
    nics: Sequence[Nic],
    found: Sequence[Card],
    used: Sequence[Card],
    old_macs: Mapping[int, str],
    chosen: Mapping[int, str],
) -> dict[int, Card]:
    """The card of each NIC: as the user says, by MAC address, else in order if their number fits.

    If it does not, those without any address (`used` has the others) may be left from other times.

    Raises:
        KitError: the rest of them does not fit.
    """
    pairs: dict[int, Card] = {}
    for nic in nics:
        own = {nic.mac, old_macs.get(nic.index, nic.mac)}
        if name := chosen.get(nic.index):
            pairs[nic.index] = next((c for c in found if c.name == name), Card(name, ""))
        elif by_mac := next(
            (card for card in found if card.mac in own and card.name not in chosen.values()), None
        ):
            pairs[nic.index] = by_mac
    taken = set(pairs.values())
    left = [nic for nic in nics if nic.index not in pairs]
    free = [card for card in found if card not in taken]
    if len(left) != len(free):
        free = [card for card in free if card in used] or free
    if left and free and len(left) != len(free):
        names = ", ".join(card.name or card.mac for card in free)
        missing = ", ".join(str(nic.index) for nic in left)
        raise KitError(
            f"NIC {missing} of the instance: it is not certain which of the guest's interfaces"
            f" {names} belongs to it",
            hint=f"name it: --nic {left[0].index}={free[0].name or 'NAME'}",
        )
    pairs.update({nic.index: card for nic, card in zip(left, free, strict=False)})
    return pairs
