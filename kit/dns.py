"""DNS records of a guest, as lines of a zone file (RFC 1035, 5.1); pure."""

import base64
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface

from kit.oslogs import HostKey

# SSHFP: algorithms of RFC 4255 (RSA, DSA), RFC 6594 (ECDSA) and RFC 7479 (Ed25519).
ALGORITHMS = {"RSA": 1, "DSA": 2, "ECDSA": 3, "ED25519": 4}
SHA256 = 2  # the fingerprint's type, RFC 6594


def records(
    name: str,
    addresses: Sequence[tuple[str, IPv4Interface | IPv6Interface]],
    host_keys: Sequence[HostKey],
) -> list[str]:
    """A, AAAA and SSHFP of the name, and PTR of its addresses.

    The addresses of other network cards than the first are in comments: the site decides whether
    the name should point to them.

    Args:
        name: the instance's, without the dot at its end.
        addresses: with the names of the network cards, in their order.
        host_keys: keys without a number of their algorithm are left out.
    """
    owner = f"{name}."
    first = addresses[0][0] if addresses else ""
    lines = []
    for nic, address in addresses:
        kind = "A" if address.version == 4 else "AAAA"
        mark = "" if nic == first else f"; {nic}: "
        lines.append(f"{mark}{owner} IN {kind} {address.ip}")
        lines.append(f"{mark}{address.ip.reverse_pointer}. IN PTR {owner}")
    lines += [
        f"{owner} IN SSHFP {ALGORITHMS[key.type]} {SHA256} {_hexadecimal(key.digest)}"
        for key in host_keys
        if key.type in ALGORITHMS
    ]
    return lines


def _hexadecimal(digest: str) -> str:
    return base64.b64decode(digest + "=").hex()
