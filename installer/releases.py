"""The table of releases: their distribution, their order, and properties that depend on the order.

Names, order and dates come from distro-info-data (debian.csv and ubuntu.csv, which stable updates
keep current), read by python3-distro-info. Properties that distro-info does not know are added
here, each with the first release of Debian and of Ubuntu that it applies to.

A suite that distro-info does not know counts as newer than all releases: a release after the node's
last update, Debian's sid, a suite of a derivative, or a site's own suite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import distro_info

from node.errors import KitError

DEBIAN_ALIASES = ("oldoldstable", "oldstable", "stable", "testing", "unstable")
# debootstrap(8) has a script for each group of suites; the other suites are links to it.
SCRIPTS = Path("/usr/share/debootstrap/scripts")
# The day on which a release of Debian leaves the mirrors is not announced. We assume a year after
# its end of life.
_GRACE = timedelta(days=365)


@dataclass(frozen=True)
class Release:
    """A row of distro-info's table.

    Attributes:
        suite: the code name.
        numbered: whether it is a release or becomes one; Debian's sid and experimental are not.
        created: the day on which work on it began.
        released: the day of its release, maybe in the future; None if it is not known.
        end: the last day of support, with Debian's LTS and Ubuntu's ESM; None if it is not known.
    """

    suite: str
    numbered: bool
    created: date
    released: date | None
    end: date | None


class Since(NamedTuple):
    """The first release of each distribution to which something applies; "" for all releases."""

    debian: str = ""
    ubuntu: str = ""


_SECURITY_SUFFIX = Since("bullseye")
# The DHCP client among the packages of priority important.
_DHCPCD = Since("trixie", "noble")
# Older releases of Ubuntu use ifupdown, which is in their main.
_NETWORKD = Since(ubuntu="artful")
# /usr/share/debootstrap/scripts/{debian-common,gutsy}: suites whose /usr debootstrap merges, and
# suites whose packages need a merged /usr.
_USR_MERGED = Since("buster", "disco")
_USR_ONLY_MERGED = Since("bookworm", "kinetic")
# Debian has no kernel for i386 since trixie.
_NO_I386 = Since("trixie")

_KERNELS = {
    "debian": {
        "amd64": "linux-image-amd64",
        "i386": "linux-image-686-pae",
        "arm64": "linux-image-arm64",
    },
    "ubuntu": {"amd64": "linux-image-generic", "arm64": "linux-image-generic"},
}

# File system features that mkfs of a node may turn on, with the first releases whose kernel, fsck
# and GRUB can all read them. Where this is only known from version numbers, the next release is
# given: every release can read a file system without the feature.
_FEATURES = {
    "ext4": {
        "64bit": Since("jessie", "trusty"),  # e2fsprogs 1.42, GRUB 2.00
        "metadata_csum": Since("stretch", "bionic"),  # e2fsprogs 1.43
        # e2fsprogs 1.47, Linux 5.15; GRUB 2.12 for metadata_csum_seed.
        "metadata_csum_seed": Since("trixie", "noble"),
        "orphan_file": Since("trixie", "noble"),
    },
    "xfs": {
        "sparse": Since("bullseye", "focal"),  # GRUB 2.04
        "nrext64": Since("trixie", "noble"),  # Linux 5.19, GRUB 2.12
        "bigtime": Since("trixie", "noble"),  # Linux 5.10, GRUB 2.06
        "inobtcount": Since("trixie", "noble"),  # Linux 5.10, GRUB 2.06
        "reflink": Since("stretch", "bionic"),  # Linux 4.9
        "rmapbt": Since("stretch", "bionic"),  # Linux 4.8
    },
    "btrfs": {
        "free-space-tree": Since("stretch", "bionic"),  # Linux 4.9
    },
}


@cache
def table(distribution: str) -> tuple[Release, ...]:
    """The releases of "debian" or "ubuntu" in distro-info's order, oldest first.

    Raises:
        KitError: the table cannot be read.
    """
    kinds = {"debian": distro_info.DebianDistroInfo, "ubuntu": distro_info.UbuntuDistroInfo}
    try:
        rows = kinds[distribution]().get_all("object")
    # It is not documented what distro-info raises for a file that is cut off or has other columns.
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise KitError(
            f"table of the releases of {distribution}: distro-info cannot read it ({error})",
            hint="apt-get install --reinstall distro-info-data",
        ) from error
    return tuple(_release(row) for row in rows)


def _release(row: Any) -> Release:
    end = row.eol_lts or row.eol_esm or row.eol
    return Release(row.series, bool(row.version), row.created, row.release, end)


def _found(suite: str) -> Release | None:
    rows = (row for name in ("debian", "ubuntu") for row in table(name))
    return next((row for row in rows if row.suite == suite), None)


def older_than(suite: str, since: Since) -> bool:
    """Whether a suite is older than a release of its distribution.

    False for suites that distro-info does not know, see the module's docstring.
    """
    for distribution, first in zip(("debian", "ubuntu"), since, strict=True):
        numbered = [row.suite for row in table(distribution) if row.numbered]
        if suite in numbered:
            # If the node does not know the first release yet, all that it knows are older.
            place = numbered.index(first) if first in numbered else len(numbered)
            return bool(first) and numbered.index(suite) < place
    return False


def distribution(suite: str, mirror: str | None = None, scripts: Path = SCRIPTS) -> str:
    """The distribution that a suite belongs to: debian, ubuntu, kali, …; "" if unknown.

    Args:
        suite: the suite or release code name.
        mirror: used last, for suites newer than this node: its path often ends in the name.
        scripts: where debootstrap keeps a script for each suite.
    """
    if found := _listed(suite):
        return found
    script = debootstrap_script(suite, scripts)
    if script is not None:
        # A script is named after its first suite. Derivatives of Debian use one of Debian's.
        kind = _listed(script)
        if kind != "debian":
            return kind or script
    last = urlsplit(mirror or "").path.rstrip("/").rpartition("/")[2]
    return {"debian": "debian", "ubuntu": "ubuntu", "ubuntu-ports": "ubuntu"}.get(last, "")


def _listed(suite: str) -> str:
    if suite in DEBIAN_ALIASES:
        return "debian"
    names = ("debian", "ubuntu")
    return next((name for name in names if any(row.suite == suite for row in table(name))), "")


def known_suites(scripts: Path = SCRIPTS) -> list[str]:
    """The suites that distro-info or this node's debootstrap knows."""
    found = (path.name for path in scripts.iterdir()) if scripts.is_dir() else ()
    listed = (row.suite for name in ("debian", "ubuntu") for row in table(name))
    return sorted({*listed, *found})


def debootstrap_script(suite: str, scripts: Path = SCRIPTS) -> str | None:
    """The name of debootstrap's script for a suite, or None if it has none."""
    path = scripts / suite
    return path.resolve().name if path.is_file() else None


def named(suite: str) -> str:
    """The code name of a suite that may be an alias such as stable.

    The guest's apt sources and the cache use the code name, since an alias changes its meaning with
    the next release.

    Raises:
        KitError: it is not known which release an alias stands for.
    """
    if suite not in DEBIAN_ALIASES:
        return suite
    found = release(suite, table("debian"), _today())
    if found is None:
        raise KitError(
            f"suite {suite}: this node does not know which release of Debian that is",
            hint="update distro-info-data, or set SUITE to a code name such as bookworm",
        )
    return found


def release(alias: str, rows: Sequence[Release], today: date) -> str | None:
    """The code name that an alias of Debian stands for on a day, None if it is not known.

    distro-info's own functions do not know oldoldstable, and fail when the table is out of date.
    """
    if alias == "unstable":
        return "sid"
    numbered = [row for row in rows if row.numbered]
    released = [row for row in numbered if row.released is not None and row.released <= today]
    if alias == "testing":
        coming = [row for row in numbered if row not in released and row.created <= today]
        return coming[0].suite if coming else None
    place = ("stable", "oldstable", "oldoldstable").index(alias) + 1
    return released[-place].suite if len(released) >= place else None


def _today() -> date:
    return date.today()


def has_ended(suite: str) -> bool:
    """Whether a release has reached its end of life and gets no more updates."""
    found = _found(suite)
    return found is not None and found.end is not None and found.end < _today()


def left_mirrors(suite: str) -> bool:
    """Whether a release of Debian is only available from archives of old releases.

    Ubuntu keeps many of its releases for longer; for these, the check of the mirror finds out.
    """
    ends = (row.end for row in table("debian") if row.suite == suite)
    return any(end is not None and end + _GRACE < _today() for end in ends)


def suite_problem(suite: str, mirror: str | None) -> str | None:
    """Why a suite cannot be installed with this MIRROR, and what to do; None if it can."""
    if not mirror and left_mirrors(suite):
        return (
            f"suite {suite} has reached its end of life and is no longer on the mirrors: "
            "set MIRROR to an archive of old releases"
        )
    return None


def updates_suite(suite: str, distribution: str) -> str | None:
    """The suite of stable updates for a suite, or None."""
    return f"{suite}-updates" if _has_updates(suite, distribution) else None


def security_suite(suite: str, distribution: str) -> str | None:
    """The suite of security updates for a suite, or None."""
    if not _has_updates(suite, distribution):
        return None
    return f"{suite}/updates" if older_than(suite, _SECURITY_SUFFIX) else f"{suite}-security"


def _has_updates(suite: str, distribution: str) -> bool:
    found = _found(suite)
    return distribution in ("debian", "ubuntu") and (found is None or found.numbered)


def usr_may_be_unmerged(suite: str) -> bool:
    """Whether a suite's packages work without a merged /usr."""
    return older_than(suite, _USR_ONLY_MERGED)


def usr_is_merged(suite: str) -> bool:
    """Whether debootstrap(8) merges /usr for a suite."""
    return not older_than(suite, _USR_MERGED)


def dhcp_client(suite: str) -> str:
    """The package of the DHCP client for the suite's ifupdown."""
    return "isc-dhcp-client" if older_than(suite, _DHCPCD) else "dhcpcd-base"


def network_stack(suite: str, distribution: str) -> str:
    """The default network stack of a suite: "networkd" or "ifupdown"."""
    networked = distribution == "ubuntu" and not older_than(suite, _NETWORKD)
    return "networkd" if networked else "ifupdown"


def kernel_package(suite: str, distribution: str, architecture: str) -> str | None:
    """The metapackage of a suite's current kernel; None if there is none."""
    if architecture == "i386" and not older_than(suite, _NO_I386):
        return None
    return _KERNELS.get(distribution, {}).get(architecture)


def unreadable_features(suite: str, fstype: str) -> tuple[str, ...]:
    """The features of a file system that a suite's kernel, fsck or GRUB lacks, by mkfs' names."""
    features = _FEATURES.get(fstype, {})
    return tuple(name for name, since in features.items() if older_than(suite, since))
