import pytest

from backup import cli
from node.cleanup import Terminated


@pytest.mark.parametrize("script", ["export", "import"])
def test_who_is_stopped_points_to_the_other_end(
    script: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ganeti stops the import of a dump that is missing: nobody can run that script again."""

    def stopped() -> int:
        raise Terminated(15)

    monkeypatch.setattr(cli, "PAUSE", 0)
    monkeypatch.setattr(cli, f"_{script}", stopped)
    monkeypatch.setattr(cli, "contained", lambda main: main())
    assert cli.main(script) == 143
    error, hint = capfd.readouterr().err.splitlines()
    assert error == "error: stopped by SIGTERM"
    assert "the other end" in hint and "run it again" not in hint
