"""Prints as JSON what our create would bootstrap. Runs like a create, with its private files.

Usage: planned.py DIRECTORY-OF-THE-PACKAGES, with Ganeti's environment, in the OS directory.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from installer.create import decide

plan = decide(os.environ, Path.cwd()).plan
json.dump(
    {"packages": plan.packages, "mirror": plan.mirrors.main, "engine": plan.engine}, sys.stdout
)
