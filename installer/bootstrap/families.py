"""What the distribution of a guest decides where the settings leave it open; pure."""

from dataclasses import dataclass, replace

from installer.settings import Settings
from node.errors import KitError


@dataclass(frozen=True)
class Family:
    """A distribution's own ways.

    Attributes:
        components: of the archive, as the distribution itself sets its machines up.
        network_stack: the one that is among its main packages.
        kernel_needs: packages that a bootable kernel needs and only recommends.
    """

    components: tuple[str, ...]
    network_stack: str
    kernel_needs: tuple[str, ...]


_USUAL = Family(("main",), "ifupdown", ())
_FAMILIES = {
    # ifupdown is in universe there; the kernels of Debian depend on an initramfs, Ubuntu's do not.
    "ubuntu": Family(("main", "universe"), "networkd", ("initramfs-tools",)),
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
    stack = settings.network_stack
    if stack == "auto":
        stack = family(distribution).network_stack
    known = components(settings, distribution)
    if distribution == "ubuntu" and stack == "ifupdown" and "universe" not in known:
        raise KitError(
            f"network stack ifupdown: Ubuntu has it in universe, and COMPONENTS is"
            f" {','.join(known)}",
            hint="add universe to COMPONENTS, or set NETWORK_STACK to networkd",
        )
    return replace(settings, network_stack=stack)
