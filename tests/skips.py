"""In CI (CI=true) no test may be skipped: what a machine lacks would be missed by nobody."""

import os
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    outcome = yield
    fail_if_skipped(outcome.get_result())


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    outcome = yield
    fail_if_skipped(outcome.get_result())


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Makes a failure of it, with the reason; expected failures (xfail) stay what they are."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI=true forbids: {reason}"
