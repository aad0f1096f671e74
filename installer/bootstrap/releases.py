"""Which release of Debian is called stable, testing and so on today (distro-info-data(5))."""

import csv
from datetime import date
from pathlib import Path

from installer.bootstrap.sources import DEBIAN_ALIASES
from node.errors import KitError

# Of the package distro-info-data, which stable updates keep current.
TABLE = Path("/usr/share/distro-info/debian.csv")


def named(suite: str, table: Path = TABLE) -> str:
    """The code name of a suite that may be an alias.

    A guest keeps its release whatever becomes of the alias, and so do its sources and the cache.

    Raises:
        KitError: nobody knows which release an alias stands for.
    """
    if suite not in DEBIAN_ALIASES:
        return suite
    found = None
    if table.is_file():
        found = release(suite, table.read_text(errors="replace"), date.today())
    if found is None:
        raise KitError(
            f"suite {suite}: which release of Debian that is, is not known on this node",
            hint="apt-get install distro-info-data, or set SUITE to a code name such as bookworm",
        )
    return found


def release(alias: str, table: str, today: date) -> str | None:
    """The code name that an alias stands for on a day, by the table debian.csv of distro-info."""
    if alias == "unstable":
        return "sid"
    released: list[tuple[date, str]] = []
    coming: list[tuple[date, str]] = []
    for row in csv.DictReader(table.splitlines()):
        created, out = _day(row.get("created")), _day(row.get("release"))
        if not row.get("version") or not row.get("series") or created is None:
            continue  # sid and experimental are no releases
        if out is not None and out <= today:
            released.append((out, row["series"]))
        elif created <= today:
            coming.append((created, row["series"]))
    if alias == "testing":
        return min(coming)[1] if coming else None
    place = ("stable", "oldstable", "oldoldstable").index(alias) + 1
    return sorted(released)[-place][1] if len(released) >= place else None


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None
