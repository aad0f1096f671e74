"""Layers of settings: from texts of several origins, lowest first, to checked `Settings`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from installer.releases import suite_problem
from installer.settings import DEFINITIONS, Definition, Settings
from installer.settings.hosts import is_inner
from installer.settings.kinds import MIN_ALIGNMENT, shown_without_password

# Ganeti passes OS parameters with this prefix; files may have it too, as they could of old.
PREFIX = "OSP_"


@dataclass(frozen=True)
class Layer:
    """What one origin says.

    Attributes:
        origin: the path of the file, or what else to call it.
        values: key (`FILESYSTEM`, `OSP_FILESYSTEM`) to text. May hold secrets.
        parameters: whether these are OS parameters, which not all settings can be given as.
    """

    origin: str
    values: Mapping[str, str] = field(repr=False)
    parameters: bool = False


class SettingsError(ValueError):
    """All that is wrong with some layers, a line each in `problems`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def resolve(layers: Sequence[Layer]) -> tuple[Settings, list[str]]:
    """Lays settings over the defaults, the lowest layer first.

    Returns:
        The settings, and warnings: keys of files that are no settings, values that were adapted.

    Raises:
        SettingsError: with every value that is not allowed, of whatever layer.
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
                # Variables of a shell differ by case: `suite` may be a helper of SUITE="$suite-x".
                definition = None
            if definition is None and not layer.parameters:
                if near := _near(key):
                    warnings.append(f"unknown setting {key} in {layer.origin}{near}")
                else:
                    unknown.append(key)
            elif definition is None:
                problems.append(f"-O {name}: unknown parameter{_near(key, lower=True)}")
            elif layer.parameters and not definition.parameter:
                problems.append(f"-O {name}: may be set in files of the node only")
            else:
                try:
                    value = _read(definition, text, layer)
                except ValueError as error:
                    problems.append(f"{_stated(definition, text, layer)}: {error}")
                    continue
                if name == "partition_alignment" and value < MIN_ALIGNMENT:
                    # Old sites may have such values, which ganeti-instance-debootstrap took.
                    warnings.append(
                        f"{_stated(definition, text, layer)}: raised to {MIN_ALIGNMENT} sectors"
                        " (1 MiB), the room that GRUB needs"
                    )
                    value = MIN_ALIGNMENT
                chosen[name] = value
        if unknown:
            # Sites keep the variables of their hooks there.
            names = f"no settings, only the site's hooks get them: {', '.join(unknown)}"
            warnings.append(f"{layer.origin}: {names}")
    # The fields are typed where they are defined: each value comes from its own definition.
    settings = Settings(**chosen)
    # An unset suite is the node's own, which is checked where it is known.
    if problem := suite_problem(settings.suite, settings.mirror):
        problems.append(problem)
    if problems:
        raise SettingsError(problems)
    return settings, warnings


def _read(definition: Definition, text: str, layer: Layer) -> Any:
    """The value; raises ValueError with what is wrong with it."""
    value = definition.read(text)
    is_mirror = definition.name in ("mirror", "security_mirror")
    if layer.parameters and is_mirror:
        # They would show whoever may create instances what only the node can reach.
        parts = urlsplit(value)
        if parts.scheme == "file":
            raise ValueError("file: URLs may be set in files of the node only")
        if parts.hostname and is_inner(parts.hostname):
            raise ValueError("a host that is this node or on its link: in files of the node only")
    return value


def _stated(definition: Definition, text: str, layer: Layer) -> str:
    """Who said what, on one line and without passwords."""
    value = shown_without_password(definition.kind, text)
    if layer.parameters:
        return f"-O {definition.name}={value}"
    return f'{layer.origin}: {definition.key}="{value}"'


def _near(key: str, *, lower: bool = False) -> str:
    """A guess at what was meant."""
    known = [found.key for found in DEFINITIONS.values() if found.parameter or not lower]
    guesses = get_close_matches(key.removeprefix(PREFIX).upper(), known, n=1, cutoff=0.75)
    return "".join(f" (is it {guess.lower() if lower else guess}?)" for guess in guesses)
