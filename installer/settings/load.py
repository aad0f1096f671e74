"""Loads the settings of one create: the defaults file, the variant's file, the OS parameters."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from installer.settings import DEFINITIONS, Settings, shellvars
from installer.settings.layers import PREFIX, Layer, SettingsError, resolve
from node.errors import KitError
from node.files import read_text
from node.run import ENVIRONMENT

DEFAULTS_FILE = Path("/etc/default/ganeti-instance-debootstrap")
_VARIANT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", re.ASCII)
# Ganeti's variables about the instance: a shell that sources a file would see these, too.
_GANETIS = ("OS_", "INSTANCE_", "DISK_", "NIC_", "HYPERVISOR")


@dataclass(frozen=True)
class Loaded:
    """Settings that have been read and checked.

    Attributes:
        settings: all of them.
        warnings: problems that do not stop the create.
        parameters: the names of the settings that OS parameters set.
        assigned: all variables that the files assign, settings or not; may hold secrets.
    """

    settings: Settings
    warnings: tuple[str, ...]
    parameters: frozenset[str]
    assigned: Mapping[str, str] = field(repr=False)

    @property
    def users_hosts(self) -> frozenset[str]:
        """The hosts of mirrors that OS parameters name; those that files name may be this node."""
        named = self.parameters & {"mirror", "security_mirror"}
        urls = [str(getattr(self.settings, name)) for name in named]
        return frozenset(host for url in urls if (host := urlsplit(url).hostname))


class BadSettingsError(KitError):
    """Some values are not allowed; `problems` has a message for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(
            f"settings: {'; '.join(problems)}",
            "see ganeti-os-debootstrap(7) for the settings and their allowed values",
        )
        self.problems = tuple(problems)


def load(
    instance_variant: str | None,
    environ: Mapping[str, str],
    *,
    defaults_file: Path = DEFAULTS_FILE,
    os_dir: Path,
) -> Loaded:
    """Reads and checks all settings of an instance.

    Args:
        instance_variant: the variant's name (Ganeti's OS_VARIANT); none or "" for no variant.
        environ: Ganeti's environment, of which `OSP_*` are the OS parameters.
        defaults_file: the site's settings; it need not exist.
        os_dir: the directory of the OS definition, with its variants.list.

    Raises:
        BadSettingsError: values are not allowed; the message lists all of them.
        KitError: a file cannot be read, or the variant has no file.
    """
    ganetis = {key: text for key, text in environ.items() if key.startswith(_GANETIS)}
    # A shell would also see the environment of programs: PATH="/opt/bin:$PATH" is usual.
    seen = {**ENVIRONMENT, **ganetis}
    layers: list[Layer] = []
    if defaults_file.exists():
        layers.append(_read(defaults_file, seen))
        seen |= layers[0].values
    if instance_variant:
        layers.append(_read(_variant_file(instance_variant, seen, os_dir), seen))
    assigned = {key: text for layer in layers for key, text in layer.values.items()}
    parameters = {key: text for key, text in environ.items() if key.startswith(PREFIX)}
    layers.append(Layer("OS parameters", parameters, parameters=True))
    try:
        settings, warnings = resolve(layers)
    except SettingsError as error:
        raise BadSettingsError(error.problems) from None
    names = frozenset(key.removeprefix(PREFIX).lower() for key in parameters)
    return Loaded(settings, tuple(warnings), names, assigned)


def _read(path: Path, seen: Mapping[str, str]) -> Layer:
    try:
        # Comments and values for the site's hooks may have any encoding.
        text = read_text(path, errors="surrogateescape")
    except OSError as error:
        raise KitError(f"cannot read {path}: {error.strerror}", f"see `namei -l {path}`") from None
    try:
        values = shellvars.parse(text, origin=str(path), known=seen)
        return Layer(str(path), values, lines=shellvars.lines(text, known=seen))
    except ValueError as error:
        raise KitError(
            str(error), "the file is parsed, not executed: it may only hold KEY=value lines"
        ) from None


def _variant_file(variant: str, seen: Mapping[str, str], os_dir: Path) -> Path:
    if not _VARIANT.fullmatch(variant):
        raise KitError(
            f"OS variant {variant!r}: not a valid name of a variant",
            "a name has only letters, digits and any of . _ + -",
        )
    setting = DEFINITIONS["variants_dir"]
    directory = Path(seen.get(setting.key) or setting.default)
    path = directory / f"{variant}.conf"
    if path.exists():
        return path
    published = os_dir / "variants.list"
    try:
        is_published = variant in read_text(published, errors="replace").split()
    except OSError:
        is_published = False
    if is_published:
        raise KitError(
            f"OS variant {variant}: {published} lists it, but {path} is missing",
            f"create {path} on every node, or remove {variant} from {published}",
        )
    raise KitError(
        f"OS variant {variant}: {path} is missing, and {published} does not list it",
        f"check the spelling; to make a new variant, create {path} on every node, "
        f"for example with SUITE={variant}",
    )
