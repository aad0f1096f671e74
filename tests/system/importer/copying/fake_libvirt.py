"""A virsh that keeps its domain in files, for the scripts that run on the KVM host.

state       of the domain, with the reason: running (booted)
job         is there while a backup job runs; it has the job's XML
name        of the domain
down        is there while libvirt does not answer
old         is there if it is older than checkpoints
log         what changed the domain
"""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from importer.copying.jobs import watch_script

TOKEN = secrets.token_hex(8)  # names a file in /run, which all workers of the tests share
UUID = "0e6a4f5c-1f3f-4a30-8a5f-6d2a4e1b7c11"
OWNER = Path(watch_script.owner_of(TOKEN))
RUNNING, SUSPENDED, OFF = "running (booted)", "paused (user)", "shut off (shutdown)"
FULL = "paused (I/O error)"

VIRSH = r"""#!/bin/bash
cd "$(dirname "$0")"
while [[ $1 == -* ]]; do
  if [[ $1 == -c || $1 == --connect ]]; then shift; fi
  shift
done
if [ -e down ]; then exit 1; fi
case $1 in
  list) ;;
  domid) echo 7; echo; exit ;;
  domname) cat name; echo; exit ;;
  checkpoint-list | help) if [ -e old ]; then exit 1; else exit 0; fi ;;
  domstate) if [[ $* == *--reason* ]]; then cat state; else sed 's/ (.*//' state; fi; exit ;;
  backup-dumpxml) cat job 2> /dev/null; exit ;;
  suspend) echo 'paused (user)' > state ;;
  resume) grep -q paused state || exit 1; echo 'running (booted)' > state ;;
  start) echo 'running (booted)' > state ;;
  backup-begin)
    if [ -e slow ]; then sleep 3; fi
    if [ -e broken ]; then exit 1; fi
    echo "<domainbackup socket='$(cat token)'/>" > job
    ;;
  domjobabort) rm -f job ;;
esac
case $1 in list | domstate | backup-dumpxml) ;; *) echo "$1" >> log ;; esac
"""


class Libvirt:
    """A domain, and the scripts that are run for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scratch = directory / "scratch"
        self.scratch.mkdir()
        self.environment = {"PATH": f"{directory}:/usr/bin:/bin"}
        program = directory / "virsh"
        program.write_text(VIRSH)
        program.chmod(0o755)
        (directory / "token").write_text(TOKEN)
        (directory / "name").write_text("web\n")
        self.state(RUNNING)
        self.processes: list[subprocess.Popen[str]] = []

    def state(self, state: str) -> None:
        (self.directory / "state").write_text(f"{state}\n")

    def begins(self) -> None:
        (self.directory / "job").write_text(f"<domainbackup socket='{TOKEN}'/>")

    def sets(self, name: str) -> None:
        (self.directory / name).touch()

    @property
    def is_running(self) -> bool:
        return (self.directory / "state").read_text().startswith("running")

    @property
    def has_job(self) -> bool:
        return (self.directory / "job").exists()

    @property
    def log(self) -> list[str]:
        try:
            return (self.directory / "log").read_text().split()
        except FileNotFoundError:
            return []

    def script(self, text: str, *words: str, given: str = "") -> subprocess.Popen[str]:
        return self._started(["sh", "-euc", text, "script", *words], given)

    def watch(self, *images: str, reserve: int = 0) -> subprocess.Popen[str]:
        numbers = {"reserve": reserve, "silence": 3, "patience": 3}
        argv = watch_script.command(UUID, TOKEN, str(self.scratch), images, **numbers)
        return self._started(argv, None)

    def _started(self, argv: list[str], given: str | None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )
        self.processes.append(process)
        if given is not None:
            assert process.stdin is not None
            process.stdin.write(given)
            process.stdin.close()
        return process


@contextmanager
def fake_libvirt(directory: Path) -> Iterator[Libvirt]:
    """A domain that runs; in the end, its scripts are ended."""
    libvirt = Libvirt(directory)
    try:
        yield libvirt
    finally:
        for process in libvirt.processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()
        OWNER.unlink(missing_ok=True)
