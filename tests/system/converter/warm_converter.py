"""A qcow2raw that is loaded once, and forked for each run, which spares it the program's start.

Its argument is the directory that the kit is in. It prints an empty line when it is loaded. Then it
reads a line of JSON for each run, the program's arguments, and answers with one: the exit code, and
what was printed on stdout and stderr.
"""

import importlib
import json
import os
import sys

sys.path[0] = sys.argv[1]
program = importlib.import_module("converter.qcow2raw")
for later in ("converter.cli.main", "converter.convert"):  # what the program loads by itself
    importlib.import_module(later)


def run(words: list[str]) -> tuple[int, str, str]:
    streams = [os.open(os.devnull, os.O_RDONLY), os.memfd_create("out"), os.memfd_create("err")]
    child = os.fork()
    if not child:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.argv = ["qcow2raw", *words]
        sys.exit(program.main())
    _, status = os.waitpid(child, 0)
    said = []
    for stream in streams:
        with os.fdopen(stream, "rb") as file:
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
    return os.waitstatus_to_exitcode(status), said[1], said[2]


print(flush=True)
for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
