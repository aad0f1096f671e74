#!/usr/bin/python3
"""Records docs/create.svg: commands of the README, run on the Ganeti node of the end-to-end tests.

`make picture` runs it. The commands run one after the other in a terminal; the picture shows what
they printed.
"""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import pexpect

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from tests import bootstraps  # noqa: E402 - found by the line above
from tests.e2e import ssh  # noqa: E402
from tests.e2e.cluster import Cluster  # noqa: E402
from tests.e2e.host import ENVIRONMENT  # noqa: E402

PICTURE = TOP / "docs/create.svg"
COLUMNS = 96
PROMPT = "root@node1:~# "
ADD = r"""
gnt-instance add -t file -o debootstrap+bookworm \
  --disk 0:size=10G --disk 1:size=2G,name=swap --disk 2:size=20G,name=srv \
  --net 0:network=gnt-fsn,ip=pool --no-name-check --no-ip-check -B memory=2g,vcpus=2 \
  -O password_expire=no --node node1.example.org web.example.org
""".strip()
FACTS = "instance-kit facts web.example.org"
GUEST = "root@198.51.100.2"
LOGIN = f"ssh {GUEST} 'hostname -f; swapon --show; df -h / /srv'"
COMMANDS = (ADD, FACTS, LOGIN)
BOOT_SECONDS = 300

# Pixels, for a monospace font of 13 pixels.
CHARACTER, LINE, MARGIN = 7.83, 17, 14
STYLE = (
    "text{font:13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d0d4dc;"
    "white-space:pre}.typed{fill:#fff;font-weight:bold}"
)


def screen(command: str, output: str) -> list[tuple[str, str]]:
    """The lines that a terminal shows, each with its kind; long ones are wrapped."""
    typed = f"{PROMPT}{command}".splitlines()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    # A carriage return puts the cursor at the start of the line, which is then written again.
    lines = plain.removesuffix("\n").split("\n")
    printed = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return [
        (line[start : start + COLUMNS], kind)
        for kind, shown in (("typed", typed), ("printed", printed))
        for line in shown
        for start in range(0, max(len(line), 1), COLUMNS)
    ]


def svg(lines: Sequence[tuple[str, str]]) -> str:
    """A picture of a terminal with these lines."""
    width, height = round(COLUMNS * CHARACTER) + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    texts = [
        f'<text xml:space="preserve" x="{MARGIN}" y="{MARGIN + LINE * number + 13}"'
        f' class="{kind}">{escape(line)}</text>'
        for number, (line, kind) in enumerate(lines)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}">',
            f"<style>{STYLE}</style>",
            '<rect width="100%" height="100%" rx="8" fill="#1d2129"/>',
            *texts,
            "</svg>\n",
        ]
    )


def _run(argv: Sequence[str]) -> str:
    """What a program prints on a terminal; it must succeed."""
    with pexpect.spawn(
        argv[0],
        list(argv[1:]),
        timeout=BOOT_SECONDS,
        encoding="utf-8",
        env={**ENVIRONMENT, "TERM": "xterm"},
        dimensions=(50, COLUMNS),
    ) as process:
        output = str(process.read())
    if process.exitstatus != 0:
        sys.exit(f"{shlex.join(argv)}: exit code {process.exitstatus}\n{output}")
    return output


def _wait_for(argv: Sequence[str]) -> None:
    """Waits until a program succeeds."""
    deadline = time.monotonic() + BOOT_SECONDS
    while subprocess.run(argv, env=ENVIRONMENT, capture_output=True, check=False).returncode != 0:
        if time.monotonic() > deadline:
            sys.exit(f"{shlex.join(argv)}: not in {BOOT_SECONDS} s")
        time.sleep(1)


def main() -> None:
    """Records the commands and writes the picture."""
    cluster = Cluster(bootstraps.directory())
    lines: list[tuple[str, str]] = []
    try:
        cluster.start()
        cluster.install_kit()
        ssh.make_key(cluster)
        ssh.use_key(cluster)
        cluster.fill_cache("bookworm")
        for command in COMMANDS:
            if command is LOGIN:
                _wait_for(cluster.argv(["ssh", GUEST, "true"]))
            lines += screen(command, _run(cluster.argv(["sh", "-c", f"cd; {command}"])))
    finally:
        cluster.stop()
    PICTURE.write_text(svg(lines))


if __name__ == "__main__":
    main()
