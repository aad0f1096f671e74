"""Settings that are left open, filled in by what the guest's distribution does.

What is the same in all of a distribution's releases stands here. What differs between releases
stands in `releases`, which knows no settings: these are checked with it while they are read.
"""

from dataclasses import dataclass, replace

from installer import releases
from installer.settings import Settings
from node.errors import KitError


@dataclass(frozen=True)
class Family:
    """A distribution's own ways.

    Attributes:
        components: of the archive, as the distribution itself sets its machines up.
        kernel_needs: packages that a bootable kernel needs and only recommends.
    """

    components: tuple[str, ...]
    kernel_needs: tuple[str, ...]


_USUAL = Family(("main",), ())
_FAMILIES = {
    # The kernels of Debian depend on an initramfs, Ubuntu's do not.
    "ubuntu": Family(("main", "universe"), ("initramfs-tools",)),
}


def family(distribution: str) -> Family:
    """The ways of a distribution (see `releases`); those of Debian where none are known."""
    return _FAMILIES.get(distribution, _USUAL)


def components(settings: Settings, distribution: str) -> tuple[str, ...]:
    """The components that a guest is made from."""
    return settings.components or family(distribution).components


def resolved(settings: Settings, distribution: str) -> Settings:
    """The settings, with the network stack filled in.

    Raises:
        KitError: the network stack is in a component that is left out.
    """
    usual = releases.network_stack(settings.suite, distribution)
    stack = usual if settings.network_stack == "auto" else settings.network_stack
    known = components(settings, distribution)
    # Ubuntu has ifupdown in main where it is what it uses itself.
    in_universe = distribution == "ubuntu" and usual != "ifupdown"
    if stack == "ifupdown" and in_universe and "universe" not in known:
        raise KitError(
            f"network stack ifupdown: Ubuntu has it in universe, and COMPONENTS is"
            f" {','.join(known)}",
            hint="add universe to COMPONENTS, or set NETWORK_STACK to networkd",
        )
    return replace(settings, network_stack=stack)
