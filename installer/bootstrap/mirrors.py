"""Chooses a guest's mirrors from the settings, the node's apt sources, or the engine's default.

Pure, except for `choose_on_this_node`, which reads the node's apt sources.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from installer.bootstrap.apt_sources import Entry, read_node_entries
from installer.releases import distribution, left_mirrors, security_suite, updates_suite

NO_MIRROR = "none"  # as the setting SECURITY_MIRROR


@dataclass(frozen=True)
class Mirrors:
    """The mirrors of a guest.

    `main` is None for the engine's default; `security` is None if none is known. `origin` says for
    the log where they come from: "settings", "the node's apt sources", "the engine".
    """

    main: str | None
    security: str | None
    origin: str


def choose_on_this_node(suite: str, mirror: str | None, security_mirror: str | None) -> Mirrors:
    """Calls `choose` with this node's apt sources and debootstrap's scripts."""
    entries = read_node_entries()
    # The distribution of a security suite is that of the suite it belongs to.
    suites = {entry.suite for entry in entries}
    suites |= {re.split("[-/]", name)[0] for name in suites}
    return choose(
        suite,
        distribution(suite, mirror),
        mirror=mirror,
        security_mirror=security_mirror,
        entries=entries,
        families={name: distribution(name) for name in suites},
    )


def choose(
    suite: str,
    family: str,
    *,
    mirror: str | None,
    security_mirror: str | None,
    entries: Sequence[Entry],
    families: dict[str, str],
) -> Mirrors:
    """Chooses the mirrors of a guest: the settings, else the node's own, else the engine's.

    Args:
        suite: the guest's suite.
        family: the distribution of the guest's suite, see `distribution`.
        mirror: the setting MIRROR.
        security_mirror: the setting SECURITY_MIRROR; "none" for no security updates.
        entries: the node's apt sources.
        families: the distribution of each suite among `entries`.
    """
    node_main, node_security = _node_mirrors(family, entries, families)
    if mirror:
        sibling = None
        if family == "ubuntu":
            sibling = mirror
        elif family == "debian" and mirror.rstrip("/").endswith("/debian"):
            beside = mirror.rstrip("/") + "-security"
            # The node's security mirror does not have suites that left the mirrors.
            sibling = beside if left_mirrors(suite) else node_security or beside
        return Mirrors(mirror, _security(security_mirror, sibling), "settings")
    if node_main is not None:
        sibling = node_security
        if sibling is None and family == "debian" and node_main.endswith("/debian"):
            sibling = node_main + "-security"
        if sibling is None and family == "ubuntu":
            sibling = node_main
        return Mirrors(node_main, _security(security_mirror, sibling), "the node's apt sources")
    return Mirrors(None, _security(security_mirror, None), "the engine")


def _security(setting: str | None, found: str | None) -> str | None:
    return None if setting == NO_MIRROR else setting or found


def archives(suite: str, family: str, mirrors: Mirrors) -> list[tuple[str, str]]:
    """URI and suite of each known archive of a guest: main, stable updates, security."""
    updates, security = updates_suite(suite, family), security_suite(suite, family)
    pairs = ((mirrors.main, suite), (mirrors.main, updates), (mirrors.security, security))
    return [(uri, name) for uri, name in pairs if uri and name]


def _node_mirrors(
    family: str, entries: Sequence[Entry], families: dict[str, str]
) -> tuple[str | None, str | None]:
    """The node's main and security mirror of a distribution, without third parties' archives."""
    usable = [
        entry for entry in entries if entry.type == "deb" and _is_usable_in_guests(entry, family)
    ]
    updated = {entry.uri for entry in usable if entry.suite.endswith("-updates")}

    def rank(entry: Entry) -> int:
        # Third parties also use the names of suites and components. The distribution's archive has
        # an -updates suite, or its path ends in the distribution's name.
        named = entry.uri.rstrip("/").rpartition("/")[2] == family
        return 2 * (entry.uri in updated) + named

    mains = [
        entry
        for entry in usable
        if family and families.get(entry.suite) == family and "main" in entry.components
    ]
    best = max(mains, key=rank, default=None)
    main = best.uri.rstrip("/") if best is not None and rank(best) > 0 else None
    security = next(
        (
            entry.uri.rstrip("/")
            for entry in usable
            if re.fullmatch(r"[a-z]+(-security|/updates)", entry.suite)
            and "main" in entry.components
            and (families.get(re.split("[-/]", entry.suite)[0]) == family)
        ),
        None,
    )
    return main, security


def _is_usable_in_guests(entry: Entry, family: str) -> bool:
    """Whether a guest may use it: not local, no credentials, signed by the archive's own key."""
    uri = urlsplit(entry.uri)
    return (
        uri.scheme in ("http", "https")
        and "@" not in uri.netloc
        and not re.fullmatch(r"localhost|127\..*|::1|ip6-localhost", uri.hostname or "localhost")
        and (not entry.signed_by or f"{family}-archive" in entry.signed_by)
    )
