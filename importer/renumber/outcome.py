"""Whether edited files say what was decided: what they say now is read once more. Pure."""

from collections.abc import Iterator, Sequence

from importer.renumber.model import Change, Seen
from node.errors import KitError


def verify(changes: Sequence[Change], seen: Sequence[Seen]) -> list[str]:
    """Refuses edits that would leave a guest with an old address or gateway, or without a new one.

    Files may be written in ways that are read, but not changed.

    Args:
        changes: that the edits are to make.
        seen: the interfaces in the edited files.

    Returns:
        Notes on routes of IPv6 that could not be added, one sentence each.

    Raises:
        KitError: an interface does not get what it should.
    """
    notes = []
    for change in changes:
        what = f"NIC {change.index} ({change.interface or change.config.mac})"
        own = [one for one in seen if one.kind != "other" and change.is_of(one.name, one.mac)]
        for fault in _faults(change, own):
            raise KitError(
                f"{what}: its files are not understood well enough: they would {fault}",
                hint="change them in the guest: instance-kit shell --write; then run this again",
            )
        gateway = change.config.gateway6 if change.adds6 else None
        if gateway is not None and all(gateway not in one.gateways for one in own):
            notes.append(f"{what}: no default route of IPv6 is added: its gateway is {gateway}")
    return notes


def _faults(change: Change, own: Sequence[Seen]) -> Iterator[str]:
    config = change.config
    found = {address for one in own for address in one.addresses}
    routes = {gateway for one in own for gateway in one.gateways}
    wanted = {new.ip for new in config.addresses}
    for new in config.addresses:
        # Of a host, the prefix length stays (`tokens.replaced`).
        lengths = {a.network.prefixlen for a in found if a.ip == new.ip}
        if not lengths:
            yield f"not have {new}"
        if lengths - {new.network.prefixlen, new.max_prefixlen}:
            yield f"not have the prefix length of {new}"
    for old in change.old:
        if old.ip not in wanted and any(address.ip == old.ip for address in found):
            yield f"still have {old}"
    gateways = {config.gateway, config.gateway6} - {None}
    for gateway in change.old_gateways:
        if gateway not in gateways and gateway in routes:
            yield f"still have the gateway {gateway}"
    versions = {gateway.version for gateway in change.old_gateways}
    versions |= {4} if change.adds4 else set()
    for new_gateway in (config.gateway, config.gateway6):
        if new_gateway and new_gateway.version in versions and new_gateway not in routes:
            yield f"not have the gateway {new_gateway}"
