from contextlib import nullcontext

import pytest

from installer import rename


@pytest.fixture(autouse=True)
def _tmp_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command has namespaces of its own, and mounts a /tmp there; the tests' own has files."""
    monkeypatch.setattr(rename, "mounted", lambda *_args, **_options: nullcontext())
