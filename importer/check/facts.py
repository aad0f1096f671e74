"""What is known of a guest before its first boot. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from converter.contents.describe import DiskReport
from guest.instance import Instance

FSTAB = "/etc/fstab"
CRYPTTAB = "/etc/crypttab"
RESUME = "/etc/initramfs-tools/conf.d/resume"
DEBCONF = "/var/cache/debconf/config.dat"
GRUB_DEFAULT = "/etc/default/grub"
MENU = "/boot/grub/grub.cfg"
MENUS = (MENU, "/boot/grub2/grub.cfg")
ENTRIES = "/boot/loader/entries/"  # of the Boot Loader Specification; GRUB's blscfg reads them
INITTAB = "/etc/inittab"
CODE = 440  # bytes of code in the first sector; the disk's identifier and its partitions follow


@dataclass(frozen=True)
class Kernel:
    """The kernel that boots.

    Attributes:
        version: as in the name of its file.
        builtin: names of drivers that are part of it, as far as known.
        initramfs: names of virtio's drivers in its initramfs; None if it could not be read.
        why: then, the reason.
    """

    version: str
    builtin: frozenset[str]
    initramfs: frozenset[str] | None
    why: str = ""


@dataclass(frozen=True)
class Facts:
    """A guest.

    Attributes:
        instance: as Ganeti describes it.
        disks: what is on its disks, in order.
        starts: the first 64 KiB of each disk.
        tags: the (tag, value) pairs that exist: UUID, LABEL, PARTUUID, PARTLABEL.
        swaps: the UUIDs of swap areas.
        is_encrypted: whether something is in an encrypted volume, and so not known.
        texts: of configuration files, by their paths.
        kernel: None if none was found.
        loaders: files of EFI boot loaders, in the ESP; None if there is no ESP, or none that can
            be mounted.
        unmounted: file systems of fstab that could not be mounted.
    """

    instance: Instance
    disks: tuple[DiskReport, ...]
    starts: tuple[bytes, ...]
    tags: frozenset[tuple[str, str]]
    swaps: frozenset[str]
    is_encrypted: bool
    texts: Mapping[str, str]
    kernel: Kernel | None
    loaders: tuple[str, ...] | None
    unmounted: tuple[str, ...] = ()

    @property
    def menu(self) -> str:
        """The path of GRUB's menu: that of Debian, if there is none."""
        return next((path for path in MENUS if path in self.texts), MENU)

    @property
    def entries(self) -> Mapping[str, str]:
        """The texts of files with one entry each, by their paths, if they are the menu."""
        menu = self.texts.get(self.menu)
        if menu is not None and "blscfg" not in menu:
            return {}
        return {path: text for path, text in self.texts.items() if path.startswith(ENTRIES)}

    @property
    def is_uefi(self) -> bool:
        """Whether QEMU gets another firmware than its BIOS: Ganeti can only say so there."""
        extra = self.instance.hv.get("kvm_extra", "")
        return any(word in extra for word in ("pflash", "-bios", "OVMF"))
