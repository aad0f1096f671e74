"""/etc/fstab: every mount by UUID, and a tmpfs on /tmp."""

from collections.abc import Mapping

from guest.fstab import Entry, render
from installer.hooks.base import Context, File, Hook, Report
from installer.target import Target

TMP = Entry("tmpfs", "/tmp", "tmpfs", "mode=1777,nosuid,nodev")

# Whoever has such a file system will want to mend or grow it one night; ext4's tools are essential.
TOOLS_PACKAGES = {"xfs": ("xfsprogs",), "btrfs": ("btrfs-progs",)}


class HookFstab(Hook):
    """A guest without fstab does not boot, so this one has no switch but that of /tmp."""

    name = "fstab"

    def enabled(self, context: Context) -> bool:
        return True

    def packages(self, context: Context) -> tuple[str, ...]:
        return TOOLS_PACKAGES.get(context.settings.filesystem, ())

    def render(self, context: Context) -> Mapping[str, File]:
        entries = context.layout.fstab(
            swapfile=context.swapfile_size > 0, grow=context.settings.hook_grow
        )
        has_tmp_disk = any(entry.mountpoint == "/tmp" for entry in entries)
        if context.settings.hook_tmp and not has_tmp_disk:
            entries = (*entries, TMP)
        return {"etc/fstab": File(render(entries))}

    def apply(self, context: Context, target: Target) -> Report | None:
        for disk in (*context.layout.data, *context.layout.kept):
            target.make_directory(str(disk.mountpoint).lstrip("/"))
        target.write_all(self.render(context))
        return None
