"""Which mirrors a guest is made from and updated from; pure but for the readers at the end."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DEBIAN = (
    "etch", "lenny", "squeeze", "wheezy", "jessie", "stretch", "buster",
    "bullseye", "bookworm", "trixie", "forky", "duke",
)  # fmt: skip
DEBIAN_ALIASES = ("oldoldstable", "oldstable", "stable", "testing", "unstable")
DEBIAN_UNSTABLE = ("sid", "experimental")
END_OF_LIFE = DEBIAN[: DEBIAN.index("bullseye")]
# The releases that are supported and those to come: the node's debootstrap may be older than they.
UBUNTU = ("bionic", "focal", "jammy", "noble", "plucky", "questing", "resolute")
# debootstrap(8) has one script for each family of suites; the names of the others link to it.
UBUNTU_SCRIPTS = (
    "warty", "hoary", "breezy", "dapper", "edgy", "feisty", "gutsy", "groovy",
)  # fmt: skip
SCRIPTS = Path("/usr/share/debootstrap/scripts")
APT = Path("/etc/apt")
NO_MIRROR = "none"  # as the setting SECURITY_MIRROR


@dataclass(frozen=True)
class Entry:
    """One archive of sources.list(5): one type, URI and suite; `signed_by` as written, or ''."""

    type: str
    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


@dataclass(frozen=True)
class Mirrors:
    """Where packages come from.

    `main` None leaves it to the engine's default, `security` None means that none is known.
    `origin` says for the log who chose: "settings", "the node's apt sources", "the engine".
    """

    main: str | None
    security: str | None
    origin: str


def distribution(suite: str, mirror: str | None = None, scripts: Path = SCRIPTS) -> str:
    """The distribution that a suite belongs to: debian, ubuntu, kali, …; "" where unknown.

    Args:
        suite: the suite or release code name.
        mirror: asked last, for suites newer than this node: its path often ends in the name.
        scripts: where debootstrap keeps a script for each suite.
    """
    if suite in (*DEBIAN, *DEBIAN_ALIASES, *DEBIAN_UNSTABLE):
        return "debian"
    if suite in UBUNTU:
        return "ubuntu"
    script = debootstrap_script(suite, scripts)
    if script in UBUNTU_SCRIPTS:
        return "ubuntu"
    if script not in (None, "sid", "etch"):
        return str(script)
    last = urlsplit(mirror or "").path.rstrip("/").rpartition("/")[2]
    return {"debian": "debian", "ubuntu": "ubuntu", "ubuntu-ports": "ubuntu"}.get(last, "")


def known_suites(scripts: Path = SCRIPTS) -> list[str]:
    """The suites that this kit or this node's debootstrap knows."""
    found = (path.name for path in scripts.iterdir()) if scripts.is_dir() else ()
    return sorted({*DEBIAN, *DEBIAN_UNSTABLE, *found})


def debootstrap_script(suite: str, scripts: Path = SCRIPTS) -> str | None:
    """The name of the script that debootstrap uses for a suite, or None where it has none."""
    path = scripts / suite
    return path.resolve().name if path.is_file() else None


def older_than(suite: str, release: str) -> bool:
    """Whether a Debian suite is older than a release of Debian; False for all other suites."""
    return suite in DEBIAN and DEBIAN.index(suite) < DEBIAN.index(release)


def updates_suite(suite: str, family: str) -> str | None:
    """The suite of stable updates that belongs to a suite, if it has one."""
    if family not in ("debian", "ubuntu") or suite in DEBIAN_UNSTABLE:
        return None
    return f"{suite}-updates"


def security_suite(suite: str, family: str) -> str | None:
    """The suite of security updates that belongs to a suite, if it has one."""
    if family not in ("debian", "ubuntu") or suite in DEBIAN_UNSTABLE:
        return None
    # Debian renamed its security suites with bullseye.
    return f"{suite}/updates" if older_than(suite, "bullseye") else f"{suite}-security"


def suite_problem(suite: str, mirror: str | None) -> str | None:
    """Why guests of a suite cannot be made with the setting MIRROR, and what to do; else None."""
    if suite in END_OF_LIFE and not mirror:
        return (
            f"suite {suite} has reached its end of life and left the mirrors: "
            "set MIRROR to an archive of old releases"
        )
    return None


def parse_one_line(text: str) -> list[Entry]:
    """The entries of a *.list file, sources.list(5) "one-line-style format"."""
    entries = []
    for line in text.splitlines():
        match = re.fullmatch(
            r"\s*(deb|deb-src)\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)\s*(?:#.*)?", line
        )
        if match is None:
            continue
        kind, options, uri, suite, components = match.groups()
        settings = dict(word.split("=", 1) for word in (options or "").split() if "=" in word)
        signed_by = settings.get("signed-by", "")
        entries.append(Entry(kind, uri, suite, tuple(components.split()), signed_by))
    return entries


def parse_deb822(text: str) -> list[Entry]:
    """The entries of a *.sources file, sources.list(5) "deb822-style format"."""
    entries: list[Entry] = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n(?:[ \t]*\n)+", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                fields[name] = fields.get(name, "") + "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "without", "off", "disable"):
            continue
        entries.extend(
            Entry(kind, uri, suite, tuple(fields.get("components", "").split()),
                  fields.get("signed-by", ""))
            for kind in fields.get("types", "").split()
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        )  # fmt: skip
    return entries


def resolve(
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
        security_mirror: the setting SECURITY_MIRROR; "none" where there shall be none.
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
            # The security mirror of the node has dropped old suites, too.
            sibling = beside if suite in END_OF_LIFE else node_security or beside
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
    """URI and suite of each archive of a guest: main, stable updates, security; as far as known."""
    updates, security = updates_suite(suite, family), security_suite(suite, family)
    pairs = ((mirrors.main, suite), (mirrors.main, updates), (mirrors.security, security))
    return [(uri, name) for uri, name in pairs if uri and name]


def render(
    suite: str,
    archives: Iterable[tuple[str, str]],
    components: Iterable[str],
    signed_by: Path | None = None,
) -> str:
    """The guest's /etc/apt/sources.list, in the one-line format that every suite reads.

    Args:
        suite: the guest's suite.
        archives: pairs of URI and suite, see there.
        components: of each archive.
        signed_by: a keyring for the bootstrap; afterwards, the guest's own keyrings do.
    """
    options = [f"signed-by={signed_by}"] if signed_by else []
    if suite in END_OF_LIFE:
        # Archives of old releases keep Release files whose time is over; signatures still count.
        options.append("check-valid-until=no")
    start = f"deb [{' '.join(options)}]" if options else "deb"
    words = " ".join(components)
    return "".join(f"{start} {uri} {name} {words}\n" for uri, name in archives)


def _node_mirrors(
    family: str, entries: Sequence[Entry], families: dict[str, str]
) -> tuple[str | None, str | None]:
    """The node's main and security mirror of a distribution; not those of third parties."""
    usable = [entry for entry in entries if entry.type == "deb" and _for_guests(entry, family)]
    updated = {entry.uri for entry in usable if entry.suite.endswith("-updates")}

    def rank(entry: Entry) -> int:
        # Third parties use the suites' and components' names, too. An archive has updates of its
        # own, or is named after its distribution.
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


def _for_guests(entry: Entry, family: str) -> bool:
    """Whether a guest may use it: reachable from there, no credentials, the archive's own key."""
    uri = urlsplit(entry.uri)
    return (
        uri.scheme in ("http", "https")
        and "@" not in uri.netloc
        and not re.fullmatch(r"localhost|127\..*|::1|ip6-localhost", uri.hostname or "localhost")
        and (not entry.signed_by or f"{family}-archive" in entry.signed_by)
    )


def node_entries(apt: Path = APT) -> list[Entry]:
    """The apt sources of this node; files that apt would not read are left out.

    Cloud images name lists of mirrors (`mirror+file:`): their first mirror is taken.
    """
    entries = []
    parts = apt / "sources.list.d"
    for path in [apt / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.is_file():
            entries += parse_one_line(path.read_text(errors="replace"))
    for path in filter(Path.is_file, sorted(parts.glob("*.sources"))):
        entries += parse_deb822(path.read_text(errors="replace"))
    return [_first_of_list(entry) for entry in entries]


def _first_of_list(entry: Entry) -> Entry:
    if not entry.uri.startswith("mirror+file:"):
        return entry
    path = Path("/" + entry.uri.removeprefix("mirror+file:").lstrip("/"))
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    first = next((line.split()[0] for line in lines if line.startswith("http")), entry.uri)
    return Entry(entry.type, first, entry.suite, entry.components, entry.signed_by)


def node_mirrors(suite: str, mirror: str | None, security_mirror: str | None) -> Mirrors:
    """`resolve` with this node's apt sources and debootstrap's scripts."""
    entries = node_entries()
    # Security suites are looked up by the suite that they belong to.
    suites = {entry.suite for entry in entries}
    suites |= {re.split("[-/]", name)[0] for name in suites}
    return resolve(
        suite,
        distribution(suite, mirror),
        mirror=mirror,
        security_mirror=security_mirror,
        entries=entries,
        families={name: distribution(name) for name in suites},
    )
