import fcntl
import os

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


def test_a_size_that_nobody_reads_does_not_wait() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    assert os.write(writing, bytes(size)) == size
    os.set_blocking(writing, True)
    cli._tell(writing, 1)
    assert len(os.read(reading, 2 * size)) == size
    os.close(reading)


def test_a_size_that_nobody_can_be_told_is_no_error() -> None:
    for number in (1023, 1024, 999_999_999):
        cli._tell(number, 1)
