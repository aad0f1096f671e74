"""A Ganeti node in private namespaces, which lives as long as the tests run."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from .host import ENVIRONMENT, Host, SandboxError, enter

SCRIPT = Path(__file__).with_name("ganeti-sandbox")
READY = "the node is ready"
# A separate mount: its device number tells this node's disks from those of other sandboxes.
DISKS = "/srv/ganeti/file-storage"


class Sandbox(Host):
    """The node: `start` starts it, `run` runs programs on it, `stop` removes all of it.

    It ends when our end of its stdin is closed, so also when we are killed.

    Args:
        cache: the directory that is the kit's cache on the node; it stays after the node's end.
        number: 2 for a second cluster beside the first.
    """

    scripts: ClassVar[tuple[Path, ...]] = (SCRIPT,)

    def __init__(self, cache: Path, number: int = 1) -> None:
        self.cache = cache
        self.number = number
        self.process: subprocess.Popen[str] | None = None
        self.pid = 0

    def start(self) -> None:
        """Starts the node.

        Raises:
            SandboxError: it did not start; the message has the script's output.
        """
        self.cache.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*self.scripts, "sh", "-c", f"echo {READY}; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **ENVIRONMENT,
                "SANDBOX_CACHE": str(self.cache),
                "SANDBOX_NUMBER": str(self.number),
                **sandbox_settings(),
            },
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        if self.process.stdout.readline().strip() != READY:
            raise SandboxError(f"the Ganeti node did not start: {self.process.communicate()[1]}")
        # Close it, as nobody reads it any more: a full pipe would block writers.
        self.process.stderr.close()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = int(children.read_text().split()[0])

    def stop(self) -> None:
        """Ends the node with everything that runs on it; the kernel frees its mounts and disks."""
        if self.process is None:
            return
        self.process.kill()  # unshare --kill-child takes the node's first process with it
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self.process = None

    def entry(self, namespaces: Sequence[str]) -> list[str]:
        return enter(self.pid, namespaces)

    def loops(self) -> list[str]:
        """The loop devices over disks of the node, and their files; none if nothing leaked."""
        device = self.run(["findmnt", "--noheadings", "--output=MAJ:MIN", DISKS]).stdout.strip()
        columns = "--output=BACK-MAJ:MIN,NAME,BACK-FILE"
        listed = self.run(["losetup", "--list", "--noheadings", columns]).stdout
        rows = [line.split(maxsplit=1) for line in listed.splitlines()]
        return [row[1] for row in rows if row[0] == device]


def sandbox_settings() -> dict[str, str]:
    """The settings of ganeti-sandbox: its disk is in the run's directory, or as the caller says."""
    found = {"SANDBOX_TMP": os.environ["KIT_TESTS_RUN"]}
    found |= {key: os.environ[key] for key in ("SANDBOX_SIZE", "SANDBOX_TMP") if key in os.environ}
    return found


def missing_capability(more: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """The reason why no node can be started on this machine, or None.

    Args:
        more: programs that are needed as well, and their Debian packages.
    """
    if os.geteuid() != 0:
        return "needs root"
    programs = {
        **more,
        "gnt-cluster": "ganeti",
        "mkfs.ext4": "e2fsprogs",
        "qemu-system-x86_64": "qemu-system-x86",
        "socat": "socat",
        "ssh-keyscan": "openssh-client",
        "make": "make",
    }
    places = ENVIRONMENT["PATH"].split(":")
    absent = sorted(
        {
            package
            for program, package in programs.items()
            if not any((Path(place) / program).exists() for place in places)
        }
    )
    if absent:
        return f"needs the Debian packages {' '.join(absent)}"
    with suppress(OSError):
        tried = subprocess.run(
            ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "true"],
            capture_output=True,
            text=True,
            check=False,
        )
        return None if tried.returncode == 0 else f"needs namespaces: {tried.stderr.strip()}"
    return "needs unshare(1) of util-linux"
