import os
import sys

import pytest

from node.run import run

pytestmark = pytest.mark.trixie

# Syncing what is no open file tells whether the kernel was asked: it would answer EBADF.
ASK = "import os\ntry: os.fsync(999); print('left out')\nexcept OSError as e: print(e.strerror)"


def test_syncs_are_left_out_for_a_program_and_its_children() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ASK!r}], check=True)"
    assert run([sys.executable, "-c", ASK], syncs=False).stdout == "left out\n"
    assert run([sys.executable, "-c", child], syncs=False).stdout == "left out\n"
    assert run([sys.executable, "-c", ASK]).stdout == os.strerror(9) + "\n"


def test_programs_without_syncs_may_gain_privileges() -> None:
    told = run(["setpriv", "--dump"], syncs=False).stdout
    assert "no_new_privs: 0" in told
