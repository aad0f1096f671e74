"""The configuration of this node: OS definition, variants, hypervisor, cache directories."""

import re
from contextlib import suppress
from pathlib import Path

from installer.bootstrap import cache
from installer.cache_build import Builder
from installer.create import Decided
from installer.settings import Settings, load
from node import cluster
from node.errors import KitError
from node.files import read_text

# It is beside this package, in a checkout and when installed.
OS_DIR = Path(__file__).resolve().parent.parent / "os-definition"
_VARIANT = re.compile(r"[^#\s]+")


def variants() -> list[str]:
    """The variants that the OS definition publishes (ganeti-os-interface(7)).

    Raises:
        KitError: their list cannot be read.
    """
    path = OS_DIR / "variants.list"
    try:
        lines = read_text(path, errors="replace").splitlines()
    except OSError as error:
        raise KitError(
            f"list of variants {path}: {error.strerror}", hint="make install puts it there"
        ) from error
    words = (line.strip() for line in lines)
    return [word for word in words if _VARIANT.fullmatch(word)]


def builder() -> Builder:
    """Plans and makes caches for creates with the cluster's first hypervisor."""
    enabled = [line for line in cluster.ssconf("hypervisor_list") if line]
    hypervisor = enabled[0] if enabled else "kvm"
    pairs = (line.partition("=") for line in cluster.ssconf(f"hvparams_{hypervisor}"))
    return Builder(OS_DIR, hypervisor, {key: text for key, equals, text in pairs if equals})


def settings(variant: str) -> Settings:
    """The settings of a variant without OS parameters; "" for those of no variant.

    Raises:
        KitError: they cannot be read, or are not allowed.
    """
    return load.load(variant, {}, os_dir=OS_DIR).settings


def cache_directories() -> list[Path]:
    """The existing cache directories of the site and of its variants, each once.

    Raises:
        KitError: the site's settings cannot be read, or are not allowed.
    """
    found = [settings("")]
    for variant in variants():
        with suppress(KitError):  # `doctor` reports it
            found.append(settings(variant))
    return [path for path in dict.fromkeys(Path(each.cache_dir) for each in found) if path.is_dir()]


def published() -> dict[str, Decided]:
    """The decisions of creates of the published variants, without variants that are refused."""
    made_by, decided = builder(), {}
    for name in variants():
        with suppress(KitError):
            decided[name] = made_by.decide(name)
    return decided


def cache_path(decided: Decided) -> Path:
    """The path of the cache that a create would use; it need not exist."""
    return Path(decided.context.settings.cache_dir) / cache.file_name(decided.plan)
