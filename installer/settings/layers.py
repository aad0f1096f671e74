"""Merges the settings of several origins, lowest precedence first, into checked `Settings`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from installer.releases import suite_problem
from installer.settings import DEFINITIONS, Definition, Settings
from installer.settings.hosts import is_inner
from installer.settings.kinds import MIN_ALIGNMENT, shown_without_password

# Ganeti passes OS parameters with this prefix. Files may use it, too, as they could with
# ganeti-instance-debootstrap.
PREFIX = "OSP_"


@dataclass(frozen=True)
class Layer:
    """The settings of one origin.

    Attributes:
        origin: the path of the file, or another name for messages.
        values: the text of each key (`FILESYSTEM`, `OSP_FILESYSTEM`). May hold secrets.
        parameters: whether these are OS parameters; some settings are allowed in files only.
        lines: the line of each key, if the origin is a file.
    """

    origin: str
    values: Mapping[str, str] = field(repr=False)
    parameters: bool = False
    lines: Mapping[str, int] = field(default_factory=dict)

    def place(self, key: str) -> str:
        """The file and line of a key, for messages."""
        return f"{self.origin}, line {self.lines[key]}" if key in self.lines else self.origin


class SettingsError(ValueError):
    """Some values are not allowed; `problems` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def resolve(layers: Sequence[Layer]) -> tuple[Settings, list[str]]:
    """Merges layers with the defaults; later layers take precedence.

    Returns:
        The settings, and warnings: keys of files that are not settings, values that were adapted.

    Raises:
        SettingsError: values are not allowed; it has those of all layers.
    """
    chosen: dict[str, Any] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for layer in layers:
        unknown: list[str] = []
        for key, text in layer.values.items():
            name = key.removeprefix(PREFIX).lower()
            definition = DEFINITIONS.get(name)
            if not key.isupper():
                # Shell variables are case-sensitive: `suite` may be used in SUITE="$suite-x".
                definition = None
            if definition is None and not layer.parameters:
                if near := _near(key):
                    warnings.append(f"{layer.place(key)}: unknown setting {key}{near}")
                else:
                    unknown.append(key)
            elif definition is None:
                problems.append(f"-O {name}: unknown parameter{_near(key, lower=True)}")
            elif layer.parameters and not definition.parameter:
                problems.append(f"-O {name}: may only be set in files of the node")
            else:
                try:
                    value = _read(definition, text, layer)
                except ValueError as error:
                    problems.append(f"{_stated(definition, key, text, layer)}: {error}")
                    continue
                if name == "partition_alignment" and value < MIN_ALIGNMENT:
                    # Sites may have such values, as ganeti-instance-debootstrap accepts them.
                    warnings.append(
                        f"{_stated(definition, key, text, layer)}: raised to {MIN_ALIGNMENT}"
                        " sectors (1 MiB), the space that GRUB needs"
                    )
                    value = MIN_ALIGNMENT
                chosen[name] = value
        if unknown:
            # Sites also set the variables of their hooks there.
            names = f"not settings, only passed to the site's hooks: {', '.join(unknown)}"
            warnings.append(f"{layer.origin}: {names}")
    # The types are right, since each value was parsed by the definition of its field.
    settings = Settings(**chosen)
    # An unset suite is the node's own, which is checked when the node has been read.
    if problem := suite_problem(settings.suite, settings.mirror):
        problems.append(problem)
    if problems:
        raise SettingsError(problems)
    return settings, warnings


def _read(definition: Definition, text: str, layer: Layer) -> Any:
    """Parses a value; raises ValueError that says why it is not allowed."""
    value = definition.read(text)
    is_mirror = definition.name in ("mirror", "security_mirror")
    if layer.parameters and is_mirror:
        # Users who may create instances must not read what only the node can reach.
        parts = urlsplit(value)
        if parts.scheme == "file":
            raise ValueError("file: URLs may only be set in files of the node")
        if parts.hostname and is_inner(parts.hostname):
            raise ValueError(
                "the host is this node or on its link, which may only be set in files of the node"
            )
    return value


def _stated(definition: Definition, key: str, text: str, layer: Layer) -> str:
    """The origin, name and value of a setting for messages: one line, without passwords."""
    value = shown_without_password(definition.kind, text)
    if layer.parameters:
        return f"-O {definition.name}={value}"
    return f'{layer.place(key)}: {definition.key}="{value}"'


def _near(key: str, *, lower: bool = False) -> str:
    """A suggestion for a misspelled name, or ""."""
    known = [found.key for found in DEFINITIONS.values() if found.parameter or not lower]
    guesses = get_close_matches(key.removeprefix(PREFIX).upper(), known, n=1, cutoff=0.75)
    return "".join(f" (did you mean {guess.lower() if lower else guess}?)" for guess in guesses)
