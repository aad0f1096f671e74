"""Keeps files of a failed end-to-end test: guests' consoles, logs of the Ganeti node."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from .cluster import Cluster
from .console import Console

TOP = Path(__file__).parents[2]


def directory(nodeid: str) -> Path:
    """The directory for the files of a test: below build/e2e of the checkout."""
    name = re.sub(r"[^\w.\[\]-]+", "-", nodeid.removeprefix("tests/e2e/"))
    return TOP / "build/e2e" / name[:200]


def keep(nodeid: str, clusters: Sequence[Cluster]) -> Path:
    """Writes the files of a failed test, and removes those of an earlier run of it.

    Returns:
        The directory, with console-N.txt for each console since the tests began, and the log files
        of each node in directories of their own, see `Cluster.logs`.
    """
    place = directory(nodeid)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)  # an overlay may not let it be removed
    for number, console in enumerate(Console.opened):
        (place / f"console-{number}.txt").write_text(console.transcript)
    for cluster in clusters:
        if cluster.process is not None:
            for name, path in cluster.logs().items():
                # The checkout is mounted on the node at its own path.
                (place / name).mkdir()
                cluster.run(["cp", "--recursive", f"{path}/.", place / name], check=False)
    return place
