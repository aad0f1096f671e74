"""The serial console, from GRUB to the login: `gnt-instance console` shows nothing else. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence

from guest.hypervisor import Console, console, own_kernel
from importer.check.facts import ENTRIES, GRUB_DEFAULT, INITTAB, MENU, MENUS, Facts
from node.finding import Finding, note, ok

_ABOUT = "serial console"
DEFAULTS = "/etc/default/grub.d/ganeti-instance-kit-console.cfg"
_LINUX = ("linux", "linux16", "linuxefi")
_OPTIONS = ("options",)  # of an entry of the Boot Loader Specification
# Without \s, which crosses ends of lines: a hostile text would take hours.
_ENTRY = re.compile(r"^[^\S\n]*(?:menuentry|submenu)\b", re.MULTILINE)
_INITTAB = "T0:23:respawn:/sbin/getty -L ttyS0 {speed} vt100\n"


def check(facts: Facts) -> Iterator[Finding]:
    """Findings of GRUB, the kernel and the login."""
    port = _port(facts)
    if port is None:
        yield note(
            _ABOUT,
            "the instance has none",
            "gnt-instance modify -H serial_console=true; or use VNC",
        )
        return
    menu = facts.texts.get(facts.menu)
    if menu is None and not facts.entries:
        listed = ", ".join((*MENUS, f"{ENTRIES}*"))
        yield note(_ABOUT, f"none of {listed} was found", "set console=ttyS0 in the boot loader")
        return
    lacking = []
    if menu is not None and not _has_terminal(menu):
        lacking.append("GRUB does not use it")
    if _kernels(facts, port):
        lacking.append(f"the kernel does not (console={port.kernel_argument})")
    inittab = facts.texts.get(INITTAB)
    if inittab is not None and not _has_login(inittab):
        lacking.append(f"{INITTAB} has no login on it")
    if lacking:
        yield note(_ABOUT, "; ".join(lacking), "--fix")
    else:
        loader = "kernel" if menu is None else "GRUB, kernel"
        yield ok(_ABOUT, f"{loader} and login use {port.device}")


def fixed(facts: Facts) -> Mapping[str, str]:
    """The new texts of GRUB's menu, of the file from which it is made again, and of inittab.

    systemd itself starts a login on the kernel's console (systemd-getty-generator(8)).
    """
    port, menu = _port(facts), facts.texts.get(facts.menu)
    if port is None or not port.speed or (menu is None and not facts.entries):
        return {}
    texts = _kernels(facts, port)
    wanted = texts.get(facts.menu, menu or "")
    if menu is not None and not _has_terminal(menu):
        serial = f"serial --unit=0 --speed={port.speed} --word=8 --parity=no --stop=1"
        lines = (serial, "terminal_input console serial", "terminal_output console serial")
        wanted = _behind_defaults(wanted, "".join(f"{line}\n" for line in lines))
    if menu is not None and wanted != menu:
        texts[facts.menu] = wanted
        # Only Debian's grub-mkconfig reads grub.d.
        if facts.menu == MENU and GRUB_DEFAULT in facts.texts and DEFAULTS not in facts.texts:
            texts[DEFAULTS] = _defaults(port)
    inittab = facts.texts.get(INITTAB)
    if inittab is not None and not _has_login(inittab):
        texts[INITTAB] = inittab.rstrip("\n") + "\n" + _INITTAB.format(speed=port.speed)
    return texts


def _port(facts: Facts) -> Console | None:
    return console(facts.instance) if own_kernel(facts.instance) else None


def _has_console(line: str, port: Console) -> bool:
    return re.search(rf"\bconsole={port.device}\b", line) is not None


def _has_terminal(menu: str) -> bool:
    words = (line.split() for line in menu.splitlines())
    return any(found[:1] == ["terminal_output"] and "serial" in found for found in words)


def _has_login(inittab: str) -> bool:
    lines = (line for line in inittab.splitlines() if not line.lstrip().startswith("#"))
    return any(":respawn:" in line and re.search(r"\bttyS0\b", line) for line in lines)


def _kernels(facts: Facts, port: Console) -> dict[str, str]:
    """The new texts of the menu and its entries whose kernels do not use the console."""
    found = dict(facts.entries)
    if facts.menu in facts.texts:
        found[facts.menu] = facts.texts[facts.menu]
    texts = {
        path: _with_console(text, port, _LINUX if path == facts.menu else _OPTIONS)
        for path, text in found.items()
    }
    return {path: text for path, text in texts.items() if text != found[path]}


def _with_console(menu: str, port: Console, names: Sequence[str]) -> str:
    """The menu whose kernels use the console: their options follow a word of `names`.

    A command that goes on in the next line, behind a backslash, is left as it is.
    """
    lines = menu.split("\n")
    for place, line in enumerate(lines):
        command = line.rstrip()
        is_linux = bool(command) and command.split(maxsplit=1)[0] in names
        if not is_linux or command.endswith("\\") or _has_console(command, port):
            continue
        both = "" if re.search(r"\bconsole=", command) else " console=tty0"
        end = line[len(command) :]
        lines[place] = f"{command}{both} console={port.kernel_argument}{end}"
    return "\n".join(lines)


def _behind_defaults(menu: str, lines: str) -> str:
    """The menu with lines before its first entry: what is set later counts."""
    match = _ENTRY.search(menu)
    place = match.start() if match else 0
    return menu[:place] + lines + menu[place:]


def _defaults(port: Console) -> str:
    return f"""# Made by ganeti-instance-kit: the serial console that gnt-instance console shows.
GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX console=tty0 console={port.kernel_argument}"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed={port.speed} --word=8 --parity=no --stop=1"
"""
