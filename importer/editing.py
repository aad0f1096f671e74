"""Edits of a guest's files: shown as a diff, then written, with the old files kept."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.errors import KitError
from node.guest_files import GuestFiles
from node.log import log

KEPT = "/etc/ganeti-instance-kit"  # in the guest; below it are the old files
MAX_TEXT = 256 * 1024  # bytes of a file that is edited: a diff of larger ones takes too long
# Settings of NetworkManager, netplan, systemd and wpa_supplicant that are nobody's business; in
# ifupdown's files, a blank follows the name.
_SECRET = re.compile(
    r"^([ +-][\s\"'{-]*[\w.-]*(?:psk|passw|passphrase|secret|\bpin\b|private-?key|wep-?key"
    r"|preshared-?key|\bkeys?\b|\b(?:private|shared)\b)[\w.-]*"
    r"[\"']?(?:\s*[=:]|\s)).*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Edit:
    """A file of the guest: its text now (None if there is none), and the text that it gets."""

    path: str
    old: str | None
    new: str


def as_diff(edits: Iterable[Edit]) -> str:
    """A unified diff of all files; secrets of lines that stay as they are are not shown."""
    lines: list[str] = []
    for edit in edits:
        before = f"a{edit.path}" if edit.old is not None else "/dev/null"
        found = difflib.unified_diff(
            (edit.old or "").splitlines(),
            edit.new.splitlines(),
            before,
            f"b{edit.path}",
            lineterm="",
        )
        lines += [_SECRET.sub(r"\1***", line) for line in found]
    return "\n".join(lines)


def write(files: GuestFiles, edits: Sequence[Edit], stamp: str) -> None:
    """Writes the edits; first keeps the old files in KEPT/before-STAMP.

    Raises:
        KitError: a file has changed since it was read. None is written then.
    """
    for edit in edits:
        if files.read(edit.path) != edit.old:
            raise KitError(
                f"{edit.path} in the guest: it has changed since it was read",
                hint="has the instance been started meanwhile? run this again",
            )
    for edit in edits:
        if edit.old is not None:
            files.keep(edit.path, f"{KEPT}/before-{stamp}")
    for edit in edits:
        files.replace(edit.path, edit.new)
        log.info("%s: written", edit.path)
