"""Writes the completion of bash and zsh from the parser: `make generate`."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.cli import parser

TOP = Path(__file__).resolve().parent.parent
# For a kind of argument, the command that lists its values.
LISTS = {
    "DISK|INSTANCE": "cat /var/lib/ganeti/ssconf_instance_list",
    "INSTANCE": "cat /var/lib/ganeti/ssconf_instance_list",
    "VARIANT": "grep -hv '^#' /etc/ganeti/instance-debootstrap/variants.list",
}

_BASH = """\
# Completion of instance-kit for bash, from its parser: make generate
_instance_kit() {{
  local verbs="" choices="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$verbs $word" in
      {known}) verbs="$verbs $word" ;;
    esac
  done
  case "$verbs" in
{cases}
  esac
  # shellcheck disable=SC2207 # no word has blanks
  COMPREPLY=($(compgen -W "$choices" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _instance_kit instance-kit
"""
_ZSH = """\
#compdef instance-kit
# Completion of instance-kit for zsh, from its parser: make generate
local verbs="" choices="" word
for word in "${{(@)words[2,CURRENT-1]}}"; do
  case "$verbs $word" in
    ({known}) verbs="$verbs $word" ;;
  esac
done
case "$verbs" in
{cases}
esac
compadd -- ${{=choices}} || _files
"""


@dataclass(frozen=True)
class Place:
    """A verb or sub-verb, the words that may follow it, and its kinds of arguments."""

    verbs: str
    words: tuple[str, ...]
    kinds: tuple[str, ...]


def places(top: argparse.ArgumentParser, verbs: str = "") -> Iterator[Place]:
    """The places of a parser, outer ones first."""
    words: list[str] = []
    kinds: list[str] = []
    below: dict[str, argparse.ArgumentParser] = {}
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            below |= action.choices
        else:
            words += [option for option in action.option_strings if option.startswith("--")]
            kinds += [action.metavar] if action.metavar in LISTS else []
    yield Place(verbs, (*below, *words), tuple(kinds))
    for verb, parser_below in below.items():
        yield from places(parser_below, f"{verbs} {verb}")


def generated() -> dict[str, str]:
    """The files by their paths in the repository."""
    found = list(places(parser()))
    known = " | ".join(f'"{place.verbs}"' for place in found if place.verbs)
    cases = {
        "completion/instance-kit": (_BASH, '    "{verbs}") choices="{words}" ;;'),
        "completion/_instance-kit": (_ZSH, '  ("{verbs}") choices="{words}" ;;'),
    }
    return {
        path: template.format(known=known, cases="\n".join(_case(each, line) for each in found))
        for path, (template, line) in cases.items()
    }


def _case(place: Place, line: str) -> str:
    lists = (f"$({LISTS[kind]} 2>/dev/null)" for kind in dict.fromkeys(place.kinds))
    return line.format(verbs=place.verbs, words=" ".join([*place.words, *lists]))


if __name__ == "__main__":
    for path, text in generated().items():
        (TOP / path).write_text(text)
