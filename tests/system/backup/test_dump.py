"""Exports of ganeti-instance-debootstrap come back: their files, on file systems made anew."""

import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from backup import import_
from backup.dumps import staging
from tests.system.backup import dumps, payload, support
from tests.system.backup.dumps import KERNEL_PATH, MIB, OLD_UUID, Import, imported, restored
from tests.system.installer.support import _ENTER, Node, loop, nothing_is_held, root_partition
from tests.unit.backup.dumps.made_dumps import MadeDump, entry

PEER = "ganeti-instance-debootstrap"
SIZE = 160 * MIB
FSTAB = f"""# <file system> <mount point>   <type>  <options>       <dump>  <pass>
UUID={OLD_UUID}   /               ext3    noatime        0       1
proc              /proc           proc    defaults        0       0
UUID=0b001f8f-6fc9-4baf-b62c-f094892ac479   swap            swap    defaults        0       0
"""
RULES = "etc/udev/rules.d/70-persistent-net.rules"
IMMUTABLE = 0x10
# What a dump has lost: a name of 255 bytes, and that a file is allocated but never written.
LOST_NAME = "n" * 255


def fill(top: Path) -> None:
    (top / "srv").mkdir()
    payload.fill(top / "srv")
    (top / "srv/readonly").mkdir(mode=0o555)
    (top / "etc/udev/rules.d").mkdir(parents=True)
    (top / "etc/fstab").write_text(FSTAB)
    (top / RULES).write_text("old MAC addresses")
    (top / "etc/hard").hardlink_to(top / "srv/text")
    (top / "boot/grub").mkdir(parents=True)
    (top / "boot/grub/grub.cfg").write_text(f"linux /vmlinuz root=UUID={OLD_UUID} ro\n")
    (top / "locked").write_text("cannot be renamed or linked")
    (top / "locked-too").mkdir()
    (top / "locked-too/file").write_text("x")
    os.setxattr(top / "locked-too", "user.own", b"1")
    for name in ("locked", "locked-too"):
        fd = os.open(top / name, os.O_RDONLY)
        staging.add_flags(fd, IMMUTABLE)
        os.close(fd)
    support.output("setfacl", "-m", "u:1000:r,d:g:5:rw", top / "srv")
    os.utime(top / "srv", ns=(0, 10**18))
    top.chmod(0o751)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file system of an old guest."""
    return dumps.file_system(tmp_path_factory.mktemp("old") / "image", SIZE, fill)


@pytest.fixture(scope="module")
def facts(old: Path) -> dict[str, dict[str, Any]]:
    with loop(old) as device, support.mounted(device, old.with_name("facts"), "ro") as place:
        return payload.manifest(place)


@pytest.fixture(scope="module")
def dump(old: Path) -> bytes:
    return dumps.dump_of(old)


@pytest.fixture
def target(node: Node) -> Node:
    """A node with an empty instance that boots by a kernel of the node."""
    support.noise(node.disk(SIZE + 40 * MIB), SIZE + 40 * MIB)
    node.environ |= KERNEL_PATH
    return node


CHANGED = ("etc/fstab", "boot/grub/grub.cfg")


def require_same(before: dict[str, dict[str, Any]], top: Path) -> None:
    """All facts that a dump keeps: not fractions of times, holes and inode numbers."""
    now = payload.manifest(top)
    name = f"lost+found/#{before[f'srv/{LOST_NAME}']['inode']}"
    renamed = {name if path == f"srv/{LOST_NAME}" else path: each for path, each in before.items()}
    assert set(renamed) - set(now) == {RULES}
    assert set(now) <= set(renamed)
    for path, expected in renamed.items():
        for fact, value in expected.items():
            if path == RULES or fact in ("inode", "blocks"):
                continue
            got = now[path][fact]
            if fact == "mtime":
                # A dump has seconds of 32 bits.
                value, got = value // 10**9 % 2**32, got // 10**9 % 2**32
                if path in (*CHANGED, "etc/udev/rules.d", "lost+found"):
                    continue
            if path in CHANGED and fact in ("size", "digest"):
                continue
            if (path, fact) in ((".", "links"), ("srv/preallocated", "digest")):
                continue  # a dump has the zeros of preallocated blocks
            assert got == value, (path, fact, got, value)


def require_nothing(node: Node) -> None:
    nothing_is_held(node)
    assert support.found_on(node.disks[0][0]) == ""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the peer's OS definition, from its package, which is not installed."""
    place = tmp_path_factory.mktemp("peer")
    subprocess.run(["apt-get", "-qq", "download", PEER], cwd=place, check=True)
    (package,) = place.glob("*.deb")
    support.output("dpkg", "--extract", package, place / "root")
    return place / "root/usr/share/ganeti/os/debootstrap"


def test_the_stream_of_the_peers_own_export(
    peer: Path, old: Path, facts: dict[str, dict[str, Any]], target: Node
) -> None:
    """Its settings are ours: on a disk without partitions, it makes the guest anew on such."""
    target.settings["PARTITION_STYLE"] = "none"
    exported = subprocess.run(
        target.argv(_ENTER.replace("./create", "./export")),
        cwd=peer,
        env=target.environment() | {"EXPORT_DEVICE": str(old), "EXPORT_INDEX": "0"},
        capture_output=True,
        check=False,
    )
    assert exported.returncode == 0, exported.stderr
    outcome = imported(target, exported.stdout).done()
    assert "has no name in the dump" in outcome.stderr
    assert root_partition(target.disks[0][0]) == (0, 0)
    with restored(target) as top:
        require_same(facts, top)
        lines = (top / "etc/fstab").read_text().splitlines()
    uuid = support.output("blkid", "-p", "-o", "value", "-s", "UUID", target.disks[0][0]).strip()
    assert lines[1].split() == [f"UUID={uuid}", "/", "ext4", "noatime", "0", "1"]
    assert lines[3].startswith("# not in the backup: UUID=0b001f8f")
    nothing_is_held(target)


@pytest.mark.quick
@pytest.mark.parametrize("style", ["msdos", "gpt"])
def test_a_disk_with_partitions(
    style: str, dump: bytes, facts: dict[str, dict[str, Any]], target: Node
) -> None:
    target.settings["PARTITION_STYLE"] = style
    if style == "gpt":
        target.disks[0][0].unlink()
        target.disks.clear()
        target.disk(SIZE + 200 * MIB)
    imported(target, dump).done()
    with restored(target) as top:
        require_same(facts, top)
        assert OLD_UUID not in (top / "boot/grub/grub.cfg").read_text()
    nothing_is_held(target)


def test_a_data_disk(dump: bytes, facts: dict[str, dict[str, Any]], target: Node) -> None:
    """It gets one partition, as from the peer, and all files stay as they are."""
    target.settings["PARTITION_STYLE"] = "gpt"
    target.disk(SIZE + 40 * MIB)
    before = support.output("sha256sum", target.disks[0][0])
    imported(target, dump, index=1).done()
    assert support.output("sha256sum", target.disks[0][0]) == before
    with restored(target, index=1) as top:
        assert (top / "etc/fstab").read_text() == FSTAB
        assert (top / RULES).exists()
        assert len(payload.manifest(top)) == len(facts)


def test_a_truncated_dump_leaves_nothing(dump: bytes, target: Node) -> None:
    for length in (30_000, len(dump) // 2, len(dump) - 10 * 1024):
        outcome = imported(target, dump[:length]).failed("it ends before its end")
        assert "export again" in outcome.hint
        require_nothing(target)


def test_an_altered_dump_leaves_nothing(dump: bytes, target: Node) -> None:
    """Its content has no checksums; but a header of it has one."""
    place = dump.rindex(b"\x6c\xea\0\0", 0, len(dump) // 2) + 100
    altered = dump[:place] + bytes([dump[place] ^ 1]) + dump[place + 1 :]
    imported(target, altered).failed("a header in it is damaged")
    require_nothing(target)
    without = dump[: 10 << 20] + dump[11 << 20 :]
    imported(target, without).failed("the stream on stdin")
    require_nothing(target)


def test_a_disk_that_is_too_small(dump: bytes, node: Node) -> None:
    node.environ |= KERNEL_PATH
    node.disk(20 * MIB)
    outcome = imported(node, dump).failed("the disk is too small", "do not fit")
    assert "--disk 0:size=" in outcome.hint
    require_nothing(node)


def test_what_is_missing_is_said_before_the_disk_is_written(dump: bytes, target: Node) -> None:
    before = support.output("sha256sum", target.disks[0][0])
    target.hidden.append("/usr/sbin/sfdisk")
    outcome = imported(target, dump).failed("programs that this import needs", "sfdisk")
    assert outcome.hint == "hint: apt-get install fdisk"
    target.hidden.clear()
    target.environ["OS_VARIANT"] = "unknown"
    imported(target, dump).failed("OS variant unknown")
    assert support.output("sha256sum", target.disks[0][0]) == before


def of_a_name_that_leads_elsewhere(made: MadeDump) -> None:
    made.inode(2, 0o40755, entry(b".", 2) + entry(b"../../../../tmp/escaped", 12))
    made.inode(12, 0o100644, b"x")


def of_an_inode_that_comes_twice(made: MadeDump) -> None:
    made.inode(2, 0o40755, entry(b".", 2)).inode(12, 0o100644, b"x").inode(12, 0o100644, b"y")


def of_an_impossible_size(made: MadeDump) -> None:
    made.inode(2, 0o40755, entry(b".", 2)).inode(12, 0o100644, b"x", size=(1 << 64) - 1)


def of_no_root(made: MadeDump) -> None:
    made.inode(12, 0o100644, b"x")


def of_a_fifo_with_content(made: MadeDump) -> None:
    made.inode(2, 0o40755, entry(b".", 2)).inode(12, 0o10644, b"x")


@pytest.mark.parametrize(
    "make",
    [
        *(of_a_name_that_leads_elsewhere, of_an_inode_that_comes_twice, of_an_impossible_size),
        *(of_no_root, of_a_fifo_with_content),
    ],
)
def test_a_dump_made_by_an_enemy(make: Callable[[MadeDump], None], target: Node) -> None:
    made = MadeDump().start()
    make(made)
    imported(target, made.end()).failed("import of disk 0")
    require_nothing(target)
    assert not Path("/tmp/escaped").exists()


def test_names_of_an_enemy_stay_within_the_guest(target: Node, tmp_path: Path) -> None:
    """A symlink to the node, where fstab and the rules would be; a loop of directories."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "fstab").write_text("of the node")
    link = entry(b"etc", 12) + entry(b"loop", 13, 4) + entry(b"gone", 99) + entry(b"boot", 14)
    made = MadeDump().start().inode(2, 0o40755, entry(b".", 2, 4) + link)
    made.inode(13, 0o40755, entry(b".", 13, 4) + entry(b"again", 13, 4) + entry(b"up", 2, 4))
    made.inode(12, 0o120777, str(outside).encode()).inode(14, 0o120777, b"boot")
    outcome = imported(target, made.end()).done()
    assert "a symlink leads out of the guest" in outcome.stderr
    assert "the dump does not have the file /gone" in outcome.stderr
    with restored(target) as top:
        assert {path.name for path in top.iterdir()} == {"etc", "loop", "boot", "lost+found"}
        assert list((top / "loop").iterdir()) == []
    assert (outside / "fstab").read_text() == "of the node"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_import_that_is_ended_leaves_nothing(
    number: signal.Signals, dump: bytes, target: Node
) -> None:
    disk = target.disks[0][0]
    for moment in range(10):
        here, there = os.pipe()
        running = Import(target, here)
        os.close(here)
        left = memoryview(dump)[: len(dump) * moment // 9]
        with suppress(BrokenPipeError):
            while left:
                left = left[os.write(there, left[: 64 << 10]) :]
        if moment:
            time.sleep(0.3)
        with suppress(ProcessLookupError):
            os.killpg(running.process.pid, number)
        outcome = running.wait()
        os.close(there)
        nothing_is_held(target)
        if number == signal.SIGTERM and moment and outcome.exit_code:
            assert outcome.exit_code == 128 + number, outcome
            assert support.found_on(disk) == ""
        elif outcome.exit_code and moment:
            require_no_system(target)
    imported(target, dump).done()


def require_no_system(node: Node) -> None:
    """Of an import that was killed: nothing has its name, or there is no file system."""
    offset, size = root_partition(node.disks[0][0])
    with loop(node.disks[0][0], offset, size, read_only=False) as device:
        if not support.found_on(device):
            return
        with support.mounted(device, node.directory / "killed") as place:
            assert {path.name for path in place.iterdir()} <= {"lost+found", staging.NAME}
            assert stat.S_IMODE(place.lstat().st_mode) == 0o755


def test_a_boot_loader_that_fails_keeps_what_has_come(
    tmp_path: Path, facts: dict[str, dict[str, Any]], node: Node
) -> None:
    """All of the dump is on the disk by then, and move-instance may have removed the source."""

    def fill_broken(top: Path) -> None:
        fill(top)
        (top / "etc/debian_version").write_text("6.0.10\n")
        (top / "usr/sbin").mkdir(parents=True)
        (top / "usr/sbin/grub-install").write_text("broken")

    node.disk(SIZE + 40 * MIB)
    disk = node.disks[0][0]
    dump = dumps.dump_of(dumps.file_system(tmp_path / "broken", SIZE, fill_broken))
    outcome = imported(node, dump).failed("boot loader of web1.example.org", "grub-install")
    assert "kernel_path" in outcome.hint
    require_nothing(node)
    (head,) = import_.HEADS.iterdir()
    assert f"dd if={head} of={disk} bs=1M conv=notrunc" in outcome.stderr
    support.output("dd", f"if={head}", f"of={disk}", "bs=1M", "conv=notrunc")
    head.unlink()
    with restored(node) as top:
        now = payload.manifest(top / "srv")
        assert now["random"]["digest"] == facts["srv/random"]["digest"]


def test_a_guest_without_grub_is_told(dump: bytes, node: Node) -> None:
    node.disk(SIZE + 40 * MIB)
    outcome = imported(node, dump).done()
    assert "the guest has no GRUB" in outcome.stderr
