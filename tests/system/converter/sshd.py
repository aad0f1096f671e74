"""A real sshd of a test's own, in namespaces of its own: nothing of the machine is touched.

It sees the machine's files, but another network (with a loopback interface only, whose counters
tell what crossed the wire), other processes, and another home of root, which holds all keys and
configurations of both sides. With its first process the kernel ends everything in there.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PORT = 2222
HOST = "far.example.org"  # a name that only the ssh configuration knows
START_SECONDS = 20.0

_ENTER = """
set -eu
home=$1; shift
mount -t tmpfs run /run
mkdir -m 755 /run/sshd
mount --bind "$home/passwd" /etc/passwd
ip link set lo up
exec "$@"
"""
_SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/.ssh/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
PidFile none
AllowStreamLocalForwarding {forwarding}
"""
_SSH = """
Host {host}
  HostName 127.0.0.1
  Port {port}
  IdentityFile {home}/.ssh/key
  UserKnownHostsFile {home}/.ssh/known_hosts
  IdentitiesOnly yes
"""


@dataclass(frozen=True)
class Sshd:
    """A running sshd."""

    pid: int  # the first process of its namespaces, as we see it
    home: Path

    def argv(self, *words: str | os.PathLike[str]) -> list[str]:
        """The command line that runs a program where HOST can be reached."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--"]
        return [*enter, *map(str, words)]

    def python(self, program: str, *words: str | os.PathLike[str]) -> list[str]:
        """The command line that runs a Python program there."""
        top = Path(__file__).parents[3]
        code = f"import sys; sys.path.insert(0, {str(top)!r})\n{program}"
        return self.argv(sys.executable, "-c", code, *words)

    def wire_bytes(self) -> int:
        """All that was sent over its network up to now, headers included."""
        for line in Path(f"/proc/{self.pid}/net/dev").read_text().splitlines():
            name, _, figures = line.partition(":")
            if name.strip() == "lo":
                return int(figures.split()[0])
        raise AssertionError("no loopback interface")

    def processes(self, name: str) -> list[int]:
        """Processes of that name in its namespaces, as we see them."""
        namespace = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for comm in Path("/proc").glob("[0-9]*/comm"):
            try:
                if comm.read_text().strip() != name:
                    continue
                if comm.with_name("ns").joinpath("pid").readlink() == namespace:
                    found.append(int(comm.parts[2]))
            except OSError:
                continue  # it has ended
        return found

    def cut(self) -> None:
        """Ends the server's side of all connections, as if the network had gone away."""
        listener = _children(self.pid)
        for session in self.processes("sshd"):
            if session not in listener:
                os.kill(session, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def sshd(directory: Path, *, forwarding: str = "yes") -> Iterator[Sshd]:
    """Runs an sshd whose keys, configuration and home are below a directory.

    Args:
        directory: must exist; a home is made in it, and removed.
        forwarding: AllowStreamLocalForwarding of sshd_config(5).
    """
    home = directory / "far-home"
    _make_home(home, forwarding)
    server = ["/usr/sbin/sshd", "-D", "-e", "-f", home / "sshd_config"]
    with (home / "sshd.log").open("w") as log:
        started = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),
                *("--mount-proc", "--", "sh", "-c", _ENTER, "enter", home),
                # It is not the first process itself: that one must reap what others leave.
                *("sh", "-c", '"$@" & trap "" HUP; wait', "first", *server),
            ],
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield Sshd(_first_process(started, home), home)
    finally:
        started.kill()
        started.wait()
        shutil.rmtree(home)


def _make_home(home: Path, forwarding: str) -> None:
    ssh = home / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    for key in (home / "host_key", ssh / "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (ssh / "authorized_keys").write_text((ssh / "key.pub").read_text())
    key = (home / "host_key.pub").read_text()
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{PORT} {key}")
    (ssh / "config").write_text(_SSH.format(host=HOST, port=PORT, home=home))
    configuration = _SSHD.format(port=PORT, home=home, forwarding=forwarding)
    (home / "sshd_config").write_text(configuration)
    users = Path("/etc/passwd").read_text().splitlines()
    root = [f"root:x:0:0:root:{home}:/bin/sh" if u.startswith("root:") else u for u in users]
    (home / "passwd").write_text("\n".join(root) + "\n")


def _first_process(started: "subprocess.Popen[bytes]", home: Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while "Server listening" not in (log := (home / "sshd.log").read_text()):
        assert started.poll() is None and time.monotonic() < deadline, log
        time.sleep(0.05)
    (first,) = _children(started.pid)
    return first
