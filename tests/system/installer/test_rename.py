"""`rename` as Ganeti runs it, on a guest that is made by hand: an appliance starts for real."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.installer import support
from tests.system.installer.support import MIB, OS_DIR, Node, output

SECONDS = 240
MAC = "aa:00:00:00:00:02"


@pytest.fixture
def guest(node: Node, tmp_path: Path) -> Node:
    """A guest named old.example.org, whose fstab is far too large."""
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/hostname").write_text("old.example.org\n")
    (tree / "etc/os-release").write_text("ID=debian\n")
    (tree / "etc/systemd/network").mkdir(parents=True)
    link = "# Written when this guest was created.\n[Match]\nMACAddress=aa:00:00:00:00:01\n"
    (tree / "etc/systemd/network/10-eth0.link").write_text(link)
    with (tree / "etc/fstab").open("w") as fstab:
        fstab.writelines(f"/dev/nowhere{n} /mnt/{n} ext4 defaults 0 0\n" for n in range(2_000_000))
    disk = node.disk(256 * MIB)
    output("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, disk)
    node.environ |= {
        "OLD_INSTANCE_NAME": "old.example.org",
        "INSTANCE_NAME": "new.example.org",
        "INSTANCE_HV_kvm_flag": "disabled",
        "NIC_COUNT": "1",
        "NIC_0_MAC": MAC,
    }
    return node


def rename(node: Node) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["./rename"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=OS_DIR,
        env=node.environment(),
        process_group=0,
    )


def emulators(disk: Path) -> list[str]:
    """The processes that name a disk."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_text(errors="replace")
        except OSError:
            continue
        if str(disk) in words and "qemu" in words:
            found.append(words)
    return found


def wait_until(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_rename_that_is_killed_leaves_nothing_and_works_again(guest: Node) -> None:
    disk = guest.disks[0][0]
    before = set(Path("/tmp").iterdir())
    killed = rename(guest)
    wait_until(lambda: emulators(disk), "no appliance was started")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=SECONDS)
    wait_until(lambda: not emulators(disk), "the appliance is still there")
    assert set(Path("/tmp").iterdir()) == before
    again = rename(guest)
    said, _ = again.communicate(timeout=SECONDS)
    assert again.returncode == 0, said
    assert "/etc/hostname: the new name is new.example.org" in said
    assert output("debugfs", "-R", "cat /etc/hostname", disk).endswith("new.example.org\n")
    link = output("debugfs", "-R", "cat /etc/systemd/network/10-eth0.link", disk)
    assert link.endswith(f"MACAddress={MAC}\n")  # Ganeti gave the NIC another one
    support.nothing_is_held(guest)
