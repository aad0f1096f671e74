"""Which hosts are the node itself or on its link; pure."""

import re
import socket
from ipaddress import IPv6Address, ip_address

_LOCAL_NAME = re.compile(r"(.*\.)?localhost(\.localdomain)?\.?|(ip6-)?(localhost|loopback)", re.I)


def is_inner(host: str) -> bool:
    """Whether a host name or address, in any notation, means this node or a host on its link.

    True for loopback, link-local and unspecified addresses. Clouds serve credentials at link-local
    addresses. Names are not resolved.
    """
    if _LOCAL_NAME.fullmatch(host):
        return True
    try:
        # inet_aton(3), which programs use, reads 127.1, 0x7f000001 and 2130706433 as 127.0.0.1.
        ip = ip_address(socket.inet_aton(host))
    except OSError:
        try:
            ip = ip_address(host.partition("%")[0])
        except ValueError:
            return False
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    return ip.is_loopback or ip.is_link_local or ip.is_unspecified
