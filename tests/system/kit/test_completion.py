"""bash and zsh complete verbs, options, instances and variants."""

import shlex
import shutil

import pytest

from tests.system.installer.support import TOP, output

BASH = f"""
source {TOP}/completion/instance-kit
COMP_WORDS=(@WORDS@) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_instance_kit
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# compadd itself works in zsh's line editor only; it leaves out what does not begin as the word.
ZSH = f"""
compadd() {{ shift; print -l -- "${{(@M)@:#${{words[CURRENT]}}*}}" }}
words=(@WORDS@) CURRENT=${{#words}}
complete_it() {{ source {TOP}/completion/_instance-kit }}
complete_it
"""


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["f"], ["facts"]),
        (["cache", ""], ["list", "build", "refresh", "prune", "--help"]),
        (["cache", "prune", "--a"], ["--all"]),
        (["facts", "--d"], ["--dns", "--debug"]),
        (["gc", "--dry-run", "--j"], ["--json"]),
    ],
)
def test_words(shell: str, words: list[str], expected: list[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = {"bash": BASH, "zsh": ZSH}[shell]
    quoted = " ".join(map(shlex.quote, ["instance-kit", *words]))
    assert output(shell, "-c", script.replace("@WORDS@", quoted)).split() == expected
