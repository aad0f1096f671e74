"""Ganeti's OS logs: to which instance each belongs, and what it states; pure."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import NamedTuple

# _InstanceLogName() of Ganeti's backend.py: kind, OS and instance, each of which may have hyphens;
# for a rename the old name before the new one, for an import the disk behind it.
_NAME = re.compile(
    r"(?P<kind>add|rename|import)-(?P<middle>.+)"
    r"-(?P<day>\d{4}-\d\d-\d\d)_(?P<hour>\d\d)_(?P<minute>\d\d)_(?P<second>\d\d)\.log"
)
_DISK = re.compile(r"-disk\d+")
# What our own scripts log before they touch a disk (installer.create, installer.rename).
_CREATE = re.compile(r"(?P<verb>create|reinstall) of (?P<name>\S+): \S+, hypervisor \S+")
_RENAME = re.compile(r"rename of (?P<old>\S+) to (?P<name>\S+)")
# Ganeti dates each line of an import (backup.import_). The log of the same name that the receiving
# end of an export leaves is empty: no script runs there.
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: ", re.MULTILINE)
_IMPORT = re.compile(r"^(the stream on stdin is|error:) ", re.MULTILINE)
# Behind the name of the disk. Other lines may end with words of a guest.
_IMPORTED = re.compile(
    r"^/\S+( \(\S+\))?: (written and flushed|restored from the dump)$", re.MULTILINE
)
_ERROR = re.compile(r"^error: (?P<why>.*)", re.MULTILINE)
# The facts are behind this line, not indented; the output of hooks is indented.
_DONE = re.compile(r"done in \d+\.\d s:")
_PASSWORD = re.compile(r"root password: (\S+)")
_ADDRESS = re.compile(r"configured (\S+) with ([0-9a-f.:]+/\d+)")
_FINGERPRINT = re.compile(r"(\d+) SHA256:([A-Za-z0-9+/]{43}) (.*) \(([A-Z0-9-]+)\)")
_NO_PASSWORD = re.compile(r"the (password|account) of root .+")


class HostKey(NamedTuple):
    """An SSH host key, as `ssh-keygen -l` shows it: RSA, 3072 bits, and base64 of its SHA-256."""

    type: str
    bits: int
    digest: str
    comment: str


@dataclass(frozen=True)
class Facts:
    """What the log of a create states; addresses by the guest's names of its network cards."""

    password: str | None
    addresses: tuple[tuple[str, IPv4Interface | IPv6Interface], ...]
    host_keys: tuple[HostKey, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """What a log records.

    Attributes:
        path: the log.
        kind: "create", "reinstall", "rename" or "import".
        instance: its name afterwards; of an import, with the OS and a hyphen before it.
        old_name: the name before a rename.
        time: when the log was last written, in seconds since the epoch.
        date: when it began, in local time, for people.
        failure: why a rename or import failed; None if it did not.
    """

    path: str
    kind: str
    instance: str
    old_name: str | None
    time: float
    date: str
    failure: str | None = None


@dataclass(frozen=True)
class Story:
    """The create that an instance comes from, and later events, newest first."""

    created: Event
    since: tuple[Event, ...]


def event(path: str, text: str, time: float) -> Event | None:
    """What a log records. None: a failure before any disk was touched, or not a log of the kit.

    The file name is ambiguous: `debootstrap+a-b.example.org` can be b.example.org with variant a,
    or a-b.example.org.

    Args:
        path: of the log.
        text: all of it.
        time: when it was last written.
    """
    found = _NAME.fullmatch(path.rpartition("/")[2])
    if found is None:
        return None
    date = f"{found['day']} {found['hour']}:{found['minute']}:{found['second']}"
    if found["kind"] == "import":
        text = _STAMP.sub("", text)
        if _IMPORT.search(text) is None:
            return None
        failure = _error(text) or (None if _IMPORTED.search(text) else "it did not finish")
        # Only its name says which instance was imported.
        instance = _DISK.sub("", found["middle"])
        return Event(path, "import", instance, None, time, date, failure)
    pattern = _CREATE if found["kind"] == "add" else _RENAME
    lines = (pattern.fullmatch(line) for line in text.splitlines())
    stated = next((line for line in lines if line is not None), None)
    if stated is None or not found["middle"].endswith(f"-{stated['name']}"):
        return None
    if found["kind"] == "rename":
        return Event(path, "rename", stated["name"], stated["old"], time, date, _error(text))
    return Event(path, stated["verb"], stated["name"], None, time, date)


def whole_name(events: Sequence[Event], given: str) -> str:
    """The full name of which `given` is the first part, if there is exactly one; else `given`."""
    names = {each.instance for each in events if each.kind != "import"}
    whole = [name for name in names if name.startswith(f"{given}.")]
    return whole[0] if given not in names and len(whole) == 1 else given


def story(events: Sequence[Event], instance: str) -> Story | None:
    """The create that an instance comes from; None if the logs of this node do not have it.

    Names are reused, so after a rename only older logs of the old name count. Ganeti renames an
    instance after each import: imports between that rename and the event before it are one.
    """
    known = {each.instance for each in events if each.kind != "import"}
    since: list[Event] = []
    name, counting, imported = instance, {instance}, set[str]()
    for found in sorted(events, key=lambda each: each.time, reverse=True):
        if found.kind == "import":
            if (whose := _whose(found, known)) in counting:
                imported.add(whose)
                # There is one log for each disk.
                if found.failure or not any(_succeeded(each) for each in since):
                    since.append(found)
            continue
        if found.instance != name or name in imported:
            counting.discard(found.instance)
        if found.instance != name:
            continue
        if found.kind != "rename":
            return Story(found, tuple(since))
        since.append(found)
        if found.old_name and found.old_name != name:
            name = found.old_name
            counting.add(name)
    return None


def _whose(imported: Event, names: Collection[str]) -> str:
    """The instance that was imported: the longest name with which the log's can end; "" if none."""
    fitting = (name for name in names if imported.instance.endswith(f"-{name}"))
    return max(fitting, key=len, default="")


def _succeeded(found: Event) -> bool:
    return found.kind == "import" and found.failure is None


def _error(text: str) -> str | None:
    found = _ERROR.search(text)
    return found and found["why"]


def facts(text: str) -> Facts | None:
    """What the log of a create states at its end; None if it did not finish."""
    lines = text.splitlines()
    ends = [number for number, line in enumerate(lines) if _DONE.fullmatch(line)]
    if not ends:
        return None
    stated = Facts(None, (), (), ())
    for line in lines[ends[-1] + 1 :]:
        stated = _with(stated, line)
    return stated


def _with(stated: Facts, line: str) -> Facts:
    if found := _PASSWORD.fullmatch(line):
        return replace(stated, password=found[1])
    if found := _FINGERPRINT.fullmatch(line):
        key = HostKey(found[4], int(found[1]), found[2], found[3])
        return replace(stated, host_keys=(*stated.host_keys, key))
    if _NO_PASSWORD.fullmatch(line):
        return replace(stated, notes=(*stated.notes, line))
    if found := _ADDRESS.fullmatch(line):
        try:
            address = ip_interface(found[2])
        except ValueError:
            return stated
        return replace(stated, addresses=(*stated.addresses, (found[1], address)))
    return stated


def last_words(text: str) -> str:
    """The last line of a log that is no hint: the error, if the create failed."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("hint: ")]
    return lines[-1].strip() if lines else "the log is empty"
