"""Asks a mirror whether it has a suite, before a disk is touched."""

import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from node.errors import KitError

TIMEOUT = 20.0  # seconds
NAMES = ("InRelease", "Release")  # archives before wheezy have no InRelease


def release_urls(mirror: str, suite: str) -> list[str]:
    """Where a mirror keeps the signed index of a suite."""
    return [f"{mirror.rstrip('/')}/dists/{suite}/{name}" for name in NAMES]


def serves(mirror: str, suite: str, proxy: str | None) -> bool:
    """Whether the mirror has the suite.

    Raises:
        KitError: the mirror cannot be asked.
    """
    return any(_exists(url, proxy) for url in release_urls(mirror, suite))


def _exists(url: str, proxy: str | None) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(parts.path).is_file()
    proxies = {"http": proxy, "https": proxy} if proxy else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT):
            return True
    except urllib.error.HTTPError as error:
        if error.code in (403, 404, 410):  # some archives answer 403 for what they do not have
            return False
        raise _unreachable(url, f"HTTP status {error.code}") from error
    except (OSError, ValueError) as error:
        raise _unreachable(url, str(getattr(error, "reason", error))) from error


def _unreachable(url: str, why: str) -> KitError:
    return KitError(
        f"mirror: cannot fetch {url}: {why}",
        hint="check MIRROR, SECURITY_MIRROR and PROXY, and the node's network",
    )
