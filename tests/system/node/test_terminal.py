"""Programs with our streams: how they end, and how they are ended."""

import signal
from pathlib import Path

import pytest

from node.cleanup import Terminated, signals_raise
from node.errors import KitError
from node.terminal import run_on_terminal


def test_its_exit_code_is_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_on_terminal(["sh", "-c", "pwd; exit 7"], tmp_path) == 7
    assert capfd.readouterr().out == f"{tmp_path}\n"
    assert run_on_terminal(["sh", "-c", "kill -TERM $$"], tmp_path) == 128 + signal.SIGTERM
    # Python ignores SIGPIPE; the program does not.
    assert run_on_terminal(["sh", "-c", "kill -PIPE $$"], tmp_path) == 128 + signal.SIGPIPE


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="it is not on this node"):
        run_on_terminal(["no-such-program"], tmp_path)


def test_the_terminal_s_keys_are_for_the_program(tmp_path: Path) -> None:
    with signals_raise():
        script = "trap 'exit 5' INT; kill -INT $PPID; kill -INT $$; sleep 60"
        assert run_on_terminal(["sh", "-c", script], tmp_path) == 5


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM])
def test_it_is_told_when_we_are_ended(tmp_path: Path, ending: signal.Signals) -> None:
    script = (
        f"trap 'echo told > said; exit' {ending.name[3:]}; kill -TERM $PPID;"
        " while :; do sleep 0.1; done"
    )
    with pytest.raises(Terminated), signals_raise():
        run_on_terminal(["sh", "-c", script], tmp_path, ending=ending)
    assert (tmp_path / "said").read_text() == "told\n"
