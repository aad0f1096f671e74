"""Generates files from the definitions of the settings: `make generate`."""

import re
import textwrap
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from installer.settings import DEFINITIONS, Definition, as_text, parameters_list

TOP = Path(__file__).resolve().parents[2]
MANUAL = "man/ganeti-os-debootstrap.7"

_DEFAULTS_HEAD = """\
# Settings of the instances that the Ganeti OS "debootstrap" makes.
#
# The file is parsed, not executed. It may hold KEY="value" lines, comments, and $VAR
# of values above. Each setting is listed with its default. A variant's file and OS
# parameters (gnt-instance add -O filesystem=xfs ...) take precedence over this file.
# See ganeti-os-debootstrap(7).
"""


def defaults_file() -> str:
    """The file for /etc/default: every setting with its default, commented out."""
    return "\n".join([_DEFAULTS_HEAD, *map(_default, DEFINITIONS.values())])


def _default(definition: Definition) -> str:
    about = f"{definition.about} Allowed: {definition.kind.allowed}."
    if not definition.parameter:
        about += " Not an OS parameter."
    comment = textwrap.fill(
        about,
        width=90,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
        break_long_words=False,
    )
    return f'{comment}\n#{definition.key}="{as_text(definition.default)}"\n'


def roff(text: object) -> str:
    """Escapes backslashes, hyphens, leading dots and quotes of a text for a line of man(7)."""
    escaped = str(text).replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti")
    escaped = escaped.replace("'", "\\(aq").replace("^", "\\(ha")
    return re.sub(r"^\.", r"\\&.", escaped)


def manual(template: str) -> str:
    """Renders the manual page with all settings from its template."""
    environment = Environment(
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"roff": roff, "text": as_text}
    hooks = [found for found in DEFINITIONS.values() if found.name.startswith("hook_")]
    others = [found for found in DEFINITIONS.values() if found not in hooks]
    return environment.from_string(template).render(settings=others, hooks=hooks)


def generated(top: Path = TOP) -> dict[str, str]:
    """The text of every generated file, by its path below the top directory."""
    template = (top / f"{MANUAL}.in").read_text(encoding="utf-8")
    return {
        "os-definition/parameters.list": parameters_list(),
        "os-definition/defaults": defaults_file(),
        MANUAL: manual(template),
    }


def main() -> None:
    """Writes all generated files."""
    for path, text in generated().items():
        (TOP / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
