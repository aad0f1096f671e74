"""`instance-kit facts`: password, addresses and host keys of an instance, from the OS logs."""

import argparse
import errno
import json
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kit import DONE, dns, oslogs
from kit.oslogs import Event, Facts, Story
from node import cluster
from node.errors import KitError
from node.files import open_regular
from node.program import say
from node.text import printable

NAME = "facts"
ABOUT = "show root password, addresses and host keys of an instance, from Ganeti's OS logs"

LOGS = Path("/var/log/ganeti/os")
PART = 1 << 20  # bytes of a large log that are read at each end; a hook may print anything
# Of a file that ganeti-cleaner has removed, of directories and FIFOs, of sockets, of links.
_NO_LOG = (errno.ENOENT, errno.EINVAL, errno.ENXIO, errno.ELOOP)
_KEPT = "Ganeti removes OS logs after three weeks (ganeti-cleaner(8))"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument(
        "instance", nargs="?", metavar="INSTANCE", help="default: the newest one made on this node"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="for programs")
    how.add_argument("--dns", action="store_true", help="print records for a zone file")


def run(options: argparse.Namespace) -> int:
    """Prints the facts that the logs of this node state."""
    given = options.instance
    if given is not None and not cluster.is_instance_name(given):
        raise KitError(f"instance {given!r}: not a name of an instance", hint="gnt-instance list")
    events = _events()
    # Ganeti's names have no capitals.
    name = _newest(events) if given is None else oslogs.whole_name(events, given.lower())
    story = _story(events, name)
    text, _ = _read(Path(story.created.path))
    facts = oslogs.facts(text)
    if facts is None:
        raise KitError(
            f"{story.created.kind} of {name}, {story.created.date}: it is not finished:"
            f" {oslogs.last_words(text)}",
            hint=f"see {story.created.path}; gnt-instance reinstall makes the guest anew",
        )
    placed = cluster.placement(name)
    notes = [*facts.notes, *(_said(each) for each in story.since), *_elsewhere(name, placed)]
    if options.dns:
        comments = [f"; {note}" for note in (f"{name}: {_origin(story.created)}", *notes)]
        lines = [*comments, *dns.records(name, facts.addresses, facts.host_keys)]
        say("\n".join(printable(line) for line in lines))
        return DONE
    if facts.password is not None:
        _require_private_stdout()
    if options.json:
        say(json.dumps(as_json(name, story.created, facts, notes), indent=2))
    else:
        say(as_text(name, story.created, facts, notes))
    return DONE


def as_text(name: str, created: Event, facts: Facts, notes: list[str]) -> str:
    """The facts for people, in the words of the log: programs that read the log can read this."""
    lines = [f"{name}: {_origin(created)}"]
    if facts.password is not None:
        lines.append(f"root password: {facts.password}")
    lines += [f"configured {nic} with {address}" for nic, address in facts.addresses]
    lines += [
        f"{key.bits} SHA256:{key.digest} {key.comment} ({key.type})" for key in facts.host_keys
    ]
    lines += [f"note: {note}" for note in notes]
    return "\n".join(printable(line) for line in lines)


def as_json(name: str, created: Event, facts: Facts, notes: list[str]) -> dict[str, Any]:
    """The facts for programs, as instance-kit(8) describes them."""
    return {
        "instance": name,
        "made_by": created.kind,
        "date": created.date,
        "log": created.path,
        "root_password": facts.password,
        "addresses": [
            {"nic": nic, "address": str(address.ip), "prefix_length": address.network.prefixlen}
            for nic, address in facts.addresses
        ],
        "host_keys": [
            {"type": key.type, "bits": key.bits, "sha256": key.digest} for key in facts.host_keys
        ],
        "notes": notes,
    }


def _events() -> list[Event]:
    """The events that the logs of this node record.

    Raises:
        KitError: there are none.
        OSError: a log cannot be read.
    """
    try:
        paths = sorted(LOGS.iterdir())
    except OSError as error:
        raise KitError(
            f"OS logs {LOGS}: {error.strerror}", hint="is this a node of a Ganeti cluster?"
        ) from error
    events = []
    for path in paths:
        # All of them: after a rename, the logs of another name count.
        try:
            text, time = _read(path)
        except OSError as error:
            if error.errno in _NO_LOG:
                continue
            raise  # it may be the newest
        found = oslogs.event(str(path), text, time)
        if found is not None:
            events.append(found)
    return events


def _newest(events: Sequence[Event]) -> str:
    """The instance that was created last on this node.

    Raises:
        KitError: there is none.
    """
    made = [each for each in events if each.kind in ("create", "reinstall")]
    if not made:
        raise KitError(f"OS logs {LOGS}: no create of the kit is recorded there", hint=_KEPT)
    return max(made, key=lambda each: each.time).instance


def _story(events: Sequence[Event], instance: str) -> Story:
    """The create that an instance comes from, and later events.

    Raises:
        KitError: no log of this node records it.
    """
    story = oslogs.story(events, instance)
    if story is None:
        raise KitError(
            f"facts of {instance}: no OS log of this node ({cluster.this_node()}) has them",
            hint=_where_to_look(instance, cluster.placement(instance)),
        )
    return story


def _read(path: Path) -> tuple[str, float]:
    """The text of a log, of a large one the beginning and the end; and when it was last written.

    Raises:
        OSError: it cannot be read.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        status = os.fstat(file.fileno())
        data = file.read(PART)
        if status.st_size > PART:
            file.seek(max(PART, status.st_size - PART))
            data += file.read(PART)
    return data.decode(errors="replace"), status.st_mtime


def _origin(created: Event) -> str:
    verb = "reinstalled" if created.kind == "reinstall" else "created"
    return f"{verb} {created.date}, {created.path}"


def _said(event: Event) -> str:
    if event.kind == "import" and event.failure:
        return (
            f"import {event.date} failed, the disk was not restored: {event.failure} ({event.path})"
        )
    if event.kind == "import":
        return (
            f"imported {event.date}: if the backup is older than this installation, it has another"
            " password and other host keys"
        )
    if event.failure:
        return (
            f"renamed from {event.old_name} to {event.instance} {event.date}, but not in the guest:"
            f" {event.failure}"
        )
    if event.old_name != event.instance:
        return f"renamed from {event.old_name} to {event.instance} {event.date}"
    return f"renamed to the same name {event.date}, as Ganeti does after an import"


def _elsewhere(name: str, placed: cluster.Placement) -> list[str]:
    here = cluster.this_node()
    if placed.known is False:
        return [f"Ganeti has no instance {name} now"]
    if placed.primary and placed.primary != here:
        return [
            f"it runs on {placed.primary} now: a reinstall there has its log there"
            f" (instance-kit facts {name})"
        ]
    return []


def _where_to_look(name: str, placed: cluster.Placement) -> str:
    if placed.known is False:
        return f"Ganeti has no instance {name}: gnt-instance list; {_KEPT}"
    here = cluster.this_node()
    if nodes := [
        node for node in (placed.primary, *placed.secondaries) if node not in (None, here)
    ]:
        return f"look on {' and '.join(map(str, nodes))}: instance-kit facts {name}; {_KEPT}"
    if placed.primary or placed.master is None:
        return f"it may have been made on another node, or long ago: {_KEPT}"
    return (
        f"look on its nodes, which the master {placed.master} knows: gnt-instance list"
        f" -o name,pnode,snodes {name}; {_KEPT}"
    )


def _require_private_stdout() -> None:
    """Refuses to write a password to a file that others may read.

    Raises:
        KitError: stdout is such a file.
    """
    status = os.fstat(sys.stdout.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o044:
        raise KitError(
            f"stdout: others may read this file (mode {status.st_mode & 0o7777:04o}), and the"
            " output has a password",
            hint="umask 077 for a new file, chmod 600 for an old one; --dns prints no password",
        )
