"""Asks a mirror whether it has a suite, before a disk is touched."""

import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from node.errors import KitError

TIMEOUT = 20.0  # seconds
NAMES = ("InRelease", "Release")  # archives before wheezy have no InRelease
MISSING = (403, 404, 410)  # some archives answer 403 for what they do not have
NO_HEAD = (405, 501)  # RFC 9110 15.5.6, 15.6.2: the server has no such method, there or at all


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
        status = _status(opener, url, "HEAD")
        if status in NO_HEAD:
            status = _status(opener, url, "GET")
    except HTTPException as error:  # its text is what the server sent
        raise _unreachable(url, f"no answer of HTTP ({type(error).__name__})") from error
    except (OSError, ValueError) as error:
        raise _unreachable(url, str(getattr(error, "reason", error))) from error
    if status >= 400 and status not in MISSING:
        raise _unreachable(url, f"HTTP status {status}")
    return status not in MISSING


def _status(opener: urllib.request.OpenerDirector, url: str, method: str) -> int:
    try:
        with opener.open(urllib.request.Request(url, method=method), timeout=TIMEOUT):
            return 200
    except urllib.error.HTTPError as error:
        return error.code


def _unreachable(url: str, why: str) -> KitError:
    return KitError(
        f"mirror: cannot fetch {url}: {why}",
        hint="check MIRROR, SECURITY_MIRROR and PROXY, and the node's network",
    )
