"""What else in a guest decides over its network: cloud-init, and whether IPv6 is switched off."""

import re

from node.guest_files import GuestFiles

_CLOUD = "/etc/cloud/cloud.cfg"
_CLOUD_OFF = "/etc/cloud/cloud-init.disabled"
_NO_NETWORK = re.compile(r"^network:[\s{]*config:\s*disabled\b", re.MULTILINE)
# In the order in which they count (sysctl.d(5), as Debian links it).
_SYSCTL = ("/etc/sysctl.d/*.conf", "/etc/sysctl.conf")
_DISABLED = re.compile(
    r"^[^\S\n-]*-?net[./]ipv6[./]conf[./](?:all|default)[./]disable_ipv6[^\S\n]*=[^\S\n]*([01])",
    re.MULTILINE,
)
_KERNEL = ("/etc/default/grub", "/etc/default/grub.d/*.cfg")
_OPTION = re.compile(r"^[^#\n]*\bipv6\.disable=1\b", re.MULTILINE)


def has_cloud_init(files: GuestFiles) -> bool:
    """Whether cloud-init runs, and nothing keeps it from the network's files."""
    if files.read(_CLOUD) is None or files.exists(_CLOUD_OFF):
        return False
    text = _all(files, (_CLOUD, "/etc/cloud/cloud.cfg.d/*.cfg"))
    return _NO_NETWORK.search(text) is None


def has_ipv6(files: GuestFiles) -> bool:
    """Whether IPv6 is not switched off by a setting of the kernel."""
    values = _DISABLED.findall(_all(files, _SYSCTL))
    return values[-1:] != ["1"] and _OPTION.search(_all(files, _KERNEL)) is None


def _all(files: GuestFiles, patterns: tuple[str, ...]) -> str:
    paths = [path for pattern in patterns for path in sorted(files.matching(pattern))]
    return "\n".join(files.read(path) or "" for path in paths)
