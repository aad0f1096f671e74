"""Site hooks that install boot loaders: what they leave boots, and what is not GRUB stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.console import BOOT_TIMEOUT, Console
from tests.system.installer import support
from tests.system.installer.support import Node, output

# As sites write it: everything is mounted again, the node's /dev over the guest's.
GRUB = """#!/bin/bash
set -e
. common.sh
mount -t proc proc "$TARGET/proc"; CLEANUP+=("umount $TARGET/proc")
mount -t sysfs sysfs "$TARGET/sys"; CLEANUP+=("umount $TARGET/sys")
mount -o bind /dev "$TARGET/dev"; CLEANUP+=("umount $TARGET/dev")
cat >>"$TARGET/etc/default/grub" <<END
GRUB_TIMEOUT=2
GRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0,115200 net.ifnames=0 site=1"
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
END
mkdir -p "$TARGET/boot/grub"
echo "(hd0) $BLOCKDEV" >"$TARGET/boot/grub/device.map"
chroot "$TARGET" grub-install "$BLOCKDEV"
chroot "$TARGET" update-grub
"""


@contextmanager
def booted(disk: Path) -> Iterator[Console]:
    """Boots a disk in an emulated machine, and throws away what the guest writes."""
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-m", "1024", "-nodefaults"]
    argv += ["-display", "none", "-serial", "stdio", "-snapshot"]
    for mac in ("aa:00:00:77:71:e8", "aa:00:00:e0:e2:1d"):  # those of tests/data/create.env
        argv += ["-nic", f"user,model=virtio-net-pci,mac={mac}"]
    console = Console([*argv, "-drive", f"if=virtio,format=raw,file={disk}"])
    try:
        yield console
    finally:
        console.close()


def hook(node: Node, name: str, script: str) -> None:
    path = node.hook(name, "")
    path.write_text(script)


def test_a_guest_whose_grub_a_hook_has_installed_boots(node: Node) -> None:
    hook(node, "90-grub", GRUB)
    hook(node, "95-upgrade", '#!/bin/sh\nset -e\nchroot "$TARGET" dpkg-reconfigure grub-pc\n')
    disk = node.disk(support.DISK)
    with support.guest(node) as made:
        menu = made.read("boot/grub/grub.cfg")
        debconf = made.read("var/cache/debconf/config.dat")
    assert "dev/loop" not in menu
    assert "site=1" in menu and "timeout=2" in menu
    assert "\nName: grub-pc/install_devices\n" in debconf
    assert "\nValue: /dev/vda\n" in debconf
    with booted(disk) as console:
        console.wait_grub()
        console.wait_login(2 * BOOT_TIMEOUT)  # where other tests run beside this one


def test_a_site_that_has_grub_by_its_own_hook_alone_finds_its_menu(node: Node) -> None:
    node.settings |= {"HOOK_GRUB": "no", "PARTITION_STYLE": "gpt", "EXTRA_PKGS": "grub-pc"}
    script = GRUB.replace('chroot "$TARGET" update-grub\n', "") + (
        """cat >"$TARGET/boot/grub/grub.cfg" <<END
serial --unit=0 --speed=115200
terminal_output serial
echo "the menu of a site"
sleep 100
END
"""
    )
    hook(node, "grub", script)
    disk = node.disk(support.DISK)
    node.create().succeeded()
    with booted(disk) as console:
        console.expect("the menu of a site", timeout=60, what="menu of the hook")


def test_another_boot_loader_stays(node: Node) -> None:
    node.disk(support.DISK)
    loader = node.directory / "mbr.bin"
    loader.write_bytes(b"\xfa\xfc another loader".ljust(440, b"\x90"))
    hook(
        node,
        "loader",
        f'#!/bin/sh\nset -e\ndd if={loader} of="$BLOCKDEV" conv=notrunc bs=440 count=1\n',
    )
    outcome = node.create().succeeded()
    with node.disks[0][0].open("rb") as disk:
        assert disk.read(440) == loader.read_bytes()
    assert "another one than GRUB: it is kept" in outcome.log
    assert output("sfdisk", "--json", node.disks[0][0])
