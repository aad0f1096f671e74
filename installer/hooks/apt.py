"""The proxy and the additional sources of apt(8) in the guest."""

from collections.abc import Mapping

from installer.extra_sources import DIRECTORY
from installer.guest_tree import GuestTree
from installer.hooks.base import Context, File, Hook, Later

PROXY = "etc/apt/apt.conf.d/90ganeti-instance-kit-proxy"


class HookApt(Hook):
    """Configures GUEST_PROXY and EXTRA_SOURCES, which are both unset by default."""

    name = "apt"

    def enabled(self, context: Context) -> bool:
        settings = context.settings
        return settings.hook_apt and bool(settings.guest_proxy or context.node.extra_sources)

    def render(self, context: Context) -> Mapping[str, File]:
        files = {
            f"{DIRECTORY}/{source.name}": File(source.text) for source in context.node.extra_sources
        }
        if proxy := context.settings.guest_proxy:
            lines = [f'Acquire::{scheme}::Proxy "{proxy}";\n' for scheme in ("http", "https")]
            files[PROXY] = File("".join(lines))
        return files

    def apply(self, context: Context, target: GuestTree) -> Later:
        for source in context.node.extra_sources:
            for path, content in source.keyrings:
                # A package of the guest may own the file.
                if not target.exists(path.lstrip("/")):
                    target.write(path.lstrip("/"), content)
        target.write_all(self.render(context))
        return Later()
