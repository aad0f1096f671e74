"""Site hooks as they are written for ganeti-instance-debootstrap: they run, and they win."""

import re
from pathlib import Path

import pytest

from tests.system.installer import support
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import MIB, Node, output


def bash(node: Node, name: str, script: str) -> Path:
    """Adds a site hook that runs as those of ganeti-instance-debootstrap do."""
    path = node.hook(name, "")
    path.write_text(f"#!/bin/bash\nset -e\n{script}\n")
    return path


def test_hooks_find_what_the_sites_files_assign(node: Node, stub: StubSuite) -> None:
    # The suite comes from a directory: nothing is fetched through the proxy, which is none.
    node.settings |= support.TINY | stub.settings()
    node.settings |= {
        "KERNEL_IMAGE_PKG": "linux-image-rt-amd64",
        "PROXY": "http://me:s3cret@proxy.example.org:3128",
        "PATH": "/opt/site/bin:$PATH",
    }
    names = (
        *("PROXY", "KERNEL_IMAGE_PKG", "http_proxy", "MIRROR", "COMPONENTS", "CACHE_DIR"),
        *("VOL_ID", "instance", "blockdev", "SCRIPT_NAME", "PATH", "OSP_FILESYSTEM", "old_name"),
    )
    shown = " ".join(f'"{name}=<${name}>"' for name in names)
    bash(node, "show", f"set -u; . common.sh\nprintf '%s\\n' {shown}\n$VOL_ID $FSYSDEV >/dev/null")
    node.hook("plain", 'echo "plain $KERNEL_IMAGE_PKG"')
    node.disk(support.TINY_DISK)
    outcome = node.create().succeeded()
    lines = [line.strip() for line in outcome.lines]
    for line in (
        "PROXY=<http://***@proxy.example.org:3128>",
        "http_proxy=<http://***@proxy.example.org:3128>",
        "KERNEL_IMAGE_PKG=<linux-image-rt-amd64>",
        f"MIRROR=<file://{stub.archive}>",
        "COMPONENTS=<>",
        f"CACHE_DIR=<{stub.cache}>",
        "VOL_ID=</sbin/blkid -o value -s UUID>",
        "instance=<web1.example.org>",
        "SCRIPT_NAME=<show>",
        "OSP_FILESYSTEM=<ext4>",
        "old_name=<>",
        "plain linux-image-rt-amd64",
    ):
        assert line in lines, line
    assert any(line.startswith("blockdev=</dev/loop") for line in lines)
    assert any(line.startswith("PATH=</opt/site/bin:/usr/local/sbin:") for line in lines)
    assert "s3cret" not in outcome.log


def test_hooks_mount_what_is_mounted_and_make_swap_anew(node: Node, tmp_path: Path) -> None:
    node.settings |= support.TINY | {"HOOK_SWAP": "yes", "HOOK_TMP": "yes"}
    mounts = (("proc", "proc"), ("sysfs", "sys"), ("devtmpfs", "dev"), ("devpts", "dev/pts"))
    lines = [f'mount -t {kind} {kind} "$TARGET/{place}"' for kind, place in mounts]
    lines += [f'umount "$TARGET/{place}"' for _, place in reversed(mounts)]
    # The node's own network cards are seen in its own sysfs alone.
    lines.insert(2, 'test "$(ls "$TARGET/sys/class/net")" = "$(ls /sys/class/net)"')
    # These stay mounted, one over the other.
    lines += ['mount --rbind /dev "$TARGET/dev"', 'mount -o bind /sys "$TARGET/sys"']
    lines += ['mount -o bind "$TARGET" "$TARGET"']
    bash(node, "mounts", "\n".join(lines))
    # On a block device, mkswap(8) wants to be its only user.
    bash(node, "swap", 'mkswap "$DISK_1_PATH"')
    node.hook("tmp", 'echo "tmpfs /tmp tmpfs size=1g 0 0" >>"$TARGET/etc/fstab"')
    node.disk(support.TINY_DISK)
    swap = tmp_path / "swap"
    with swap.open("wb") as file:
        file.truncate(64 * MIB)
    with support.loop(swap, read_only=False) as device:
        node.disks.append((device, "swap"))
        with support.guest(node) as made:
            uuid = output("blkid", "-p", "-o", "value", "-s", "UUID", swap).strip()
            assert made.fstab["swap"][0] == f"UUID={uuid}"
            lines = made.read("etc/fstab").splitlines()
            assert [line for line in lines if "/tmp" in line] == ["tmpfs /tmp tmpfs size=1g 0 0"]
            assert not list((made.root / "sys").iterdir())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("passwd -d root", "the password of root is empty"),
        ("sed -i s/^root:x:/root:!:/ /etc/passwd", "the password of root is locked"),
    ],
)
def test_the_log_states_a_password_that_opens_the_guest(node: Node, script: str, said: str) -> None:
    node.hook("change", f'chroot "$TARGET" {script}')
    node.disk(support.DISK)
    with support.guest(node) as made:
        [line] = [line for line in made.outcome.lines if re.search("root password|of root", line)]
        assert line.startswith(said)
