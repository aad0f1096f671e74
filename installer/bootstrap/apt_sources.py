"""Parses the apt sources of this node and renders those of a guest (sources.list(5))."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from installer.releases import has_ended

APT = Path("/etc/apt")


@dataclass(frozen=True)
class Entry:
    """One archive in sources.list(5): type, URI and suite; `signed_by` as written, or ""."""

    type: str
    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


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


def read_node_entries(apt: Path = APT) -> list[Entry]:
    """The apt sources of this node, from the files that apt reads.

    Cloud images use lists of mirrors (`mirror+file:`): the first mirror of a list is used.
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


def render_sources_list(
    suite: str,
    archives: Iterable[tuple[str, str]],
    components: Iterable[str],
    signed_by: Path | None = None,
) -> str:
    """The guest's /etc/apt/sources.list, in the one-line format that every suite reads.

    Args:
        suite: the guest's suite.
        archives: pairs of URI and suite, see `mirrors.archives`.
        components: the components of each archive.
        signed_by: a keyring for the bootstrap; None for the installed guest, which has its own.
    """
    options = [f"signed-by={signed_by}"] if signed_by else []
    if has_ended(suite):
        # The Release files of old releases have expired. Their signatures are still verified.
        options.append("check-valid-until=no")
    start = f"deb [{' '.join(options)}]" if options else "deb"
    words = " ".join(components)
    return "".join(f"{start} {uri} {name} {words}\n" for uri, name in archives)
