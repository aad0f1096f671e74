"""The suites of distributions: which there are, their order, names and end of life."""

import csv
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

from node.errors import KitError

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
