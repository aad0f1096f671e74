"""SSH connections from the node to its guests."""

import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .cluster import Cluster
from .host import SandboxError
from .scrape import Facts

KEY = "/root/e2e/id_ed25519"
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"
# Options and comment must be kept when the key is copied into guests.
OPTIONS = 'no-X11-forwarding,environment="E2E=yes"'
COMMENT = "admin of the tests, with blanks"
# Seconds after the login prompt: the server may start later.
START_TIMEOUT = 120


def make_key(cluster: Cluster) -> None:
    """Makes the SSH key of the node's administrator; guests created afterwards accept it."""
    cluster.run(["mkdir", "-p", "/root/e2e"])
    cluster.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", COMMENT, "-f", KEY])
    public = cluster.run(["cat", f"{KEY}.pub"]).stdout
    cluster.write(AUTHORIZED_KEYS, f"# root of the node\n{OPTIONS} {public}")


def use_key(cluster: Cluster) -> None:
    """Makes the key that of `ssh` on the node, which accepts the host keys of new guests."""
    known = "StrictHostKeyChecking accept-new\nUserKnownHostsFile /root/e2e/known_hosts\n"
    quiet = "LogLevel ERROR\nBatchMode yes\n"
    cluster.write("/root/.ssh/config", f"IdentityFile {KEY}\n{known}{quiet}")


_numbers = itertools.count()


@dataclass
class Ssh:
    """A connection to one address of a guest that has these host keys.

    The first command opens it, and all share it: a key exchange takes seconds in emulation.
    """

    cluster: Cluster
    host: str
    keys: tuple[str, ...]
    control: str
    is_open: bool = False

    @property
    def options(self) -> list[str]:
        options = {
            "UserKnownHostsFile": f"{self.control}.known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "ConnectTimeout": "30",
            "ControlPath": self.control,
        }
        return [f"-o{key}={value}" for key, value in options.items()] + ["-i", KEY]

    def open(self, timeout: float = START_TIMEOUT) -> None:
        """Logs in as soon as the server is ready.

        Raises:
            SandboxError: the server has another key, refuses ours, or did not start in time.
        """
        deadline = time.monotonic() + timeout
        known = "".join(f"{self.host} {key}\n" for key in self.keys)
        self.cluster.write(f"{self.control}.known_hosts", known)
        words = ["ssh", *self.options, "-fNM", f"root@{self.host}"]
        # The connection stays in the background, so it must not keep our streams open.
        script = 'log=$1; shift; "$@" </dev/null >"$log" 2>&1 || { cat "$log"; exit 1; }'
        command = ["sh", "-c", script, "sh", f"{self.control}.log", *words]
        while (ran := self.cluster.run(command, check=False)).returncode != 0:
            refused = re.search("verification failed|Permission denied", ran.stdout)
            if refused or time.monotonic() > deadline:
                raise SandboxError(f"ssh root@{self.host}: {ran.stdout}")
            time.sleep(0.5)
        self.is_open = True

    def try_run(self, command: str, timeout: float = 120) -> tuple[int, str]:
        """Runs a command there; returns its exit code and the output of both streams."""
        if not self.is_open:
            self.open()
        result = self.cluster.run(
            ["ssh", *self.options, f"root@{self.host}", f"exec 2>&1; {command}"],
            check=False,
            timeout=timeout,
        )
        return result.returncode, result.stdout + result.stderr

    def run(self, command: str, timeout: float = 120) -> str:
        """Runs a command there; returns its output, stripped.

        Raises:
            SandboxError: it failed.
        """
        code, said = self.try_run(command, timeout)
        if code != 0:
            raise SandboxError(f"ssh root@{self.host} {command!r}: exit code {code}\n{said}")
        return said.strip()

    def close(self) -> None:
        """Ends the connection."""
        self.cluster.run(["ssh", *self.options, "-Oexit", f"root@{self.host}"])
        self.is_open = False

    def system_state(self) -> str:
        """The state of systemd after the boot: "running", or the failed units with their logs."""
        _, state = self.try_run("systemctl is-system-running --wait")
        if state.strip() == "running":
            return "running"
        failed = "$(systemctl --failed --no-legend --plain | cut -d' ' -f1)"
        return state + self.try_run(f"systemctl status --no-pager --lines=20 {failed}")[1]


def connect(cluster: Cluster, facts: Facts, host: str, timeout: float = START_TIMEOUT) -> Ssh:
    """Waits for the server at an address and compares its keys with the scraped fingerprints."""
    deadline = time.monotonic() + timeout
    keys: list[str] = []
    # ssh-keyscan asks for one key type after the other; slow guests may need several runs.
    while len(keys) < len(facts.fingerprints) and time.monotonic() < deadline:
        scan = cluster.run(["ssh-keyscan", "-T", "15", host], check=False, timeout=90)
        keys = [line for line in scan.stdout.splitlines() if line and not line.startswith("#")]
        if not keys:
            time.sleep(0.5)
    assert keys, f"no SSH server at {host} within {timeout} s"
    listing = cluster.run(["ssh-keygen", "-l", "-f", "-"], input="\n".join(keys) + "\n").stdout
    shown = frozenset(line.split()[1] for line in listing.splitlines())
    assert shown == facts.fingerprints, f"{host} shows other host keys than the OS log states"
    return connect_known(cluster, host, [line.partition(" ")[2] for line in keys])


def connect_known(cluster: Cluster, host: str, keys: Sequence[str]) -> Ssh:
    """A connection to another address or another boot of a guest, with these host keys."""
    return Ssh(cluster, host, tuple(keys), f"/root/e2e/ssh.{next(_numbers)}")


def connect_all(cluster: Cluster, facts: Facts) -> list[Ssh]:
    """A connection to each address in the OS log: one IPv4 and one IPv6 address."""
    versions = sorted(address.version for address in facts.addresses)
    assert versions == [4, 6], f"addresses in the OS log: {facts.hosts}"
    first = connect(cluster, facts, facts.hosts[0])
    return [first, *(connect_known(cluster, host, first.keys) for host in facts.hosts[1:])]
