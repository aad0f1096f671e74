"""The one-node Ganeti cluster, with the kit installed on it."""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from .console import Console
from .host import SandboxError
from .sandbox import DISKS, Sandbox
from .scrape import COMMAND, Facts, parse

CHECKOUT = Path(__file__).parents[2]
# The whole environment of a create in Ganeti 3.0.
CREATE_ENVIRONMENT = CHECKOUT / "tests/data/create.env"
OS_DEFINITION = "/usr/share/ganeti/os/debootstrap"
LIBRARY = "/usr/lib/ganeti-instance-kit"
SITE_SETTINGS = "/etc/default/ganeti-instance-debootstrap"

# Seconds; a bootstrap from a slow mirror takes long, one from the cache some seconds.
CREATE_TIMEOUT = 1800
# Seconds; the same as Ganeti's default.
SHUTDOWN_TIMEOUT = 120
# Parameters that do not change the bootstrap, and so need no cache of their own.
UNCACHED = frozenset({"password_expire", "grub_timeout", "swapfile_size", "hostname", "timezone"})
# For guests whose first login and GRUB menu are not tested.
QUICK = {"password_expire": "no", "grub_timeout": "1"}

# Prints the path of the cache that a create in this environment would use.
_CACHE_PATH = """
import os, pathlib
from installer import create
from installer.bootstrap import cache
decided = create.decide(os.environ, pathlib.Path.cwd())
print(pathlib.Path(decided.context.settings.cache_dir) / cache.file_name(decided.plan))
"""


def create_environment(
    name: str, suite: str, disks: Sequence[tuple[str, int, str]], params: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a create of an instance without NICs.

    Args:
        name: of the instance.
        suite: its variant.
        disks: path, size in MiB and name ("" for none) of each disk.
        params: the OS parameters.
    """
    lines = CREATE_ENVIRONMENT.read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines if line)
    env = {key: text for key, text in env.items() if not key.startswith(("DISK_", "NIC_"))}
    env |= {
        "INSTANCE_NAME": name,
        "INSTANCE_OS": f"debootstrap+{suite}",
        "OS_VARIANT": suite,
        "DISK_COUNT": str(len(disks)),
        "NIC_COUNT": "0",
        **{f"OSP_{key.upper()}": text for key, text in params.items()},
    }
    for number, (path, size, label) in enumerate(disks):
        env |= {
            f"DISK_{number}_PATH": path,
            f"DISK_{number}_SIZE": str(size),
            f"DISK_{number}_ACCESS": "rw",
            f"DISK_{number}_BACKEND_TYPE": "file:loop",
            f"DISK_{number}_FRONTEND_TYPE": "paravirtual",
            **({f"DISK_{number}_NAME": label} if label else {}),
        }
    return env


class Cluster(Sandbox):
    """A one-node cluster whose instances are managed by Ganeti's own commands."""

    def __init__(self, cache: Path, number: int = 1) -> None:
        super().__init__(cache, number)
        self.name = f"cluster{number}.example.org"
        self.node = f"node{number}.example.org"
        self._filled: set[tuple[str, frozenset[tuple[str, str]]]] = set()
        self._consoles: dict[str, Console] = {}

    def logs(self) -> dict[str, str]:
        """The directories with logs on the node, by the name under which those of a test are kept.

        The OS logs are in ganeti/os; those of a second node in ganeti2.
        """
        return {"ganeti" if self.number == 1 else f"ganeti{self.number}": "/var/log/ganeti"}

    def install_kit(self) -> None:
        """Installs the kit from the checkout, as an administrator does.

        CACHE_SIZE and UPGRADE are off: all tests share the bootstraps for days, and the node has no
        network for upgrades.
        """
        self.run(["make", "-C", CHECKOUT, "install"])
        lines = 'CACHE_SIZE=""\\nUPGRADE="no"\\n'
        self.run(["sh", "-c", f"printf '{lines}' >>{SITE_SETTINGS}"])

    def fill_cache(self, suite: str, params: Mapping[str, str] | None = None) -> None:
        """Bootstraps a suite into the cache, once: on the node, but with the machine's network.

        It runs the kit's own create on a temporary disk, so a later create without network finds
        exactly this cache.
        """
        cached = {key: value for key, value in (params or {}).items() if key not in UNCACHED}
        key = (suite, frozenset(cached.items()))
        if key in self._filled:
            return
        # A unique name, because all sandboxes of the machine share the loop devices.
        disk = f"{DISKS}/cache-{uuid4()}.disk0"
        env = create_environment("cache.example.org", suite, [(disk, 4096, "")], cached)
        self.run(["truncate", "--size=4G", disk])
        there = ["env", f"--chdir={OS_DEFINITION}"]
        try:
            asked = [*there, f"PYTHONPATH={LIBRARY}", "/usr/bin/python3", "-c", _CACHE_PATH]
            path = self.run(asked, env=env, outside_network=True).stdout.strip()
            if self.run(["test", "-e", path], check=False).returncode != 0:
                self.run(
                    [*there, "./create"], env=env, timeout=CREATE_TIMEOUT, outside_network=True
                )
        finally:
            self.run(["rm", "--force", disk])
        self._filled.add(key)

    def add(
        self,
        name: str,
        *,
        os: str = "debootstrap+bookworm",
        disks: Sequence[str] = ("size=3G",),
        nets: Sequence[str] = ("ip=pool,network=gnt-fsn",),
        params: Mapping[str, str] | None = None,
        start: bool = True,
    ) -> Facts:
        """Creates an instance, starts it, and returns the facts of the OS log.

        Args:
            name: its full host name.
            os: the OS and its variant.
            disks: the values of `--disk N:`.
            nets: the values of `--net N:`; empty for an instance without NICs.
            params: the OS parameters.
            start: whether it is started; then its console is at the login prompt.

        Raises:
            SandboxError: Ganeti refused; its message holds the end of the OS log.
        """
        self.fill_cache(os.partition("+")[2], params)
        options = [f"--disk={number}:{disk}" for number, disk in enumerate(disks)]
        options += [f"--net={number}:{net}" for number, net in enumerate(nets)] or ["--no-nics"]
        if params:
            words = ",".join(f"{key}={value}" for key, value in params.items())
            options.append(f"--os-parameters={words}")
        self.run(
            [
                *("gnt-instance", "add", f"--os-type={os}", "--disk-template=file"),
                *(f"--node={self.node}", "--no-ip-check", "--no-name-check", "--no-start"),
                *("--backend-parameters=memory=1g,vcpus=1", *options, name),
            ],
            timeout=CREATE_TIMEOUT,
        )
        facts = self.facts()
        if start:
            self.start_instance(name)
        return facts

    def start_instance(self, name: str) -> Console:
        """Starts an instance, and waits for GRUB's menu and the login prompt on its console."""
        with self._meanwhile(["gnt-instance", "startup", name]):
            console = self._consoles[name] = self._open_console(name)
            console.wait_grub()
        console.wait_login()
        return console

    def stop_instance(self, name: str) -> None:
        """Shuts an instance down by its power button.

        Raises:
            ConsoleError: the guest does not react, and Ganeti has to switch it off.
        """
        command = ["gnt-instance", "shutdown", f"--timeout={SHUTDOWN_TIMEOUT}", name]
        with self._meanwhile(command), contextlib.closing(self._consoles.pop(name)) as console:
            console.wait_off(SHUTDOWN_TIMEOUT)

    def pull_plug(self, name: str) -> None:
        """Ends an instance like a power failure."""
        self._consoles.pop(name).close()
        self.run(["gnt-instance", "shutdown", "--timeout=0", name])

    @contextlib.contextmanager
    def _meanwhile(self, argv: Sequence[str]) -> Iterator[None]:
        """Runs a program while the block reads the console: a guest hangs if nobody reads it."""
        with subprocess.Popen(
            self.argv(argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            yield
            said, _ = process.communicate(timeout=2 * SHUTDOWN_TIMEOUT)
        if process.returncode != 0:
            raise SandboxError(f"{' '.join(argv)}: {said}")

    @contextlib.contextmanager
    def knowing(self, name: str, address: str) -> Iterator[None]:
        """Lets the node resolve a name during the block.

        Ganeti takes the first name of an address for that of an instance: none may stay.
        """
        line = f"{address} {name}"
        self.run(["sh", "-c", f"echo {line} >> /etc/hosts"])
        try:
            yield
        finally:
            hosts = "/etc/hosts"
            without = f"grep -vxF '{line}' {hosts} > {hosts}.new; mv {hosts}.new {hosts}"
            self.run(["sh", "-c", without])

    def remove(self, name: str) -> None:
        """Ends and removes an instance with its disks."""
        if name in self._consoles:
            self._consoles.pop(name).close()
        self.run(["gnt-instance", "remove", "--force", "--shutdown-timeout=0", name])

    def console(self, name: str) -> Console:
        """The serial console of a running instance, with all output since its start."""
        return self._consoles[name]

    def _open_console(self, name: str) -> Console:
        socket = f"/run/ganeti/kvm-hypervisor/ctrl/{name}.serial"
        # Connect before the guest prints anything: QEMU keeps no output for late readers.
        wait = f"until [ -S {socket} ]; do sleep 0.05; done"
        connect = f"exec socat -,raw,echo=0 UNIX-CONNECT:{socket},retry=100,interval=0.05"
        return Console(self.argv(["sh", "-c", f"{wait}; {connect}"]))

    def scrape(self) -> list[str]:
        """The lines that the README's command prints for the newest OS log."""
        return self.run(["bash", "-c", COMMAND]).stdout.splitlines()

    def facts(self) -> Facts:
        """The facts about the newest instance, from the OS log."""
        return parse(self.scrape())

    def os_log(self) -> str:
        """The newest OS log."""
        return self.run(["sh", "-c", "cat $(ls -tr /var/log/ganeti/os/* | tail -1)"]).stdout

    def instance_field(self, name: str, field: str) -> str:
        """A field of `gnt-instance list`."""
        argv = ["gnt-instance", "list", "--no-headers", f"--output={field}", name]
        return self.run(argv).stdout.strip()

    def disk_paths(self, name: str) -> list[str]:
        """The disk files of an instance, in the order of the disks."""
        directory = f"{DISKS}/{name}"
        listed = self.run(["find", directory, "-name", "*.file.disk*"]).stdout.split()
        return sorted(listed, key=lambda path: int(path.rpartition("disk")[2]))
