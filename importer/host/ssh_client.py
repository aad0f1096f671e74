"""The command lines of ssh for the KVM host, and what its messages mean. Pure."""

import shlex
from collections.abc import Sequence

from converter.sources.sandbox import PLACE
from converter.sources.ssh_helper import (
    OPTIONS,
    Location,
    destination,
    parse,
    settings,
    socket_of,
    with_private_sockets,
)
from importer.errors import HostLost
from node.errors import KitError

CONTROL = "control"  # the master's socket, in PLACE of its mount namespace
# Startup files of a login shell may print lines; what a command prints stands behind this one.
MARK = "ganeti-instance-kit-output"
SSH_FAILED = 255  # exit code of ssh(1) itself, and of a program there that ends with it
TIMED_OUT, KILLED, NOT_FOUND = 124, 137, 127  # of timeout(1); of sh(1) and timeout(1)
KILL_SECONDS = 5
LATE_SECONDS = 30  # until a program there has begun, and its end is known here
TOO_MANY = "Session open refused by peer"  # sshd_config(5), MaxSessions
OPEN_FAILED = "open failed"  # of a connection through a forwarded socket
# Of the master. Forwardings are made later, each when it is needed.
_MASTER = {
    **OPTIONS,
    "StrictHostKeyChecking": "yes",
    "ServerAliveCountMax": "3",
    "ControlMaster": "yes",
    "ControlPath": f"{PLACE}/{CONTROL}",
    "ControlPersist": "no",
    "ClearAllForwardings": "yes",
}
# Of a client: all else is the master's. A client whose master is gone would connect by itself.
_CLIENT = {"BatchMode": "yes", "ProxyCommand": "false"}
_RUN = (
    'echo "$0"; PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C.UTF-8; export PATH LC_ALL;'
    ' exec "$@"'
)


def location_of(host: str) -> Location:
    """Parses a host as users name it: [user@]host[:port], or a name of their ssh_config(5).

    Raises:
        KitError: it is not such a name.
    """
    try:
        location = parse(f"ssh://{host}/-")
        if "/" in host:
            raise ValueError(f"not a host name: {host!r}")
    except ValueError as error:
        raise KitError(f"KVM host {host}: {error}", hint="for example root@kvm1.example.org") from (
            error
        )
    return location


def master(location: Location) -> list[str]:
    """The connection itself: prints MARK when it stands, and ends when its stdin does."""
    keeper = shlex.join(["exec", "sh", "-c", 'echo "$0"; exec cat >/dev/null', MARK])
    ssh = ("ssh", *settings(_MASTER), *destination(location), "--", location.host, keeper)
    return with_private_sockets(*ssh)


def client(pid: int, location: Location, argv: Sequence[str], seconds: float | None) -> list[str]:
    """Runs a program there, through the master.

    A limit holds there, for the program alone, and a little later here: the server, or the login
    shell there, may not even start it.

    Args:
        pid: of the master's process.
        location: the master's.
        argv: of the program; each word reaches it as it is, whatever the login shell there.
        seconds: after which the program is ended there; None: never.
    """
    limit = _limit(seconds) if seconds else []
    far = shlex.join(["exec", "sh", "-c", _RUN, MARK, *limit, *argv])
    ours = _limit(seconds + LATE_SECONDS) if seconds else []
    return [*ours, *_ssh(pid), "--", location.host, far]


def _limit(seconds: float) -> list[str]:
    return ["timeout", f"--kill-after={KILL_SECONDS}", f"{seconds:g}"]


def forwarding(pid: int, location: Location, what: str, name: str, far: str) -> list[str]:
    """Asks the master to begin or end forwarding a socket.

    Args:
        pid: of the master's process.
        location: the master's.
        what: forward or cancel.
        name: of the socket in PLACE; see `socket_of`.
        far: path of the socket on the KVM host.
    """
    # A colon separates the two, and a backslash is an escape (parse_fwd_field() of OpenSSH).
    escaped = far.replace("\\", "\\\\").replace(":", "\\:")
    return [*_ssh(pid), "-O", what, "-L", f"{PLACE}/{name}:{escaped}", "--", location.host]


def _ssh(pid: int) -> list[str]:
    return ["ssh", "-F", "none", *settings(_CLIENT), "-S", socket_of(pid, CONTROL)]


def not_connected(host: str, said: Sequence[str]) -> KitError:
    """Why the connection does not come about.

    Args:
        host: as the user named it.
        said: the last lines of ssh.
    """
    why = said[-1] if said else "it ended without a message"

    def is_said(words: str) -> bool:
        return any(words in line for line in said)

    if is_said("Host key for ") and is_said("has changed"):
        return KitError(
            f"KVM host {host}: its host key is another one than in known_hosts",
            hint="find out why; if the new key is right, remove the old one: ssh-keygen -R NAME",
        )
    if is_said("Host key verification failed"):
        return KitError(
            f"KVM host {host}: its host key is not known here",
            hint=f"add it: ssh {host}, and before saying yes compare the fingerprint with the"
            " output of `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on that host",
        )
    if is_said("Permission denied"):
        return KitError(
            f"KVM host {host}: SSH does not let us in: {why}",
            hint=f"`ssh {host} true` must work without a password: a key in authorized_keys there,"
            " or an agent here",
        )
    return HostLost(host, why)
