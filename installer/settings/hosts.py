"""Which hosts are the node itself or stand on its link; pure."""

import re
import socket
from ipaddress import IPv6Address, ip_address

_LOCAL_NAME = re.compile(r"(.*\.)?localhost(\.localdomain)?\.?|(ip6-)?(localhost|loopback)", re.I)


def is_inner(host: str) -> bool:
    """Whether a host is, by its name or as an address of whatever notation, this node or its link.

    Loopback, link-local (also where clouds keep their credentials) and unspecified addresses are.
    Names are not looked up.
    """
    if _LOCAL_NAME.fullmatch(host):
        return True
    try:
        # 127.1, 0x7f000001 and 2130706433 are 127.0.0.1 for inet_aton(3), which programs use.
        ip = ip_address(socket.inet_aton(host))
    except OSError:
        try:
            ip = ip_address(host.partition("%")[0])
        except ValueError:
            return False
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    return ip.is_loopback or ip.is_link_local or ip.is_unspecified
