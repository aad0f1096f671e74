"""What the parser reads is what shells read."""

import random
import shutil
import subprocess

import pytest

from installer.settings.shellvars import parse

PIECES = [
    *"ab,./+:=#@%^*?[]!~",
    " ",
    "\t",
    "\n",
    "$A",
    "${A}",
    "${UNSET}",
    "${UNSET:-a b}",
    "${UNSET-$A}",
    "${KNOWN:-c}",
    "${EMPTY:-\\}é}",
    "${EMPTY-x}",
    "$KNOWN",
    "\\$",
    "\\\\",
    '\\"',
    "\\`",
    "\\x",
    "\\\n",
    "\\ ",
    "$",
    "'",
    '"',
    "'x y'",
    '"x  y"',
    "é",
    "(",
    ";",
]


def texts(seed, count):
    """Files of three assignments, most of them well formed, some with the defaults idiom."""
    chance = random.Random(seed)
    for _ in range(count):
        parts = ["A='first one'"]
        for name in "BC":
            value = "".join(chance.choices(PIECES, k=chance.randint(0, 8)))
            style = chance.choice(["{n}={v}", '{n}="{v}"', "{n}='{v}'", "export {n}={v}"])
            if chance.random() < 0.15:
                style = chance.choice([': "${{{n}:={v}}}"', ": ${{{n}:={v}}}"])
            parts.append(style.format(n=name, v=value))
        separator = chance.choice(["\n", "\n", ";", " # comment\n"])
        yield separator.join(parts) + "\n"


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_shell_reads_the_same(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "file"
    compared = 0
    for text in texts(seed=2, count=400):
        try:
            found = parse(text, origin="file", known={"KNOWN": "k k", "EMPTY": ""})
        except ValueError:
            continue
        file.write_text(text)
        told = subprocess.run(
            [shell, "-c", '. "$0"; printf "%s\\0" "${A-unset}" "${B-unset}" "${C-unset}"', file],
            env={"KNOWN": "k k", "EMPTY": "", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        assert (told.returncode, told.stderr) == (0, ""), text
        expected = told.stdout.split("\0")[:3]
        assert [found.get(name, "unset") for name in "ABC"] == expected, text
        compared += 1
    assert compared > 100
