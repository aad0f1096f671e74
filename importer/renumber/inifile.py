"""Lines of files with sections: those of systemd and of NetworkManager. Pure."""

from collections.abc import Iterator
from typing import NamedTuple


class Setting(NamedTuple):
    """A line `key=value`: its index, and the section that it is in, with the section's number."""

    place: int
    number: int
    section: str
    key: str
    value: str


def settings(lines: list[str]) -> Iterator[Setting]:
    """The settings of a file; sections and keys may be repeated."""
    section, number = "", 0
    for place, line in enumerate(lines):
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            section, number = text[1:-1], number + 1
        elif text and text[0] not in "#;" and "=" in text:
            key, _, value = text.partition("=")
            yield Setting(place, number, section, key.strip(), value.strip())


def after(lines: list[str], place: int, added: list[str]) -> None:
    """Adds lines behind one, in the text of its own: other places stay right."""
    lines[place] = lines[place].rstrip("\n") + "\n" + "".join(f"{line}\n" for line in added)
