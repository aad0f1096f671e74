"""/etc/fstab with all mounts by UUID and a tmpfs on /tmp; growing the root partition at boot."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import ascii_lowercase

from guest.fstab import Entry, render, without_doubles
from guest.hypervisor import root_disk
from installer.disks.layout import PlannedDisk
from installer.guest_tree import GuestTree
from installer.hooks.base import Context, File, Hook, Later
from installer.hooks.templates import render_template
from node.log import log
from node.run import run

FSTAB = "etc/fstab"
GROW_SCRIPT = "usr/local/sbin/grow-root-partition"
GROW_UNIT = "etc/systemd/system/grow-root-partition.service"
GROW_WANTS = "etc/systemd/system/local-fs.target.wants/grow-root-partition.service"
TMP = Entry("tmpfs", "/tmp", "tmpfs", "mode=1777,nosuid,nodev")

# The tools to repair and grow a file system; those of ext4 are essential packages.
TOOLS_PACKAGES = {"xfs": ("xfsprogs",), "btrfs": ("btrfs-progs",)}


class HookFstab(Hook):
    """Writes /etc/fstab.

    It has no switch, since a guest without fstab does not boot. HOOK_TMP switches only /tmp.
    """

    name = "fstab"
    tools = ("blkid",)

    def enabled(self, context: Context) -> bool:
        return True

    def packages(self, context: Context) -> tuple[str, ...]:
        return TOOLS_PACKAGES.get(context.settings.filesystem, ())

    def render(self, context: Context) -> Mapping[str, File]:
        return {FSTAB: File(render(_entries(context)))}

    def apply(self, context: Context, target: GuestTree) -> Later:
        for disk in (*context.layout.data, *context.layout.kept):
            target.make_directory(str(disk.mountpoint).lstrip("/"))
        target.write_all(self.render(context))
        return Later(mend=lambda: self._mend(context, target))

    def _mend(self, context: Context, target: GuestTree) -> None:
        if not target.path(FSTAB).is_file() or target.path(FSTAB).is_symlink():
            return  # a site hook's
        text, entries = target.read(FSTAB), list(_entries(context))
        mended = text
        for disk in context.layout.swaps:
            old, now = f"UUID={disk.uuid}", _swap_now(disk)
            if now is None:
                log.warning("disk %d no longer holds swap: it is not used", disk.disk.index)
                lines = mended.splitlines(keepends=True)
                mended = "".join(line for line in lines if line.split()[:1] != [old])
            elif now != old:
                log.info("disk %d: a site hook has made its swap again", disk.disk.index)
                mended = mended.replace(old, now)
                entries = [replace(e, spec=now) if e.spec == old else e for e in entries]
        mended, doubles = without_doubles(mended, entries, _names(context, entries))
        for entry in doubles:
            what = entry.spec if entry.fstype == "swap" else entry.mountpoint
            log.info(
                "fstab: a site hook has written its own line for %s: the built-in one is removed",
                what,
            )
        if mended != text:
            target.write(FSTAB, mended)


class HookGrow(Hook):
    """Grows the root partition at boot, before systemd grows its file system (GROW_OPTION).

    `gnt-instance grow-disk` grows the disk only.
    """

    name = "grow"

    def enabled(self, context: Context) -> bool:
        return context.settings.hook_grow and bool(context.layout.root.partitions)

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("cloud-guest-utils",)

    def render(self, context: Context) -> Mapping[str, File]:
        return {
            GROW_SCRIPT: File(render_template("grow-root-partition"), 0o755),
            GROW_UNIT: File(render_template("grow-root-partition.service")),
        }

    def apply(self, context: Context, target: GuestTree) -> Later:
        target.write_all(self.render(context))
        target.symlink(GROW_WANTS, f"/{GROW_UNIT}")
        return Later()


def _entries(context: Context) -> tuple[Entry, ...]:
    entries = context.layout.fstab(
        swapfile=context.swapfile_bytes > 0, grow=context.settings.hook_grow
    )
    has_tmp_disk = any(entry.mountpoint == "/tmp" for entry in entries)
    return (*entries, TMP) if context.settings.hook_tmp and not has_tmp_disk else entries


def _swap_now(disk: PlannedDisk) -> str | None:
    """The swap area of a disk after the site's hooks, in fstab's notation; None for no swap."""
    probed = run(["blkid", "-p", "-o", "export", str(disk.disk.path)], check=False).stdout
    fields = dict(line.split("=", 1) for line in probed.splitlines() if "=" in line)
    return f"UUID={fields['UUID']}" if fields.get("TYPE") == "swap" and "UUID" in fields else None


def _names(context: Context, entries: Sequence[Entry]) -> dict[str, str]:
    """The guest's device names of our entries' disks, such as /dev/vdb, to the specs in fstab."""
    first = root_disk(context.instance)
    if not first.endswith("a"):  # mmcblk0 and the like: other disks are not named by letters
        return {}
    used = (*context.layout.swaps, *context.layout.data, *context.layout.kept)
    specs = {entry.mountpoint: entry.spec for entry in entries if entry.fstype != "swap"}
    swaps = iter([entry.spec for entry in entries if entry.fstype == "swap"])
    return {
        f"{first[:-1]}{ascii_lowercase[disk.disk.index]}": specs.get(str(disk.mountpoint))
        or next(swaps)
        for disk in used
        if disk.disk.index < len(ascii_lowercase)
    }
