import os
import sys

from node import nosync
from node.run import run

# Syncing what is no open file tells whether the kernel was asked: it would answer EBADF.
ASK = "import os\ntry: os.fsync(999); print('left out')\nexcept OSError as e: print(e.strerror)"


def test_syncs_are_left_out_for_a_program_and_its_children() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ASK!r}], check=True)"
    argv = [sys.executable, "-I", nosync.__file__, sys.executable, "-c"]
    assert run([*argv, ASK]).stdout == "left out\n"
    assert run([*argv, child]).stdout == "left out\n"
    assert run([sys.executable, "-c", ASK]).stdout == os.strerror(9) + "\n"
