"""Runs the create that Ganeti runs, on disks of a test's own, and looks at what it leaves."""

import json
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from installer.disks.prepare import BUILD
from installer.settings import DEFINITIONS
from tests import bootstraps
from tests.system.loops import loop

__all__ = ["loop"]  # for all who use what is here

TOP = Path(__file__).parents[3]
OS_DIR = TOP / "os-definition"
MIB = 1024 * 1024
CREATE_TIMEOUT = 240
# What a killed create's kernel needs to take its mounts and devices down.
SETTLE_SECONDS = 5.0

CACHE = bootstraps.directory()  # shared with tests/e2e

# The smallest guest: what is tested is the create, and not its hooks.
TINY = {
    **{found.key: "no" for found in DEFINITIONS.values() if found.name.startswith("hook_")},
    "HOOK_SITE": "yes",
    "KERNEL": "none",
    "BASE_PKGS": "",
}
TINY_DISK = 1024 * MIB
DISK = 3072 * MIB

NODE = "node7.example.org"

# In namespaces of the create's own: the site's settings, then the tools that it shall not find.
_ENTER = f"""
hostname {NODE}
mount --bind "$1" /etc/default
mount --bind "$1/hosts" /etc/hosts
shift
for tool; do mount --bind /dev/null "$tool"; done
exec ./create
"""


@dataclass(frozen=True)
class Outcome:
    """How a create ended: its exit code (negative: by a signal), its log, and its seconds."""

    exit_code: int
    log: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        return self.log.splitlines()

    def succeeded(self) -> "Outcome":
        assert self.exit_code == 0, self.log
        assert "Traceback" not in self.log
        return self

    def failed(self, *words: str, exit_code: int = 1) -> "Outcome":
        """It said why in one last line that has these words, and in another what to do."""
        assert self.exit_code == exit_code, self.log
        assert "Traceback" not in self.log
        errors = [line for line in self.lines if line.startswith("error: ")]
        assert len(errors) == 1, self.log
        assert self.lines[-2] == errors[0], self.log
        assert self.lines[-1].startswith("hint: "), self.log
        for word in words:
            assert word in errors[0], errors[0]
        return self


class Create:
    """A create that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log
        self._started = time.monotonic()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str, timeout: float = CREATE_TIMEOUT) -> None:
        """Waits until the log has this text."""
        deadline = time.monotonic() + timeout
        while text not in self.log:
            assert self.process.poll() is None, f"ended without {text!r}:\n{self.log}"
            assert time.monotonic() < deadline, f"no {text!r}:\n{self.log}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def wait(self) -> Outcome:
        code = self.process.wait(CREATE_TIMEOUT)
        return Outcome(code, self.log, time.monotonic() - self._started)


@dataclass
class Node:
    """A node as a site has configured it, with disks for one instance.

    `settings` are those of /etc/default/ganeti-instance-debootstrap, `parameters` those of
    `gnt-instance add -O`, `environ` overrides what Ganeti says of the instance (None unsets it);
    `hidden` are programs that the node lacks.
    """

    directory: Path
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str | None] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    disks: list[tuple[Path, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hooks.mkdir(parents=True)
        self.cache.mkdir(mode=0o700)
        CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.settings = {
            "CACHE_DIR": str(CACHE),
            # Bootstraps are shared by all tests, and kept for days.
            "CLEAN_CACHE": "",
            "CACHE_SIZE": "",
            "UPGRADE": "no",
            "VARIANTS_DIR": str(OS_DIR / "variants"),
            "CUSTOMIZE_DIR": str(self.hooks),
            "AUTHORIZED_KEYS": str(self.directory / "authorized_keys"),
            **self.settings,
        }

    @property
    def hooks(self) -> Path:
        """The site's hooks."""
        return self.directory / "hooks"

    @property
    def cache(self) -> Path:
        """An empty cache directory of the test's own; what is set is the shared one."""
        return self.directory / "cache"

    def hook(self, name: str, script: str) -> Path:
        """Adds a site hook, a shell script."""
        path = self.hooks / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def disk(self, size: int, name: str | None = None) -> Path:
        """Adds a disk file of `size` bytes to the instance."""
        path = self.directory / f"disk{len(self.disks)}"
        with path.open("wb") as file:
            file.truncate(size)
        self.disks.append((path, name))
        return path

    def environment(self) -> dict[str, str]:
        """All that Ganeti's environment holds for this instance."""
        recorded = (TOP / "tests/data/create.env").read_text().splitlines()
        env = dict(line.split("=", 1) for line in recorded)
        env = {key: text for key, text in env.items() if not key.startswith("DISK_")}
        env["DISK_COUNT"] = str(len(self.disks))
        for index, (path, name) in enumerate(self.disks):
            env |= {f"DISK_{index}_PATH": str(path), f"DISK_{index}_ACCESS": "rw"}
            env |= {f"DISK_{index}_NAME": name} if name else {}
        env |= {f"OSP_{key.upper()}": text for key, text in self.parameters.items()}
        for key, text in self.environ.items():
            env.pop(key, None)
            if text is not None:
                env[key] = text
        return env

    def argv(self, script: str) -> list[str]:
        """The command that runs a shell script on the node; it gets the site's files and `hidden`.

        Args:
            script: `_ENTER`, or that with another last command.
        """
        site = Path(tempfile.mkdtemp(prefix="default-", dir=self.directory))
        defaults = "".join(f'{key}="{text}"\n' for key, text in self.settings.items())
        (site / "ganeti-instance-debootstrap").write_text(defaults)
        (site / "hosts").write_text(f"127.0.0.1 localhost\n203.0.113.7 {NODE} node7\n")
        return [
            *("unshare", "--uts", "--mount", "--propagation=private", "--"),
            *("sh", "-ec", script, "create", str(site), *self.hidden),
        ]

    def start_kit(self, *words: str, before: str = "") -> "subprocess.Popen[str]":
        """Starts instance-kit on the node, after commands of a shell in the same namespaces."""
        command = shlex.join(["/usr/bin/python3", "-I", str(TOP / "kit/instance_kit.py"), *words])
        return subprocess.Popen(
            self.argv(_ENTER.replace("exec ./create", f"{before}\nexec {command}")),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def kit(self, *words: str, exit_code: int = 0, before: str = "") -> tuple[str, str]:
        """Runs instance-kit on the node to its end; gives what it printed to stdout and stderr."""
        with self.start_kit(*words, before=before) as process:
            out, err = process.communicate(timeout=CREATE_TIMEOUT)
        assert process.returncode == exit_code, out + err
        assert "Traceback" not in err
        return out, err

    def start(self) -> Create:
        """Starts the create as Ganeti does, in a process group of its own."""
        argv = self.argv(_ENTER)
        log = Path(argv[-1 - len(self.hidden)]) / "os.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=OS_DIR,
                env=self.environment(),
                process_group=0,
            )
        return Create(process, log)

    def create(self) -> Outcome:
        """Runs the create to its end."""
        running = self.start()
        try:
            return running.wait()
        finally:
            if running.process.poll() is None:
                running.signal(signal.SIGKILL, group=True)
                running.process.wait()


T = TypeVar("T")


def apart(action: Callable[[], T]) -> T:
    """Does something in a process of its own; gives what comes of it.

    The kit ends all that its own process has started, when it leaves a guest's chroot: in the
    process of the tests, that would be their Ganeti node, too.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def act() -> None:
        try:
            there.send((True, action()))
        except BaseException as error:
            there.send((False, repr(error)))

    process = context.Process(target=act)
    process.start()
    done, result = here.recv()
    process.join()
    assert done, result
    return cast("T", result)


def held(node: Node) -> list[str]:
    """The loop devices over a node's disks, and a create's mounts in whatever namespace."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if str(node.directory) in (text := backing.read_text()):
                found.append(f"/dev/{backing.parts[3]} over {text.strip()}")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{BUILD} " in (process / "mountinfo").read_text():
                found.append(f"mounts of {(process / 'cmdline').read_text()!r}")
    return found


def nothing_is_held(node: Node, *, but: Iterable[str] = ()) -> None:
    """Within a few seconds; what a test itself holds does not count."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while left := set(held(node)) - set(but):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def output(*argv: str | Path, check: bool = True) -> str:
    """What a program prints."""
    ran = subprocess.run(
        [*map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    command = shlex.join([*map(str, argv)])
    assert ran.returncode == 0 or not check, f"{command}: {ran.stdout}"
    return ran.stdout


@contextmanager
def mounted(device: Path, place: Path) -> Iterator[Path]:
    """Mounts what the kit has just made, to be read."""
    fstype = output("blkid", "-p", "-o", "value", "-s", "TYPE", device).strip()
    options = {"xfs": "ro,norecovery,nouuid"}.get(fstype, "ro")
    place.mkdir()
    output("mount", "-t", fstype, "-o", options, device, place)
    try:
        yield place
    finally:
        output("umount", place)


@dataclass(frozen=True)
class Guest:
    """A finished guest: its node, its OS log, and its root file system's device and tree."""

    node: Node
    outcome: Outcome
    device: Path
    root: Path

    @property
    def disk(self) -> Path:
        return self.node.disks[0][0]

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def mode(self, path: str) -> int:
        return (self.root / path).lstat().st_mode & 0o7777

    @property
    def fstab(self) -> dict[str, list[str]]:
        """Its lines, as fields by mount point (swap: by "swap")."""
        lines = [line.split() for line in self.read("etc/fstab").splitlines()]
        entries = [line for line in lines if line and not line[0].startswith("#")]
        return {"swap" if line[2] == "swap" else line[1]: line for line in entries}

    @property
    def root_hash(self) -> str:
        lines = (line.split(":") for line in self.read("etc/shadow").splitlines())
        return next(line[1] for line in lines if line[0] == "root")

    def has_password(self, password: str) -> bool:
        """Whether root's hash is that of this password, by the node's own crypt(3)."""
        # Python's module for it is gone in 3.13; perl is essential in Debian.
        crypted = output("perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, self.root_hash)
        return crypted == self.root_hash


def partition_table(disk: Path) -> dict[str, Any]:
    """The partition table as sfdisk(8) reads it."""
    table: dict[str, Any] = json.loads(output("sfdisk", "--json", disk))["partitiontable"]
    return table


def root_partition(disk: Path) -> tuple[int, int]:
    """Offset and size of the last partition, in bytes; 0 and 0 where there is none."""
    if "PTTYPE" not in output("blkid", "-p", disk, check=False):
        return 0, 0
    # The boot loader alone looks like the table of a disk without partitions.
    last = partition_table(disk).get("partitions", [{"start": 0, "size": 0}])[-1]
    return last["start"] * 512, last["size"] * 512


@contextmanager
def guest(node: Node) -> Iterator[Guest]:
    """Creates the guest, and mounts its root file system to be read."""
    outcome = node.create().succeeded()
    nothing_is_held(node)
    disk = node.disks[0][0]
    offset, size = root_partition(disk)
    with (
        loop(disk, offset, size) as device,
        mounted(device, node.directory / "root") as root,
    ):
        yield Guest(node, outcome, device, root)


def link_cache(node: Node) -> None:
    """Gives the node a cache directory of its own, with all that the one it has now holds."""
    for cache in Path(node.settings["CACHE_DIR"]).glob("cache-*.tar.zst"):
        try:
            os.link(cache, node.cache / cache.name)
        except OSError:  # on another file system
            shutil.copy2(cache, node.cache / cache.name)
    node.settings["CACHE_DIR"] = str(node.cache)
