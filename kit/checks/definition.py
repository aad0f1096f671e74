"""Predicts `gnt-os diagnose`, as _TryOSFromDisk() of Ganeti's backend.py decides."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from guest.instance import API_VERSIONS
from node.files import read_text
from node.finding import Finding, ok, problem

NAME = "debootstrap"
# OS_SEARCH_PATH of Debian's Ganeti.
SEARCH_PATH = tuple(
    Path(path)
    for path in (
        "/srv/ganeti/os",
        "/usr/local/lib/ganeti/os",
        "/usr/lib/ganeti/os",
        "/usr/share/ganeti/os",
    )
)
SCRIPTS = ("create", "export", "import", "rename", "verify")
_ABOUT = "gnt-os diagnose"


def check(ours: Path, search_path: Sequence[Path] = SEARCH_PATH) -> Iterator[Finding]:
    """What `gnt-os diagnose` will say of this node.

    Args:
        ours: the OS definition of this kit.
        search_path: where Ganeti looks; the first directory wins.
    """
    found = next((path / NAME for path in search_path if (path / NAME).is_dir()), None)
    if found is None:
        yield problem(
            _ABOUT, f"{NAME} is not in {search_path[-1]}, nor anywhere else", "make install"
        )
    # The directory may have links to ours; without `create` it is invalid.
    elif (found / "create").exists() and not (found / "create").samefile(ours / "create"):
        yield problem(
            _ABOUT,
            f"Ganeti uses {found} and not {ours} of this kit",
            f"find its package (dpkg -S {found}), remove it, then make install",
        )
    elif why := invalid(found):
        yield problem(_ABOUT, f"{NAME} is invalid: {why}", "make install")
    else:
        yield ok(_ABOUT, f"{NAME} is valid ({found})")


def invalid(directory: Path) -> str | None:
    """Why Ganeti would refuse an OS definition, or None."""
    try:
        lines = read_text(directory / "ganeti_api_version", errors="replace").split()
        if not {int(line) for line in lines} & set(API_VERSIONS):
            return f"ganeti_api_version: {' '.join(lines)}"
        for name in (*SCRIPTS, "parameters.list"):
            mode = (directory / name).stat().st_mode
            if not stat.S_ISREG(mode):
                return f"{name} is not a regular file"
            if name in SCRIPTS and not os.access(directory / name, os.X_OK):
                return f"{name} is not executable"
        if (directory / "variants.list").exists():
            read_text(directory / "variants.list", errors="replace")
    except (OSError, ValueError) as error:
        return str(error)
    return None
