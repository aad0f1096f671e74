"""Fills in settings with the defaults of the guest's distribution.

Defaults that are the same in all releases of a distribution are here. Those that differ between
releases are in `releases`, which does not import settings, as settings are checked with it.
"""

from dataclasses import dataclass, replace

from installer import releases
from installer.settings import Settings
from node.errors import KitError


@dataclass(frozen=True)
class Family:
    """The defaults of a distribution.

    Attributes:
        components: the components of the archive that the distribution's installer enables.
        kernel_needs: packages that the kernel needs to boot, but only recommends.
    """

    components: tuple[str, ...]
    kernel_needs: tuple[str, ...]


_USUAL = Family(("main",), ())
_FAMILIES = {
    # Debian's kernels depend on a package that makes an initramfs, Ubuntu's do not.
    "ubuntu": Family(("main", "universe"), ("initramfs-tools",)),
}


def family(distribution: str) -> Family:
    """The defaults of a distribution (see `releases`); those of Debian if none are known."""
    return _FAMILIES.get(distribution, _USUAL)


def components(settings: Settings, distribution: str) -> tuple[str, ...]:
    """The components that a guest is made from."""
    return settings.components or family(distribution).components


def resolved(settings: Settings, distribution: str) -> Settings:
    """The settings, with the network stack filled in.

    Raises:
        KitError: the network stack is in a component that is not enabled.
    """
    usual = releases.network_stack(settings.suite, distribution)
    stack = usual if settings.network_stack == "auto" else settings.network_stack
    known = components(settings, distribution)
    # Ubuntu's old releases, which use ifupdown by default, have it in main.
    in_universe = distribution == "ubuntu" and usual != "ifupdown"
    if stack == "ifupdown" and in_universe and "universe" not in known:
        raise KitError(
            f"network stack ifupdown: Ubuntu has it in universe, but COMPONENTS is"
            f" {','.join(known)}",
            hint="add universe to COMPONENTS, or set NETWORK_STACK to networkd",
        )
    return replace(settings, network_stack=stack)
