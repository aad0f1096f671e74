"""Netplan's YAML as lines, each with the keys that lead to it (netplan(5)). Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple


class Line(NamedTuple):
    """A line: its index, its indentation, the keys that lead to it, and what follows the last."""

    place: int
    indent: int
    keys: tuple[str, ...]
    value: str
    is_item: bool

    @property
    def device(self) -> tuple[str, str] | None:
        """The kind (ethernets) and the name of the device that the line belongs to."""
        if len(self.keys) < 3 or self.keys[0] != "network":
            return None
        return self.keys[1], self.keys[2]

    @property
    def option(self) -> str:
        """The option of the device that the line belongs to; "" for the device itself."""
        return self.keys[3] if len(self.keys) > 3 else ""

    @property
    def body(self) -> str:
        """What the line says below its option."""
        return f"{self.keys[-1]}: {self.value}" if len(self.keys) > 4 else self.value


def devices(text: str) -> dict[tuple[str, str], list[Line]]:
    """The lines of each device of a file."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in parsed(text):
        if line.device:
            found.setdefault(line.device, []).append(line)
    return found


def parsed(text: str) -> Iterator[Line]:
    """The lines of a file, but for those that are empty or comments."""
    path: list[tuple[int, str]] = []
    opened = 0  # brackets of a list that goes on in the next line
    for place, line in enumerate(text.splitlines()):
        code = split(line)[0].rstrip()
        if not code.strip():
            continue
        indent = len(code) - len(code.lstrip())
        body = code.strip()
        goes_on, opened = opened > 0, max(0, opened + code.count("[") - code.count("]"))
        if goes_on:  # a colon is one of an address
            yield Line(place, indent, tuple(key for _, key in path), body, False)
            continue
        is_item = body.startswith("- ") or body == "-"
        # The items of a list may have the same indentation as its key.
        while path and (path[-1][0] > indent or (path[-1][0] == indent and not is_item)):
            path.pop()
        if is_item:
            yield Line(place, indent, tuple(key for _, key in path), body[1:].strip(), True)
            continue
        key, colon, value = body.partition(":")
        if colon:
            path.append((indent, key.strip("\"' ")))
            value = value.strip()
        else:
            value = body
        yield Line(place, indent, tuple(key for _, key in path), value, False)


def split(line: str) -> tuple[str, str]:
    """The code of a line, and its comment with the space before it."""
    match = re.search(r"(^|(?<!\s)\s+)#.*", line, re.DOTALL)
    return (line[: match.start()], line[match.start() :]) if match else (line, "")
