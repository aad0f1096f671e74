"""Finds addresses that several NICs of a guest share."""

from collections import defaultdict
from collections.abc import Sequence

from guest.instance import Nic


def shared_addresses(nics: Sequence[Nic]) -> tuple[str, ...]:
    """A warning for each MAC address and each IP address that more than one NIC has.

    udev names NICs by their MAC address: of two with the same, one gets an unexpected name.
    """
    having: dict[str, list[int]] = defaultdict(list)
    for nic in nics:
        having[f"MAC address {nic.mac}"].append(nic.index)
        if nic.ip is not None:
            having[f"address {nic.ip}"].append(nic.index)
    return tuple(
        f"NICs {' and '.join(map(str, indexes))} have the same {what}"
        for what, indexes in having.items()
        if len(indexes) > 1
    )
