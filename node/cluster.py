"""What Ganeti knows about nodes and instances, as far as this node can tell."""

import re
import socket
from dataclasses import dataclass
from pathlib import Path

from node.files import read_text
from node.run import run

# Written by Ganeti on every node (ssconf.py); readable without its daemons.
SSCONF = Path("/var/lib/ganeti")
_SEPARATOR = "|"
_INSTANCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


@dataclass(frozen=True)
class Placement:
    """Where an instance runs.

    Attributes:
        primary: the node; None if only the master can tell.
        secondaries: nodes that it may have run on before a failover; empty likewise.
        master: the master node; None if this node is in no cluster.
        known: whether Ganeti has an instance of this name; None if this node cannot tell.
    """

    primary: str | None
    secondaries: tuple[str, ...]
    master: str | None
    known: bool | None


def is_instance_name(name: str) -> bool:
    """Whether a text can be the name of an instance, and is safe as an argument of gnt-instance."""
    return _INSTANCE.fullmatch(name) is not None


def this_node() -> str:
    """This node's name, as Ganeti resolved it: with its domain."""
    return socket.getfqdn() if "." not in socket.gethostname() else socket.gethostname()


def ssconf(key: str) -> list[str]:
    """The lines of one of Ganeti's ssconf files; none where it is missing."""
    try:
        return read_text(SSCONF / f"ssconf_{key}", errors="replace").split("\n")
    except OSError:
        return []


def full_name(given: str) -> str | None:
    """The name of the one instance that is `given`, or `given` and a domain; None if none is.

    Of several that begin with it, None is.
    """
    names = [line for line in ssconf("instance_list") if line]
    longer = [name for name in names if name.startswith(f"{given}.")]
    if given in names:
        return given
    return longer[0] if len(longer) == 1 else None


def listed(instance: str, *fields: str) -> list[str] | None:
    """What `gnt-instance list` says of an instance.

    Args:
        instance: a name that Ganeti has.
        fields: of gnt-instance(8).

    Returns:
        The values; None if this node is not the master, or Ganeti does not answer.
    """
    if next((line for line in ssconf("master_node") if line), None) != this_node():
        return None
    options = ("--no-headers", f"--separator={_SEPARATOR}", f"--output={','.join(fields)}")
    answer = run(["gnt-instance", "list", *options, instance], check=False)
    values = answer.stdout.strip("\n").split(_SEPARATOR)
    return values if answer.exit_code == 0 and len(values) == len(fields) else None


def placement(instance: str) -> Placement:
    """Where an instance runs. Asks Ganeti's master only if this node is the master."""
    master = next((line for line in ssconf("master_node") if line), None)
    instances = [line for line in ssconf("instance_list") if line]
    known = instance in instances if master else None
    values = listed(instance, "pnode", "snodes") if known else None
    if values is None:
        return Placement(None, (), master, known)
    primary, others = values
    secondaries = tuple(name for name in others.split(",") if is_instance_name(name))
    return Placement(primary or None, secondaries, master, known)
