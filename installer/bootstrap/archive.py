"""Fetches the signed index of a suite from a mirror, before a disk is written."""

import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from installer.settings.hosts import is_inner
from node.cleanup import signals_blocked
from node.errors import KitError
from node.text import size

TIMEOUT = 20.0  # seconds that a server may be silent
# Seconds for all requests of one create: TIMEOUT does not stop a server that sends a byte now and
# then.
TOTAL_SECONDS = 90.0
LIMIT = 16 * 1024 * 1024  # bytes; Debian's largest InRelease has 0.2 MiB
MISSING = (404, 410)
# Refusals (RFC 9110), and the hint for each.
FORBIDDEN = 403
REFUSALS = {
    401: "set MIRROR or SECURITY_MIRROR to one that needs no password",
    FORBIDDEN: "allow this node in the rules of the mirror and of the proxy (PROXY); some archives"
    " also answer 403 for missing files: then correct SUITE, MIRROR or SECURITY_MIRROR",
    407: "set PROXY with the user and password of the proxy: http://user:password@host:port",
}

# Says why the signature of an index is not valid, or None. It gets the index, and the detached
# signature or None if the index contains its signature.
Verify = Callable[[bytes, bytes | None], str | None]


class _RefusedError(OSError):
    """A request that we refuse; the text is the reason."""


class AccessError(KitError):
    """The mirror or the proxy refuses access, so it is not known whether the file exists."""

    def __init__(self, url: str, status: int, who: str) -> None:
        super().__init__(
            f"mirror: {url}: {who} refuses access: HTTP status {status}", hint=REFUSALS[status]
        )
        self.status = status


@dataclass
class Asker:
    """Sends the requests of one create to mirrors.

    Attributes:
        proxy: the URL of a proxy, or None.
        verify: checks the signature of an index.
        public_only: hosts that are refused if they are this node or on its link: users who may
            create instances must not reach what only the node can reach.
    """

    proxy: str | None
    verify: Verify
    public_only: Collection[str]

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + TOTAL_SECONDS
        proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else {}
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler(proxies), _SameHost()
        )

    def index(self, mirror: str, suite: str) -> bytes | None:
        """The mirror's index of a suite with a valid signature; None if it has no such suite.

        Raises:
            AccessError: the mirror or the proxy refuses access.
            KitError: the mirror does not answer, or the signature is not valid.
        """
        top = f"{mirror.rstrip('/')}/dists/{suite}"
        index = signature = refusal = None
        name = "InRelease"
        try:
            index = self._fetch(f"{top}/InRelease")
        except AccessError as error:
            if error.status != FORBIDDEN:
                raise
            refusal = error  # object stores answer 403 for files that do not exist
        if index is None:  # releases before wheezy, and small archives, have no InRelease
            name = "Release"
            index = self._fetch(f"{top}/Release")
            if index is None:
                if refusal is not None:
                    raise refusal
                return None
            signature = self._fetch(f"{top}/Release.gpg")
            if signature is None:
                raise _unsigned(f"{top}/{name}", "there is no Release.gpg")
        if problem := self.verify(index, signature):
            raise _unsigned(f"{top}/{name}", problem)
        return index

    def _fetch(self, url: str) -> bytes | None:
        """The content of a file of the mirror; None if it has no such file."""
        parts = urlsplit(url)
        if parts.scheme == "file":
            path = Path(parts.path)
            return path.read_bytes() if path.is_file() else None
        try:
            return _within(self._deadline, lambda: self._get(url))
        except HTTPException as error:  # its text is what the server sent
            raise _unreachable(url, f"the answer is not HTTP ({type(error).__name__})") from error
        except (OSError, ValueError) as error:
            why = str(getattr(error, "reason", error))
            # http.client's text for a proxy's answer to CONNECT.
            tunnel = re.search(r"Tunnel connection failed: (\d+)", why)
            if tunnel and int(tunnel[1]) in REFUSALS:
                raise AccessError(url, int(tunnel[1]), "the proxy") from error
            raise _unreachable(url, why) from error

    def _get(self, url: str) -> bytes | None:
        host = urlsplit(url).hostname or ""
        if host in self.public_only and not self.proxy and (address := _inner_address(host)):
            raise _RefusedError(
                f"{host} is {address}, and OS parameters must not name this node or its link"
            )
        try:
            with self._opener.open(url, timeout=TIMEOUT) as answer:
                content: bytes = answer.read(LIMIT + 1)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in MISSING:
                    return None
                if error.code in REFUSALS:
                    # A 403 does not show which of the two it is from.
                    who = {401: "the mirror", 407: "the proxy"}.get(
                        error.code, "the proxy or the mirror" if self.proxy else "the mirror"
                    )
                    raise AccessError(url, error.code, who) from error
                raise _RefusedError(f"HTTP status {error.code}") from error
        if len(content) > LIMIT:
            raise _RefusedError(f"more than {size(LIMIT)}")
        return content


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects within a host only."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        ports = {None, 80, 443, before.port}
        if before.hostname != after.hostname or after.port not in ports:
            raise _RefusedError(f"it redirects to another host, {after.netloc}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _within(deadline: float, action: Callable[[], bytes | None]) -> bytes | None:
    """Runs an action in a thread, and waits for it until the deadline.

    After the deadline, the thread keeps running until the process ends.
    """
    results: list[bytes | None] = []
    failures: list[BaseException] = []

    def act() -> None:
        try:
            results.append(action())
        except BaseException as error:  # raised again by the caller's thread
            failures.append(error)

    thread = threading.Thread(target=act, daemon=True)
    with signals_blocked():
        thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if failures:
        raise failures[0]
    if not results:
        raise _RefusedError(f"not answered within {TOTAL_SECONDS:.0f} s")
    return results[0]


def _inner_address(host: str) -> str | None:
    """An address of this host that is the node itself or on its link, or None."""
    found: Sequence[str] = [
        str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    ]
    return next((address for address in found if is_inner(address)), None)


def _unreachable(url: str, why: str) -> KitError:
    return KitError(
        f"mirror: cannot fetch {url}: {why}",
        hint="check MIRROR, SECURITY_MIRROR and PROXY, and the node's network; if the mirror"
        " redirects to another host, set that host",
    )


def _unsigned(url: str, why: str) -> KitError:
    return KitError(
        f"mirror: {url} has no valid signature: {why}",
        hint="check with a browser whether the mirror answers with a login page or another archive;"
        " else set KEYRING to the keys of this archive",
    )
