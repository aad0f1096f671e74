"""Guests as their files: each text in tests/data/renumber has those of one, behind their paths."""

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from guest.instance import Instance

DATA = Path(__file__).parents[3] / "data"
GUESTS = {path.stem: path for path in sorted((DATA / "renumber").glob("*.guest"))}

FSN = {
    "NETWORK_SUBNET": "198.51.100.0/24",
    "NETWORK_GATEWAY": "198.51.100.1",
    "NETWORK_SUBNET6": "2001:db8:0:4f::/64",
    "NETWORK_GATEWAY6": "2001:db8:0:4f::1",
}
LAN = {"NETWORK_SUBNET": "10.99.0.0/20", "NETWORK_GATEWAY": "10.99.0.1"}
FIRST = {"MAC": "aa:00:00:00:00:01", "IP": "198.51.100.2", "MODE": "bridged", **FSN}
SECOND = {"MAC": "aa:00:00:00:00:02", "IP": "10.99.0.40", "MODE": "bridged", **LAN}
ROUTED = {**FIRST, "MODE": "routed"}
PLAIN = {"MAC": "aa:00:00:00:00:01", "IP": "192.0.2.77", "MODE": "bridged"}


class Files:
    """Files of a guest, as `node.guest_files.GuestFiles` reads them."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = dict(texts)

    def read(self, path: str) -> str | None:
        return self.texts.get(path)

    def exists(self, path: str) -> bool:
        return path in self.texts

    def matching(self, pattern: str) -> list[str]:
        return [
            path
            for path in self.texts
            if fnmatch(path, pattern) and path.count("/") == pattern.count("/")
        ]


def files(name: str) -> Files:
    parts = re.split(r"^==> (\S+) <==\n", GUESTS[name].read_text(), flags=re.MULTILINE)
    return Files(dict(zip(parts[1::2], parts[2::2], strict=True)))


def instance(*nics: Mapping[str, str]) -> Instance:
    environ = {
        "OS_API_VERSION": "20",
        "INSTANCE_NAME": "www.example.org",
        "HYPERVISOR": "kvm",
        "DISK_COUNT": "0",
        "NIC_COUNT": str(len(nics)),
    }
    for index, nic in enumerate(nics):
        environ |= {f"NIC_{index}_{key}": value for key, value in nic.items()}
    return Instance.from_environ(environ)
