"""Checks the site's hooks: which are run, and which repeat what built-in hooks do."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from installer.settings import Settings
from node.files import read_text
from node.finding import Finding, note, ok

# A pattern in the text of a hook, the switch of the built-in hook, and what that one does. Site
# hooks run last and win, so such a hook does no harm, but the work is done twice.
CLASHES = (
    (r"\b(grub-install|update-grub)\b", "hook_grub", "installs GRUB with its menu"),
    (r"\bssh-keygen\b", "hook_ssh", "makes the host keys, and logs them"),
    (r"\bauthorized_keys\b", "hook_authorized_keys", "copies root's authorized keys"),
    (r"\b(chpasswd|passwd)\b", "hook_password", "sets a random root password, and logs it"),
    (r"etc/network/interfaces|systemd/network", "hook_network", "configures the network"),
    (r"etc/(hostname|mailname|hosts)\b", "hook_hostname", "writes the names of the guest"),
    (r"\b(mkswap|swapfile)\b", "hook_swap", "makes swap"),
    (r"etc/machine-id", "hook_machine_id", "makes a new machine ID"),
    (r"etc/(timezone|localtime)\b", "hook_timezone", "sets the time zone"),
    (r"\b(locale-gen|update-locale)\b", "hook_locale", "sets the locale"),
    (r"\b(inittab|serial-getty@?)", "hook_console", "opens the serial console"),
)
_MKFS = re.compile(r"\b(mkfs(\.\w+)?|mke2fs)\b")
# run-parts(8) without options.
_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def check(settings: Settings) -> Iterator[Finding]:
    """The files in CUSTOMIZE_DIR."""
    directory = Path(settings.customize_dir)
    about = f"site hooks {directory}"
    if not directory.is_dir():
        yield ok(about, "none")
        return
    run = []
    for path in sorted(directory.iterdir()):
        if path.is_dir():
            continue
        if not _NAME.fullmatch(path.name):
            yield note(about, f"{path.name} is not run", "run-parts(8): no dots in the name")
        elif not os.access(path, os.X_OK):
            yield note(about, f"{path.name} is not run: not executable", f"chmod +x {path}")
        else:
            run.append(path)
            yield from _clashes(path, settings)
    names = ", ".join(path.name for path in run) or "none"
    yield ok(about, names if settings.hook_site else f"switched off by HOOK_SITE: {names}")


def _clashes(path: Path, settings: Settings) -> Iterator[Finding]:
    text = code(path)
    about = f"site hook {path.name}"
    for pattern, switch, deed in CLASHES:
        found = re.search(pattern, text)
        if found and getattr(settings, switch):
            yield note(
                about,
                f"it uses {found[0]}; the kit {deed} before, and this hook overrides that",
                f"remove the hook if the kit is enough, or set {switch.upper()}=no",
            )
    if found := _MKFS.search(text):
        yield note(
            about,
            f"it uses {found[0]}; disks that are named after a mount point are mounted then",
            "let the kit make these file systems, or give the disks other names",
        )


def code(path: Path) -> str:
    """The text of a script without comments; "" for other programs."""
    try:
        text = read_text(path, errors="replace")
    except OSError:
        return ""
    if not text.startswith("#!"):
        return ""
    return "\n".join(_without_comments(text.splitlines()))


def _without_comments(lines: Sequence[str]) -> Iterator[str]:
    return (line for line in lines if not line.lstrip().startswith("#"))
