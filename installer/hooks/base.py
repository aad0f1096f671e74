"""The interface of hooks, and the context that they get."""

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
    """All data that determines a guest: the instance, settings, plans and the node.

    `settings` has suite, architecture and kernel filled in. `site_hooks` are the paths of the
    site's hooks, in the order in which they are run.
    """

    instance: Instance
    settings: Settings
    layout: Layout
    node: NodeFacts
    site_hooks: tuple[str, ...] = ()

    @cached_property
    def nics(self) -> tuple[NicConfig, ...]:
        """The planned configuration of each NIC, in Ganeti's order."""
        return plan_nics(self.instance.nics, self.settings.dhcp)

    @property
    def swapfile_bytes(self) -> int:
        """The size of /swapfile in bytes; 0 if there is none."""
        return 0 if self.layout.swaps else swapfile_bytes(self.settings)


def _nothing() -> None:
    pass


def _no_lines() -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Later:
    """The remaining work of a hook after `apply`.

    Attributes:
        finish: waits for the programs that `apply` has started, and does the work that needs their
            results. Called when all hooks of the same stage have been applied. Slow work is a step
            in the log.
        mend: repairs what the site's hooks have left incomplete, after all of them have run. The
            site's hooks take precedence: if one configures the same as a built-in hook, the
            built-in configuration is removed.
        report: returns the lines of the OS log that users search for. Called last, so that the
            lines state what is in the guest after the site's hooks.
    """

    finish: Callable[[], None] = _nothing
    mend: Callable[[], None] = _nothing
    report: Callable[[], Sequence[str]] = _no_lines


class Hook:
    """Configures one aspect of a guest: its packages and its files.

    By default a hook is switched by `hook_<name>`, needs no packages and no tools, and writes the
    files that it renders. Subclasses override what differs.
    """

    name: ClassVar[str]
    tools: ClassVar[tuple[str, ...]] = ()
    """The programs of the node that `apply` needs; checked before a disk is written."""

    def enabled(self, context: Context) -> bool:
        """Whether the hook is applied to this guest."""
        return bool(getattr(context.settings, f"hook_{self.name}"))

    def packages(self, context: Context) -> tuple[str, ...]:
        """The packages that the bootstrap installs for this hook; the cache's key has them, too."""
        return ()

    def users(self, context: Context) -> tuple[str, ...]:
        """The users that the hook makes; packages must not make users or groups of these names."""
        return ()

    def check(self, context: Context) -> None:
        """Checks before a disk is written whether the hook can be applied.

        Raises:
            KitError: it cannot be applied.
        """

    def render(self, context: Context) -> Mapping[str, File]:
        """The files of the hook, by their relative paths in the guest. Pure."""
        return {}

    def apply(self, context: Context, target: GuestTree) -> Later:
        """Changes the mounted guest, whose programs can be run; returns the remaining work."""
        target.write_all(self.render(context))
        return Later()
