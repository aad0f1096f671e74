"""The programs for administrators, from their first moment on."""

import signal
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]
# Interrupts a program while it imports a module.
INTERRUPTED = """
import os, runpy, signal, sys
def look(event, words):
    if event == "import" and words[0] == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(look)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.quick
@pytest.mark.parametrize(
    ("program", "module"),
    [("kit/instance_kit.py", "kit.cli"), ("converter/qcow2raw.py", "converter.cli.main")],
)
def test_an_interrupt_while_it_starts_prints_no_traceback(program: str, module: str) -> None:
    argv = ["/usr/bin/python3", "-I", "-c", INTERRUPTED, TOP / program, module]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")
