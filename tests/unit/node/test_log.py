import logging

import pytest

from node import log


@pytest.fixture(autouse=True)
def _fresh_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_steps", log._Steps())


def test_steps_nest_and_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stream()
    with log.step("disks"):
        log.log.info("made")
        with log.step("swap"):
            log.log.warning("odd")
    log.log.info("done")
    assert capsys.readouterr().out == "disks\n  made\n  swap\n    warning: odd\ndone\n"
    assert [line.split(" s  ")[1] for line in log.durations()] == ["disks", "  swap"]


def test_a_failed_step_does_not_indent_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stream(stderr=True)
    with pytest.raises(RuntimeError), log.step("outer"), log.step("inner"):
        raise RuntimeError
    log.log.error("after")
    assert capsys.readouterr().err == "outer\n  inner\nafter\n"


def test_debug_lines_are_shown_only_in_debug_mode(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stream()
    log.log.debug("hidden")
    log.to_stream(debug=True)
    log.log.debug("shown")
    assert capsys.readouterr().out == "shown\n"
    assert log.log.level == logging.DEBUG


def test_what_is_logged_cannot_begin_a_line_or_steer_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.to_stream()
    with log.step("disk \x1b[2J"):
        log.log.info("%s: copied\nroot password: evil", "b\udcfcro")
    assert capsys.readouterr().out == ("disk \\x1b[2J\n  b\\xfcro: copied\\nroot password: evil\n")


def test_a_logged_exception_has_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stream()
    try:
        raise RuntimeError("odd")
    except RuntimeError:
        log.log.exception("it failed")
    out = capsys.readouterr().out
    assert out.startswith("it failed\nTraceback (most recent call last):\n")
    assert out.endswith("RuntimeError: odd\n")


def test_a_traceback_has_nothing_that_the_log_may_not_have(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.to_stream(clean=lambda text: log.on_one_line(text).replace("evil", "-"))
    try:
        raise RuntimeError("odd\x1b[2J")  # evil
    except RuntimeError:
        log.log.exception("it failed")
    out = capsys.readouterr().out
    assert "evil" not in out and "\x1b" not in out and out.endswith("RuntimeError: odd\\x1b[2J\n")
