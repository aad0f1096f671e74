"""The guards of a target, on trees that look like /sys, /proc and Ganeti's; and lost writes."""

import errno
import os
import stat
from pathlib import Path

import pytest

from converter import identity
from converter.target import device as target
from converter.target import guards
from converter.target.facts import TargetFacts
from node import ganeti, processes
from node.devices import claim, holders, stack
from node.devices.claim import Backing
from node.devices.lvm import LogicalVolume
from node.devices.stack import Loop
from node.errors import KitError

SDA, SDA1, SDB = os.makedev(8, 0), os.makedev(8, 1), os.makedev(8, 16)
DM0, DM1 = os.makedev(253, 0), os.makedev(253, 1)
GROUP, VOLUME = "a" * 32, "b" * 32


def facts(number: int, path: Path = Path("/dev/x")) -> TargetFacts:
    return TargetFacts(path, "x", device(number))


def device(number: int) -> os.stat_result:
    return os.stat_result((stat.S_IFBLK | 0o600, 5, 6, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": number})


@pytest.fixture(autouse=True)
def _no_udev_and_no_lvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.devices.udev.properties", lambda _: {})
    monkeypatch.setattr(
        "node.devices.lvm.volume", lambda vg, name: LogicalVolume(vg, name, VOLUME, 0)
    )


@pytest.fixture
def sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk sda with a partition that an LV stands on; a disk sdb; all with sysfs's links."""
    root = tmp_path / "sys"
    for name, number in {
        "sda": SDA,
        "sda/sda1": SDA1,
        "sdb": SDB,
        "dm-0": DM0,
        "dm-1": DM1,
    }.items():
        entry = root / "devices" / name
        (entry / "holders").mkdir(parents=True)
        (entry / "slaves").mkdir()
        text = f"{os.major(number)}:{os.minor(number)}"
        (entry / "dev").write_text(f"{text}\n")
        (root / "dev/block").mkdir(parents=True, exist_ok=True)
        (root / "dev/block" / text).symlink_to(entry)
    (root / "devices/sda/sda1/partition").write_text("1\n")
    (root / "devices/sda/sda1/start").write_text("2048\n")
    (root / "devices/sda/wwid").write_text("naa.5000c500a1b2c3d4\n")
    (root / "devices/dm-0/slaves/sda1").symlink_to(root / "devices/sda/sda1")
    (root / "devices/sda/sda1/holders/dm-0").symlink_to(root / "devices/dm-0")
    for name, uuid, dm_name in (
        ("dm-0", f"LVM-{GROUP}{VOLUME}", "xenvg-web1.disk--0"),
        ("dm-1", "mpath-3600", "mpatha"),
    ):
        (root / "devices" / name / "dm").mkdir()
        (root / "devices" / name / "dm/uuid").write_text(f"{uuid}\n")
        (root / "devices" / name / "dm/name").write_text(f"{dm_name}\n")
    monkeypatch.setattr(stack, "SYS", root)
    monkeypatch.setattr(holders, "SYS", root)
    return root


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "proc"
    root.mkdir()
    (root / "swaps").write_text("Filename Type Size Used Priority\n")
    (root / "sys/kernel/random").mkdir(parents=True)
    (root / "sys/kernel/random/boot_id").write_text("boot-1\n")
    for module in (processes, identity):
        monkeypatch.setattr(module, "PROC", root)
    return root


@pytest.mark.usefixtures("sys")
def test_what_a_volume_stands_on() -> None:
    assert stack.backing_chain(DM0) == {DM0, SDA1, SDA}
    assert stack.backing_chain((SDA1, 77)) == {(SDA1, 77), SDA1, SDA}
    assert stack.backing_chain((os.makedev(0, 40), 77)) == {(os.makedev(0, 40), 77)}


@pytest.mark.usefixtures("sys")
@pytest.mark.parametrize(
    ("own", "source", "said"),
    [
        (SDA, SDA, "the source itself"),
        (SDA, DM0, "stored on it"),
        (SDA, SDA1, "stored on it"),
        (SDA1, SDA, "stored on the source"),
        (DM0, SDA, "stored on the source"),
        (SDB, DM0, None),
        (DM0, DM1, None),
    ],
)
def test_the_source_is_no_target(own: int, source: int, said: str | None) -> None:
    if said is None:
        guards.refuse_source(facts(own), device(source))
    else:
        with pytest.raises(KitError, match=said):
            guards.refuse_source(facts(own), device(source))


@pytest.mark.usefixtures("sys", "proc")
def test_holders_of_partitions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.stat
    disk = Path("/dev/sda")
    monkeypatch.setattr(
        Path,
        "stat",
        lambda self, **options: device(SDA) if self == disk else real(self, **options),
    )
    assert holders.block_holder(disk) == "its partition sda1 is held by dm-0"


def test_mounts_of_partitions_and_by_name_are_named(sys: Path, proc: Path) -> None:
    (sys / "devices/sda/sda1/holders/dm-0").unlink()
    (proc / "7").mkdir()
    lines = "23 28 0:21 / /proc rw - proc proc rw\n"
    (proc / "7/mountinfo").write_text(lines + "28 1 8:1 / /srv rw shared:1 - ext4 /dev/sda1 rw\n")
    assert holders._mounted_on(SDA1) == "/srv"
    assert holders._mounted_on(SDB) is None


@pytest.mark.usefixtures("sys")
def test_swap_is_told_by_name_where_its_path_is_of_another_root(proc: Path) -> None:
    def swapped(line: str) -> bool:
        (proc / "swaps").write_text(f"Filename Type Size Used Priority\n{line}\n")
        return holders._is_swap(SDA1)

    assert swapped("/sda1 partition 65532 0 -2")
    assert swapped(r"/elsewhere/sda1\040(deleted) partition 65532 0 -2")
    assert not swapped("/sda partition 65532 0 -2")
    assert not swapped("/srv/sda1 file 65532 0 -2")


def test_a_xen_guest_uses_a_device(sys: Path, proc: Path) -> None:
    assert holders.block_user(device(SDB)) is None
    vbd = sys / "bus/xen-backend/devices/vbd-7-51712"
    vbd.mkdir(parents=True)
    (vbd / "physical_device").write_text("8:10\n")  # hexadecimal: xen-blkback's xenbus.c
    assert holders.block_user(device(SDB)) == "Xen domain 7"
    assert holders.block_user(device(DM0)) is None
    (vbd / "physical_device").write_text("8:1\n")
    assert holders.block_user(device(SDA)) == "Xen domain 7"  # its partition
    assert proc.exists()


@pytest.mark.usefixtures("sys")
def test_a_volume_is_found_in_ganetis_cache_under_any_name(
    tmp_path: Path, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "ganeti"
    monkeypatch.setattr(ganeti, "GANETI", top)
    (top / "bdev-cache").mkdir(parents=True)
    (top / "kvm-hypervisor/pid").mkdir(parents=True)
    cached = top / "bdev-cache/bdev_xenvg_web1.disk-0"
    cached.write_text("web1.example.org primary disk/0\n")
    (top / "kvm-hypervisor/pid/web1.example.org").write_text("4242\n")
    alias = Path("/dev/dm-0")
    guards.refuse_running(facts(DM0, alias))
    (proc / "4242").mkdir()
    (proc / "4242/cmdline").write_bytes(b"/usr/bin/kvm\0-name\0web2.example.org\0")
    guards.refuse_running(facts(DM0, alias))
    (proc / "4242/cmdline").write_bytes(b"/usr/bin/kvm\0-name\0web1.example.org,debug-threads=on\0")
    with pytest.raises(KitError, match=r"instance web1\.example\.org.*process 4242"):
        guards.refuse_running(facts(DM0, alias))
    guards.refuse_running(facts(SDB))
    cached.write_text("")
    guards.refuse_running(facts(DM0, alias))


@pytest.mark.usefixtures("sys")
def test_physical_volumes_of_the_node_but_not_of_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    head = bytes(512) + b"LABELONE" + bytes(16) + b"LVM2 001" + bytes(3000)
    with pytest.raises(KitError, match="physical volume"):
        guards.refuse_pv(facts(SDB), head)
    guards.refuse_pv(facts(DM0), head)  # an LV's content is a guest's
    guards.refuse_pv(facts(os.makedev(guards.DRBD_MAJOR, 3)), head)
    guards.refuse_pv(facts(SDB), bytes(512 * 4) + head)  # too far behind
    guards.refuse_pv(facts(SDB), head.replace(b"LVM2 001", b"LVM3 001"))
    monkeypatch.setattr("node.devices.udev.properties", lambda _: {"ID_FS_TYPE": "LVM2_member"})
    with pytest.raises(KitError, match="physical volume"):
        guards.refuse_pv(facts(SDB), bytes(4096))


def test_what_blkid_says_in_words() -> None:
    said = {"DEVNAME": "/dev/x", "LABEL": "a=b", "UUID": "1b2c", "TYPE": "ext4"}
    assert guards.described(said) == "ext4, label a=b, UUID 1b2c"
    assert guards.described({"PTUUID": "9", "PTTYPE": "gpt"}) == "partition table gpt, UUID 9"
    assert guards.described({"VERSION": "1"}) == "a signature without a name"


@pytest.mark.usefixtures("sys", "proc")
def test_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fstat", device)

    def of(number: int) -> identity.Identity:
        return identity.identity_of(number, 512)

    assert of(DM0) == {"dm": f"LVM-{GROUP}{VOLUME}", "size": 512}
    assert of(SDA) == {"wwid": "naa.5000c500a1b2c3d4", "size": 512}
    assert of(SDA1) == {
        "wwid": "naa.5000c500a1b2c3d4",
        "partition": "1",
        "start": "2048",
        "partition_uuid": "",
        "size": 512,
    }
    assert of(SDB) == {"number": SDB, "diskseq": "", "boot": "boot-1", "size": 512}
    assert identity.is_certain(of(DM0))
    assert not identity.is_certain(of(SDB))  # another disk may get its number
    assert identity.is_certain({**of(SDB), "diskseq": "7"})


def test_a_file_in_the_place_of_another_has_another_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its inode may be the same: ext4 gives it to the next file."""
    births = iter(["1.5", "1.6", None])
    monkeypatch.setattr(identity, "birth", lambda _: next(births))
    with (tmp_path / "file").open("wb") as file:
        first, second, unknown = (identity.identity_of(file.fileno(), 512) for _ in range(3))
    assert first["inode"] == second["inode"] and first != second
    assert identity.is_certain(first)
    assert not identity.is_certain(unknown)


@pytest.mark.usefixtures("sys", "proc")
def test_a_loop_device_is_told_by_what_it_is_over(
    sys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "birth", lambda _: "1.5")
    disk = tmp_path / "disk"
    disk.touch()
    own = disk.stat()
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: device(fd) if fd == SDB else real(fd))
    name = sys / "devices/sdb/loop/backing_file"
    name.parent.mkdir()
    name.write_text(f"{disk}\n")

    def of(loop: Loop) -> identity.Identity:
        monkeypatch.setattr(identity, "loop_status", lambda _: loop)
        return identity.identity_of(SDB, 512)

    inode = (own.st_dev, own.st_ino)
    found = of(Loop(inode, 0, 0, 0))
    loop = f"{own.st_dev}:{own.st_ino}, 1.5"
    assert found == {"loop": loop, "offset": 0, "length": 0, "size": 512}
    # Another file has its name: by the loop device's number alone nothing is gone on with.
    assert not identity.is_certain(of(Loop((1, 2), 0, 0, 0)))
    # Over a device it is that device's.
    assert of(Loop((1, 2), DM0, 0, 0))["loop"] == f'{{"dm": "LVM-{GROUP}{VOLUME}"}}'


@pytest.fixture
def file_target(tmp_path: Path) -> target.Target:
    path = tmp_path / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    return target.Target(
        Backing(path, 0, fd, False), 1 << 20, TargetFacts(path, str(path), path.stat())
    )


def test_short_writes_are_continued(
    file_target: target.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, view, at: real(fd, view[:7], at))
    content = memoryview(bytearray(range(200)))
    file_target.write(content, 13)
    assert file_target.path.read_bytes()[13:213] == content
    assert file_target.path.stat().st_size == 1 << 20


def test_a_write_that_takes_nothing_is_no_endless_loop(
    file_target: target.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(KitError, match="at byte 5: No space left") as caught:
        file_target.write(memoryview(bytearray(9)), 5)
    assert "lvextend" in str(caught.value.hint)


def test_nothing_is_written_behind_the_end(file_target: target.Target) -> None:
    with pytest.raises(ValueError, match="beyond"):
        file_target.write(memoryview(bytearray(9)), (1 << 20) - 8)


def test_a_short_read_of_a_device_is_an_error(
    file_target: target.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = memoryview(bytearray(b"x" * 8))
    file_target.read_into(view, 0)
    assert bytes(view) == bytes(8)
    file_target.is_block = True
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    with pytest.raises(KitError, match=r"read of .* at byte 3"):
        file_target.read_into(view, 3)


def test_a_drbd_device_that_is_secondary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMEDIUMTYPE, os.strerror(errno.EMEDIUMTYPE))

    path = tmp_path / "drbd0"
    path.touch()
    monkeypatch.setattr(os, "open", refuse)
    opened = (claim.claimed(path), target.open_target_read_only(path, size_needed=0))
    for each in opened:
        with pytest.raises(KitError, match="Secondary on this node") as caught, each:
            pytest.fail("it was opened")
        assert "primary" in str(caught.value.hint)
