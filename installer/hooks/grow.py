"""The root partition follows its disk: `gnt-instance grow-disk` grows the disk only."""

from collections.abc import Mapping

from installer.guest_tree import GuestTree
from installer.hooks.base import Context, File, Hook, Report
from installer.hooks.templates import render_template

SCRIPT = "usr/local/sbin/grow-root-partition"
UNIT = "etc/systemd/system/grow-root-partition.service"
WANTS = "etc/systemd/system/local-fs.target.wants/grow-root-partition.service"


class HookGrow(Hook):
    """Grows the partition at boot, before systemd grows the file system (see disks.GROW_OPTION)."""

    name = "grow"

    def enabled(self, context: Context) -> bool:
        return context.settings.hook_grow and bool(context.layout.root.partitions)

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("cloud-guest-utils",)

    def render(self, context: Context) -> Mapping[str, File]:
        return {
            SCRIPT: File(render_template("grow-root-partition"), 0o755),
            UNIT: File(render_template("grow-root-partition.service")),
        }

    def apply(self, context: Context, target: GuestTree) -> Report | None:
        target.write_all(self.render(context))
        target.symlink(WANTS, f"/{UNIT}")
        return None
