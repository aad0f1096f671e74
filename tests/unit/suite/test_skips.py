import pytest

from tests.skips import fail_if_skipped


def skipped() -> pytest.TestReport:
    why = ("test_x.py", 3, "Skipped: needs nbdfuse")
    return pytest.TestReport("test_x", ("test_x.py", 3, "test_x"), {}, "skipped", why, "setup")


def test_in_ci_a_skipped_test_fails_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    report = skipped()
    fail_if_skipped(report)
    assert report.failed
    assert "needs nbdfuse" in report.longreprtext


def test_elsewhere_it_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    report = skipped()
    fail_if_skipped(report)
    assert report.skipped


def test_an_expected_failure_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    report = skipped()
    report.wasxfail = "a known fault"
    fail_if_skipped(report)
    assert report.skipped
