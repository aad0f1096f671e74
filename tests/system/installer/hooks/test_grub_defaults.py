"""What update-grub gets, when shells read the files in its order."""

from pathlib import Path

import pytest

from installer.hooks.grub import HookGrub
from tests.system.installer.support import output
from tests.unit.installer.hooks.test_hooks import context

PACKAGED = """\
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=`echo Debian`
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
"""
KEYS = ("TIMEOUT", "TIMEOUT_STYLE", "CMDLINE_LINUX", "CMDLINE_LINUX_DEFAULT", "TERMINAL")
OURS = {
    "TIMEOUT": "1",
    "TIMEOUT_STYLE": "menu",
    "CMDLINE_LINUX": "console=tty0 console=ttyS0,115200n8",
    "CMDLINE_LINUX_DEFAULT": "",
    "TERMINAL": "console serial",
}


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize(
    ("lines", "theirs"),
    [
        ("", {}),
        ("GRUB_TIMEOUT=9", {"TIMEOUT": "9"}),
        ("GRUB_CMDLINE_LINUX=\"net.ifnames=0 a='b'\"", {"CMDLINE_LINUX": "net.ifnames=0 a='b'"}),
        ("GRUB_TERMINAL=serial", {"TERMINAL": "serial"}),
        ("GRUB_TIMEOUT_STYLE=hidden", {"TIMEOUT_STYLE": "hidden"}),
        ("GRUB_CMDLINE_LINUX_DEFAULT=splash", {"CMDLINE_LINUX_DEFAULT": "splash"}),
    ],
)
def test_lines_of_admins_and_hooks_win(
    shell: str, lines: str, theirs: dict[str, str], tmp_path: Path
) -> None:
    assert _read(shell, tmp_path, PACKAGED + lines) == OURS | theirs


def test_without_the_packages_file_ours_count(tmp_path: Path) -> None:
    assert _read("dash", tmp_path, PACKAGED, packaged=False) == OURS


def _read(shell: str, directory: Path, text: str, *, packaged: bool = True) -> dict[str, str]:
    stock, main, ours = (directory / name for name in ("stock", "main", "ours"))
    if packaged:
        stock.write_text(PACKAGED)
    main.write_text(text)
    (file,) = HookGrub().render(context(grub_timeout=1)).values()
    assert "=/usr/share/grub/default/grub\n" in file.text
    ours.write_text(file.text.replace("/usr/share/grub/default/grub", str(stock)))
    shown = "".join(f'echo "$GRUB_{key}"\n' for key in KEYS)
    script = f". {main}\n. {ours}\n{shown}"
    return dict(zip(KEYS, output(shell, "-ec", script).splitlines(), strict=True))
