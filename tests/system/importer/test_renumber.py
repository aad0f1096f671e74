"""Renumbering a guest that is made by hand, in a real appliance."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guest.instance import Instance
from importer.editing import as_diff
from importer.renumber import command, report
from importer.renumber.command import Review
from node.errors import KitError
from tests.system.installer.support import MIB, TOP, output
from tests.system.installer.test_rename import SECONDS, emulators, wait_until
from tests.unit.importer.renumber.guests import FIRST, files, instance

OLD = "192.0.2.10"
# As the verb does it, in namespaces of its own.
RENUMBER = """
import dataclasses, sys
from pathlib import Path
from importer.renumber import command
from node.isolation.namespace import contained
from node.program import run_command
from tests.unit.importer.renumber.guests import FIRST, instance

def act():
    disks = [Path(path) for path in sys.argv[1:]]
    described = dataclasses.replace(instance(FIRST), hv={"kvm_flag": "disabled"})
    found = command.review(disks, described, old_macs={}, chosen={}, static=None, srv=False)
    command.apply(disks, described, found.proposal, "x")
    return 0

sys.exit(contained(lambda: run_command(act, failed=3, debugging="--debug")))
"""


@pytest.fixture
def described() -> Instance:
    return dataclasses.replace(instance(FIRST), hv={"kvm_flag": "disabled"})


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    """The guest `ifupdown`, with files that only harm who reads them, and /srv on another disk."""
    tree = tmp_path / "tree"
    for path, text in files("ifupdown").texts.items():
        (tree / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tree / path[1:]).write_text(text)
    etc = tree / "etc"
    (etc / "os-release").write_text("ID=debian\n")
    (etc / "fstab").write_text(
        "/dev/vdb /srv ext4 defaults 0 2\nUUID=0 /srv/lost ext4 defaults 0 2\n"
    )
    (etc / "apache.conf").write_text(f"Listen 443\nListen {OLD}:80\nListen {OLD}1:80\n")
    (etc / "bind.conf").write_text("listen-on-v6 { 2001:0DB8:aaaa:0000:5054:00ff:fe12:3456; };\n")
    (etc / "name \n with lines").write_text(f"{OLD}\n")
    (etc / "latin").write_bytes(b"\xe9t\xe9 " + OLD.encode() + b"\n")
    (etc / "many").write_text(f"{OLD}\n" * 10_000)
    (etc / "outside").symlink_to("/proc/kmsg")
    (etc / "loop").symlink_to(".")
    os.mkfifo(etc / "fifo")
    with (etc / "huge").open("w") as huge:
        huge.write(f"{OLD}\n")
        huge.truncate(80 * MIB)
    (etc / "network/interfaces").chmod(0o640)
    (tree / "srv").mkdir()
    (tree / "srv/hidden").write_text(f"{OLD} below the mount\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "app.yml").write_text(f"listen: {OLD}\n")
    made = []
    for name, source in (("root", tree), ("srv", data)):
        disk = tmp_path / name
        with disk.open("wb") as file:
            file.truncate(128 * MIB)
        output("mke2fs", "-q", "-F", "-t", "ext4", "-d", source, disk)
        made.append(disk)
    return made


def review(disks: list[Path], described: Instance, *, srv: bool = True) -> Review:
    return command.review(disks, described, old_macs={}, chosen={}, static=None, srv=srv)


def content(disk: Path, path: str) -> str:
    _, _, text = output("debugfs", "-R", f"cat {path}", disk).partition("\n")  # its version
    return text


def test_a_guest_gets_its_new_addresses(disks: list[Path], described: Instance) -> None:
    before = [disk.read_bytes() for disk in disks]
    first = review(disks, described)
    assert [disk.read_bytes() for disk in disks] == before  # a review writes nothing
    mentioned = [(line.path, line.number) for line in first.mentions.lines]
    assert ("/etc/apache.conf", 2) in mentioned
    assert ("/etc/apache.conf", 3) not in mentioned  # another address
    assert ("/etc/latin", 1) in mentioned
    assert ("/srv/app.yml", 1) in mentioned
    assert mentioned.count(("/etc/many", 5)) == 1
    assert ("/etc/many", 6) not in mentioned  # a few lines of each file
    assert ("/etc/hosts", 2) in mentioned  # its comment has the old address
    assert not {"/etc/huge", "/etc/fifo", "/etc/outside", "/srv/hidden"} & {p for p, _ in mentioned}
    assert first.mentions.notes == ("/srv/lost: UUID=0 could not be mounted",)
    assert all(line.isprintable() for line in report.mentions(first.mentions))

    command.apply(disks, described, first.proposal, "20260101T000000Z")
    shown = content(disks[0], "/etc/network/interfaces")
    assert "address 198.51.100.2\n" in shown
    assert content(disks[0], "/etc/systemd/network/10-ens3.link").endswith("Name=ens3\n")
    stat = output("debugfs", "-R", "stat /etc/network/interfaces", disks[0])
    assert "Mode:  0640" in stat
    kept = "/etc/ganeti-instance-kit/before-20260101T000000Z"
    assert content(disks[0], f"{kept}/etc/hosts") == files("ifupdown").texts["/etc/hosts"]
    assert "Mode:  0700" in output("debugfs", "-R", f"stat {kept}", disks[0])
    listed = output("debugfs", "-R", "ls -p /etc/network", disks[0])
    assert "kit-new" not in listed

    again = review(disks, described)
    assert as_diff(again.proposal.edits) == ""
    assert again.mentions.lines == ()  # no address is lost any more


def test_a_guest_that_changed_after_the_review_is_not_written(
    disks: list[Path], described: Instance, tmp_path: Path
) -> None:
    reviewed = review(disks, described, srv=False)
    assert "/srv/app.yml" not in [line.path for line in reviewed.mentions.lines]
    other = tmp_path / "other"
    other.write_text("192.0.2.10 changed\n")
    output("debugfs", "-w", "-R", "rm /etc/hosts", disks[0])
    output("debugfs", "-w", "-R", f"write {other} /etc/hosts", disks[0])
    with pytest.raises(KitError, match="/etc/hosts in the guest: it has changed"):
        command.apply(disks, described, reviewed.proposal, "x")
    assert OLD in content(disks[0], "/etc/network/interfaces")


def test_one_that_is_killed_leaves_nothing_and_works_again(disks: list[Path]) -> None:
    argv = [sys.executable, "-c", RENUMBER, *map(str, disks)]
    before = set(Path("/tmp").iterdir())
    killed = subprocess.Popen(argv, cwd=TOP)
    wait_until(lambda: emulators(disks[0]), "no appliance was started")
    killed.kill()
    killed.wait()
    wait_until(lambda: not emulators(disks[0]), "the appliance is still there")
    assert set(Path("/tmp").iterdir()) == before
    subprocess.run(argv, cwd=TOP, check=True, timeout=SECONDS)
    assert "address 198.51.100.2\n" in content(disks[0], "/etc/network/interfaces")
