"""Configures pytest: tests that act on the machine run isolated from it (tools/isolated.py)."""

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.cleanup import SIGNALS
from tests import bootstraps, scheduling
from tests.skips import pytest_make_collect_report, pytest_runtest_makereport
from tools.isolated import DISKS, current_run

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

TOP = Path(__file__).parents[1]
ISOLATED = TOP / "tools/isolated.py"
MOUNTS = Path("/proc/self/mountinfo")
PURE = (TOP / "tests/unit", TOP / "tests/lint")

# Programs inherit ignored signals. nohup(1), or a shell that runs the tests in the background,
# must not change the results.
for _number in SIGNALS:
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        )


def pytest_cmdline_main(config: pytest.Config) -> None:
    """Starts pytest again isolated, unless it already is or runs only unit tests and lint."""
    if _is_worker(config) or not _acts(config):
        return
    run = current_run()
    if run is None:
        words = [str(ISOLATED), sys.executable, "-m", "pytest", *config.invocation_params.args]
        os.execv(ISOLATED, words)
    if config.option.basetemp is None:
        config.option.basetemp = f"{run}/t"


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A program that a signal ends blocks others until its end; we go on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Removes the files of a test that acts on the machine: those of all together take 20 GB.

    pytest has an option for this since version 7.3.
    """
    yield
    path: Path | None = getattr(item, "funcargs", {}).get("tmp_path")
    if path is None or not current_run():
        return
    # With a mount that was left behind, something else would be removed.
    if f" {path}/" not in MOUNTS.read_text():
        shutil.rmtree(path, ignore_errors=True)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _acts(config: pytest.Config) -> bool:
    """Whether this run has tests that need root and act on the machine."""
    if os.geteuid() != 0 or config.option.collectonly or config.option.help:
        return False
    here = config.invocation_params.dir
    chosen = [(here / argument.partition("::")[0]).resolve() for argument in config.args]
    return not all(any(path.is_relative_to(pure) for pure in PURE) for path in chosen)


class _FailuresAtOnce:
    """Prints why a test failed right after it, since the whole check takes long."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            free = shutil.disk_usage(DISKS).free >> 30
            terminal.write_line(
                f"\n{report.nodeid} failed, with {free} GiB free in {DISKS}:"
                f"\n{report.longreprtext[-2000:]}"
            )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: one of the system tests of `make quick`")
    config.addinivalue_line("markers", "trixie: run on a node with Debian 13, too")
    if not _is_worker(config):
        config.pluginmanager.register(_FailuresAtOnce(config))
    if _is_worker(config) or current_run() is None:
        return
    bootstraps.hold()  # until our process ends
    if getattr(config.option, "tx", None):  # run each worker in namespaces of its own
        python = shlex.join([str(ISOLATED), sys.executable])
        config.option.tx = [
            f"popen//python={python}" if spec == "popen" else spec for spec in config.option.tx
        ]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return scheduling.scheduler(config, log) if current_run() else None  # None: xdist's own
