"""What the tests of bootstraps share."""

from pathlib import Path

import pytest

from installer.bootstrap import mirror_check
from installer.bootstrap.mirrors import Mirrors
from installer.bootstrap.plan import BootstrapPlan


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BootstrapPlan:
    """The plan for a mirror on the node's disk that has bookworm, but no updates of it.

    Its index is taken for signed: no unit test may run gpgv.
    """
    mirror = tmp_path / "debian"
    (mirror / "dists/bookworm").mkdir(parents=True)
    (mirror / "dists/bookworm/InRelease").touch()
    monkeypatch.setattr(mirror_check, "signature_problem", lambda *_args: None)
    return BootstrapPlan(
        engine="mmdebstrap",
        suite="bookworm",
        family="debian",
        arch="amd64",
        mirrors=Mirrors(f"file://{mirror}", None, "settings"),
        components=("main",),
        packages=(),
        merged_usr="auto",
        keyrings=(),
        proxy=None,
    )
