"""What a hook is, and what it may know of the guest that it shapes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from guest.addresses import NicConfig, plan_nics
from guest.instance import Instance
from installer.disks.layout import Layout, swapfile_bytes
from installer.guest_tree import File as File
from installer.guest_tree import GuestTree
from installer.inputs import NodeFacts
from installer.settings import Settings


@dataclass(frozen=True)
class Context:
    """All that determines a guest: what Ganeti said, what the site set, what was planned.

    Pure data. `settings` has its suite, architecture and kernel filled in, `site_hooks` are the
    programs of the site that will be run, in their order.
    """

    instance: Instance
    settings: Settings
    layout: Layout
    node: NodeFacts
    site_hooks: tuple[str, ...] = ()

    @cached_property
    def nics(self) -> tuple[NicConfig, ...]:
        """What is planned for each NIC, in Ganeti's order."""
        return plan_nics(self.instance.nics, self.settings.dhcp)

    @property
    def swapfile_bytes(self) -> int:
        """The size of /swapfile; 0 where there is none."""
        return 0 if self.layout.swaps else swapfile_bytes(self.settings)


def _nothing() -> None:
    pass


def _no_lines() -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Later:
    """What a hook still has to do when its `apply` is over.

    Attributes:
        finish: awaits what `apply` has begun and left running, and does what comes after it. Called
            when all hooks of the same stage have been applied; what takes long is a step of its
            own.
        mend: makes whole what the site's hooks have left half done, when all of them have run. They
            win: where they did the same as we, ours is taken away.
        report: gives the lines of the OS log that users look for. Called last, when the site's
            hooks have had their say, so that what it states is what the guest holds.
    """

    finish: Callable[[], None] = _nothing
    mend: Callable[[], None] = _nothing
    report: Callable[[], Sequence[str]] = _no_lines


class Hook:
    """One concern of a guest, from its packages to its files.

    A hook says what differs from this: by itself it is switched by `hook_<name>`, needs no package
    and no tool, and writes the files that it renders.
    """

    name: ClassVar[str]
    tools: ClassVar[tuple[str, ...]] = ()
    """The node's programs that `apply` needs; looked up before a disk is touched."""

    def enabled(self, context: Context) -> bool:
        """Whether this guest gets it."""
        return bool(getattr(context.settings, f"hook_{self.name}"))

    def packages(self, context: Context) -> tuple[str, ...]:
        """What joins the one bootstrap; what it depends on ends up in the cache's key."""
        return ()

    def users(self, context: Context) -> tuple[str, ...]:
        """The users that it makes: no package may have made a user or group of the same name."""
        return ()

    def check(self, context: Context) -> None:
        """Refuses what can be seen to fail before a disk is touched.

        Raises:
            KitError: what it is.
        """

    def render(self, context: Context) -> Mapping[str, File]:
        """Paths in the guest (relative), and the files that belong there. Pure."""
        return {}

    def apply(self, context: Context, target: GuestTree) -> Later:
        """Acts on the mounted guest, whose programs can be run; what is left to do is returned."""
        target.write_all(self.render(context))
        return Later()
