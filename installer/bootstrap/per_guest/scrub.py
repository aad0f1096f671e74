"""Prepares an empty guest for the engine, and removes host-specific files after it."""

import shutil
from pathlib import Path

from installer.guest_tree import GuestTree

# Without it, the guest's initramfs would have the node's swap (initramfs.conf(5), hooks/resume).
RESUME = "etc/initramfs-tools/conf.d/resume"

# Globs of host-specific or secret files, which the engine or packages have made.
REMOVED = (
    "etc/apt/apt.conf.d/00mmdebstrap",
    "etc/apt/apt.conf.d/01proxy",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/ssh/ssh_host_*",
    "etc/udev/rules.d/*persistent-net*",
    "root/.bash_history",
    "run/*",
    "tmp/*",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/archives/partial/*",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/apt/lists/*_*",
    "var/lib/apt/lists/partial/*",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/*-old",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
    "var/log/alternatives.log",
    "var/log/apt/*",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
    "debootstrap",
)
SNAKEOIL_KEY = "etc/ssl/private/ssl-cert-snakeoil.key"
SNAKEOIL_CERT = "etc/ssl/certs/ssl-cert-snakeoil.pem"
MACHINE_ID = "etc/machine-id"

_LIB_DIRS = {"amd64": ("lib32", "lib64", "libx32"), "i386": ("lib64", "libx32")}


def prepare_empty_tree(root: Path, *, links: tuple[str, ...]) -> None:
    """Prepares an empty guest; `links` are the directories of / to make as links into /usr."""
    target = GuestTree(root)
    target.write(RESUME, "RESUME=none\n")
    for name in links:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        target.symlink(name, f"usr/{name}")


def usr_directories(arch: str) -> tuple[str, ...]:
    """The directories of / that are links into /usr on a merged-/usr system (hier(7))."""
    return ("bin", "lib", "sbin", *_LIB_DIRS.get(arch, ("lib64",) if arch == "ppc64el" else ()))


def remove_host_specifics(root: Path) -> None:
    """Removes files that guests must not share, so that the bootstrap can be cached.

    The key and certificate of the package ssl-cert are removed, too. In the guest,
    `make-ssl-cert generate-default-snakeoil` (make-ssl-cert(8)) makes new ones.
    """
    target = GuestTree(root)
    for pattern in REMOVED:
        for path in sorted(root.glob(pattern)):
            if path.name == "lost+found":  # of a separate disk
                continue
            _remove(target.path(str(path.relative_to(root))))
    machine_id = target.path(MACHINE_ID)
    if machine_id.exists() or (root / "usr/bin/systemd-machine-id-setup").exists():
        target.write(MACHINE_ID, "", 0o444)
    if target.exists(SNAKEOIL_KEY):
        target.remove(SNAKEOIL_KEY)
        target.remove(SNAKEOIL_CERT)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
