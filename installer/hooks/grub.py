"""GRUB in the MBR, for gpt also on the EFI system partition, and on the serial console."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guest.hypervisor import Console, console, own_kernel, root_disk
from installer.guest_tree import GuestTree
from installer.hooks.base import Context, File, Hook, Later
from installer.hooks.templates import render_template
from installer.releases import distribution
from installer.settings import Settings
from node.errors import KitError
from node.log import step
from node.run import Running, run

MENU = "boot/grub/grub.cfg"
DEFAULTS = "etc/default/grub.d/ganeti-instance-kit.cfg"
DEBCONF = "var/cache/debconf/config.dat"
INSTALL = "usr/sbin/grub-install"
# On the node, the root partition has its own loop device, so grub-install does not see that it is a
# partition. The modules for the partition table and the root file system must be named.
PARTITION_MODULES = {"msdos": ("part_msdos",), "gpt": ("part_gpt",), "none": ()}
# xfs begins in the first sector; btrfs leaves 64 KiB free, but a core image with btrfs is larger.
NO_ROOM = ("xfs", "btrfs")
FILESYSTEM_MODULES = {"xfs": "xfs", "btrfs": "btrfs"}


@dataclass(frozen=True)
class _Efi:
    """The image in Debian's grub-efi-*-bin, which reads a grub.cfg on its ESP."""

    package: str
    image: str
    name: str


_EFI = {
    "amd64": _Efi(
        "grub-efi-amd64-bin", "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi", "BOOTX64.EFI"
    ),
    "i386": _Efi(
        "grub-efi-ia32-bin", "usr/lib/grub/i386-efi/monolithic/grubia32.efi", "BOOTIA32.EFI"
    ),
}


# The architectures of guests that boot with GRUB.
LOADERS = frozenset(_EFI)


def modules(context: Context) -> tuple[str, ...]:
    """The modules that GRUB's core image needs to find the rest of GRUB."""
    settings = context.settings
    filesystem = FILESYSTEM_MODULES.get(settings.filesystem, "ext2")
    return (*PARTITION_MODULES[settings.partition_style], filesystem)


def _arguments(port: Console | None, added: str) -> str:
    """The kernel's arguments: the consoles (init uses the last one), and the site's arguments."""
    consoles = ["console=tty0", f"console={port.kernel_argument}"] if port else []
    return " ".join([*consoles, *([added] if added else [])])


def efi_vendor(settings: Settings) -> str:
    """The directory of the ESP where the image expects its grub.cfg (grub-mkimage(1), -p)."""
    return "ubuntu" if distribution(settings.suite, settings.mirror) == "ubuntu" else "debian"


def install_argv(context: Context) -> list[str]:
    """The command that writes GRUB's images; the caller appends the disk's device."""
    argv = [
        *("grub-install", "--target=i386-pc", "--no-floppy"),
        f"--modules={' '.join(modules(context))}",
    ]
    # Without a partition table there is no gap to embed into.
    return argv if context.layout.root.partitions else [*argv, "--force"]


def selections(devices: str) -> str:
    """The devices for upgrades of grub-pc, as input of debconf-set-selections(1); "" for none.

    Without devices, install_devices_empty must be true, or a noninteractive upgrade fails.
    """
    empty = "false" if devices else "true"
    return (
        f"grub-pc grub-pc/install_devices multiselect {devices}\n"
        f"grub-pc grub-pc/install_devices_empty boolean {empty}\n"
    )


def chosen_devices(database: str) -> str:
    """The devices of grub-pc in debconf's database (debconf-devel(7)); "" if none are set."""
    for entry in database.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line)
        if fields.get("Name") == "grub-pc/install_devices":
            return fields.get("Value", "")
    return ""


class HookGrub(Hook):
    """Installs the boot loader with the guest's own GRUB, so that later upgrades match it.

    If the hypervisor boots a kernel of the node (`kernel_path`), nothing is installed.
    """

    name = "grub"

    def enabled(self, context: Context) -> bool:
        return context.settings.hook_grub and own_kernel(context.instance)

    def packages(self, context: Context) -> tuple[str, ...]:
        if context.settings.arch not in _EFI:
            raise KitError(
                f"boot loader for {context.settings.arch}: only amd64 and i386 are supported",
                hint="set the hypervisor's kernel_path, or HOOK_GRUB=no",
            )
        filesystem = context.settings.filesystem
        if filesystem in NO_ROOM and not context.layout.root.partitions:
            raise KitError(
                f"boot loader on a bare disk with {filesystem}: the file system has no space for"
                " it",
                hint="set PARTITION_STYLE to msdos or gpt, or the hypervisor's kernel_path",
            )
        packages: tuple[str, ...] = ("grub-pc",)
        if context.layout.esp_id is not None:
            packages += (_EFI[context.settings.arch].package,)
        return packages

    def render(self, context: Context) -> Mapping[str, File]:
        settings = context.settings
        port = console(context.instance) if settings.hook_console else None
        text = render_template(
            "grub.cfg",
            timeout=settings.grub_timeout,
            console=port,
            arguments=_arguments(port, settings.kernel_args),
        )
        return {DEFAULTS: File(text)}

    def apply(self, context: Context, target: GuestTree) -> Later:
        target.write_all(self.render(context))
        devices = target.devices
        assert devices is not None
        # While the site's hooks run, upgrades of grub-pc write to no disk: the guest's name of its
        # disk does not exist on the node, or is a disk of the node. See `_mend`.
        chosen = selections("" if context.site_hooks else root_disk(context.instance))
        begun = [target.start(["debconf-set-selections"], input=chosen)]
        install = [*install_argv(context), str(devices.disk)]
        # Without a partition table, GRUB stores the block numbers of its image in the file system.
        # So these blocks must be on the disk.
        embedded = bool(context.layout.root.partitions)
        begun.append(target.start(install, syncs=not embedded))
        return Later(
            finish=lambda: self._finish(context, target, begun),
            mend=lambda: self._mend(context, target),
        )

    def _finish(self, context: Context, target: GuestTree, begun: Sequence[Running]) -> None:
        devices = target.devices
        assert devices is not None
        with step("hook grub: boot loader and menu"):
            for program in begun:
                program()
            target.run(["update-grub"])
        uuid = str(context.layout.root.uuid)
        # update-grub also exits with 0 if it found no kernel, or no UUID of the root.
        if f"root=UUID={uuid}" not in target.read(MENU):
            raise KitError(
                f"boot menu of {context.instance.name}: update-grub made no entry for its root",
                hint="check that a kernel is installed: see KERNEL, EXTRA_PKGS and HOOK_GRUB",
            )
        if devices.esp is not None:
            self._fill_esp(context, target, devices.esp, uuid)

    def _fill_esp(self, context: Context, target: GuestTree, esp: Path, uuid: str) -> None:
        # With mtools, as the node's kernel may not support vfat.
        efi = _EFI[context.settings.arch]
        vendor = efi_vendor(context.settings)
        menu = "boot/grub/esp-grub.cfg"
        target.write(menu, render_template("esp-grub.cfg", uuid=uuid))
        steps: tuple[Sequence[str | Path], ...] = (
            ["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT", f"::/EFI/{vendor}"],
            ["mcopy", "-i", esp, target.path(efi.image), f"::/EFI/BOOT/{efi.name}"],
            ["mcopy", "-i", esp, target.path(menu), f"::/EFI/{vendor}/grub.cfg"],
        )
        for argv in steps:
            run(argv, what="EFI system partition of disk 0")
        target.path("boot/efi").mkdir(exist_ok=True)

    def _mend(self, context: Context, target: GuestTree) -> None:
        # Devices that a site hook has chosen are kept, except loop devices of the node.
        chosen = chosen_devices(target.read(DEBCONF)) if target.exists(DEBCONF) else ""
        if target.exists(INSTALL) and (not chosen or "/dev/loop" in chosen):
            final = selections(root_disk(context.instance))
            target.run(["debconf-set-selections"], input=final)
