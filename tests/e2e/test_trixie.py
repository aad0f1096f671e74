"""On a node with Debian 13: tests that stand elsewhere, run by its own Python and programs."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import bootstraps

from .node_tree import node_tree
from .sandbox import missing_capability

ON_NODE = Path(__file__).with_name("on-node")
SECONDS = 1800  # from nothing, on a busy machine; with bootstraps in the cache: a few minutes
PARTS = {
    "unit": ("tests/unit",),
    "system": ("tests/system", "-m", "trixie"),
    "e2e": ("tests/e2e", "-m", "trixie"),
}
pytestmark = pytest.mark.timeout(2 * SECONDS)  # the tree is made before


@pytest.fixture(scope="module")
def image() -> Path:
    if why := missing_capability():
        pytest.skip(why)
    return node_tree()


@pytest.mark.parametrize("part", PARTS)
def test_the_tests_pass_there(
    part: str, image: Path, record_property: Callable[[str, object], None]
) -> None:
    cache = bootstraps.directory()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    ran = subprocess.run(
        [ON_NODE, image, "python3", "-m", "pytest", "--durations=10", *PARTS[part]],
        env={
            **os.environ,
            "SANDBOX_CACHE": str(cache),
            "SANDBOX_TMP": os.environ["KIT_TESTS_RUN"],
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    record_property("closing line", f"Debian 13, {part}: {ran.stdout.splitlines()[-1].strip('= ')}")
