"""The house's style, types and import arrows, as tests."""

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "argv",
    [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        # Debian 12's Python, and Debian 13's.
        *(["mypy", f"--python-version={version}"] for version in ("3.11", "3.13")),
        ["lint-imports"],
        # Nothing else imports the slow tests in a quick check.
        ["python", "-m", "pytest", "--collect-only", "-q", "tests/system", "tests/e2e"],
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_is_clean(argv: list[str]) -> None:
    ran = subprocess.run(
        [str(BIN / argv[0]), *argv[1:]], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_shell_scripts_are_clean() -> None:
    listed = subprocess.run(
        ["git", "grep", "-lE", "^#!/bin/(ba)?sh"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    )
    # Not texts that show a script further down.
    scripts = [name for name in listed.stdout.split() if (TOP / name).read_text().startswith("#!")]
    assert scripts
    ran = subprocess.run(
        ["shellcheck", *scripts], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
