"""A create that cannot go on says why, leaves nothing behind, and works once the fault is gone."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.system.installer import support
from tests.system.installer.mirror_server import mirror
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import MIB, Node, Outcome, output

# Magic and version of LUKS1, a cipher, and a UUID at its place (LUKS on-disk format, 2.1).
LUKS_HEADER = b"LUKS\xba\xbe\x00\x01aes" + bytes(157) + b"11111111-2222-3333-4444-555555555555"


@pytest.fixture
def tiny(node: Node, stub: StubSuite) -> Node:
    """A node that makes the smallest of guests."""
    node.settings |= support.TINY | stub.settings()
    node.disk(support.TINY_DISK)
    return node


def fails(node: Node, *words: str) -> Outcome:
    before = support.held(node)
    outcome = node.create().failed(*words)
    support.nothing_is_held(node, but=before)
    return outcome


def untouched(disk: Path) -> bool:
    return disk.stat().st_blocks == 0


def test_a_variant_that_does_not_exist(tiny: Node) -> None:
    tiny.environ["OS_VARIANT"] = "bookwrom"
    fails(tiny, "OS variant bookwrom", "bookwrom.conf is missing", "does not list it")
    tiny.environ["OS_VARIANT"] = "../../etc/passwd"
    fails(tiny, "OS variant '../../etc/passwd'")
    assert untouched(tiny.disks[0][0])
    tiny.environ["OS_VARIANT"] = "bookworm"
    tiny.create().succeeded()


def test_a_variant_without_its_file(tiny: Node) -> None:
    tiny.settings["VARIANTS_DIR"] = str(tiny.directory / "variants")
    fails(tiny, "OS variant bookworm", "lists it", "bookworm.conf is missing")
    assert untouched(tiny.disks[0][0])


def test_an_old_suite_without_a_mirror(tiny: Node) -> None:
    tiny.environ["OS_VARIANT"] = "buster"
    tiny.settings["MIRROR"] = ""
    fails(tiny, "buster", "end of life", "MIRROR")
    assert untouched(tiny.disks[0][0])


@pytest.mark.quick
def test_bad_parameters_are_named_all_at_once(tiny: Node) -> None:
    tiny.parameters |= {"filesystem": "ntfs", "swapfile_size": "many"}
    fails(tiny, "filesystem=ntfs", "swapfile_size=many")
    assert untouched(tiny.disks[0][0])


def test_a_mirror_that_does_not_answer(tiny: Node) -> None:
    tiny.settings |= {"CACHE_DIR": str(tiny.cache), "MIRROR": "http://127.0.0.1:9/debian"}
    fails(tiny, "mirror: cannot fetch http://127.0.0.1:9/debian/", "Connection refused")
    assert untouched(tiny.disks[0][0])


def test_a_mirror_that_lacks_the_suite(tiny: Node, stub: StubSuite) -> None:
    with mirror(stub.archive, status=404) as url:
        tiny.settings |= {"CACHE_DIR": str(tiny.cache), "MIRROR": url}
        fails(tiny, "suite bookworm", url, "does not have it")
    assert untouched(tiny.disks[0][0])


def test_a_mirror_with_a_fault_of_its_own(tiny: Node, stub: StubSuite) -> None:
    with mirror(stub.archive, status=503) as url:
        tiny.settings |= {"CACHE_DIR": str(tiny.cache), "MIRROR": url}
        fails(tiny, url, "503")


def test_a_mirror_that_breaks_off_in_the_middle(tiny: Node, stub: StubSuite) -> None:
    with mirror(stub.archive, breaks_off=True) as url:
        tiny.settings |= stub.settings(url) | {"CACHE_DIR": str(tiny.cache)}
        fails(tiny, "bootstrap of bookworm by mmdebstrap")
    assert not list(tiny.cache.iterdir())
    with mirror(stub.archive) as url:
        tiny.settings |= stub.settings(url) | {"CACHE_DIR": str(tiny.cache)}
        tiny.create().succeeded()


def test_a_root_disk_that_is_too_small(tiny: Node) -> None:
    os.truncate(tiny.disks[0][0], 100 * MIB)
    fails(tiny, "disk 0 (/): too small: it has 100 MiB, but needs at least 701 MiB")
    assert untouched(tiny.disks[0][0])
    os.truncate(tiny.disks[0][0], 701 * MIB)
    tiny.create().succeeded()


def test_a_cache_that_does_not_fit(tiny: Node) -> None:
    tiny.settings["EXTRA_PKGS"] = "stub-large"
    disk = tiny.disks[0][0]
    tiny.create().succeeded()  # from now on there is a cache
    os.truncate(disk, 701 * MIB)
    fails(tiny, "unpacking of cache-bookworm-", "too small")
    os.truncate(disk, support.TINY_DISK)
    tiny.create().succeeded()


def test_a_bootstrap_that_does_not_fit_on_a_data_disk(tiny: Node, stub: StubSuite) -> None:
    with mirror(stub.archive) as url:  # of a file: URL, apt would need no room for packages
        tiny.settings |= stub.settings(url)
        tiny.settings |= {"CACHE_DIR": str(tiny.cache), "EXTRA_PKGS": "stub-vast"}
        tiny.disk(256 * MIB, "var")
        outcome = fails(tiny, "bootstrap of bookworm by mmdebstrap", "too small")
        assert "hint: make" in outcome.lines[-1]
        assert not list(tiny.cache.iterdir())
        tiny.settings.pop("EXTRA_PKGS")
        tiny.create().succeeded()


def test_a_data_disk_on_which_no_bootstrap_could_fit(tiny: Node) -> None:
    tiny.disk(8 * MIB, "var")
    fails(tiny, "disk 1 (/var): too small: it has 8 MiB, but needs at least 256 MiB")
    assert untouched(tiny.disks[0][0])


def test_a_cache_directory_that_is_full(tiny: Node) -> None:
    output("mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", tiny.cache)
    try:
        tiny.settings["CACHE_DIR"] = str(tiny.cache)
        outcome = tiny.create().succeeded()
        assert "this bootstrap is not stored: zstd: " in outcome.log
        assert not list(tiny.cache.iterdir())
    finally:
        output("umount", tiny.cache)


@pytest.mark.parametrize("damage", ["truncated", "overwritten"])
def test_a_damaged_cache_is_made_anew(tiny: Node, damage: str) -> None:
    tiny.create().succeeded()
    support.link_cache(tiny)
    name = next(line.split()[1].rstrip(",") for line in tiny.create().succeeded().lines
                if line.strip().startswith("cache: "))  # fmt: skip
    whole = (tiny.cache / name).read_bytes()
    half = len(whole) // 2
    rest = {"truncated": b"", "overwritten": bytes(4096) + whole[half + 4096 :]}
    (tiny.cache / name).unlink()
    (tiny.cache / name).write_bytes(whole[:half] + rest[damage])
    (tiny.cache / name).chmod(0o600)
    tiny.hook("look", 'test -x "$TARGET/bin/bash"')
    outcome = tiny.create().succeeded()
    assert "is damaged: it is made again" in outcome.log
    assert "stored as" in outcome.log
    assert (tiny.cache / name).stat().st_size > half


def test_a_cache_that_others_may_write_to(tiny: Node) -> None:
    support.link_cache(tiny)
    tiny.cache.chmod(0o777)
    fails(tiny, str(tiny.cache), "others may write to it")
    assert untouched(tiny.disks[0][0])
    tiny.cache.chmod(0o700)
    tiny.create().succeeded()


def test_all_programs_that_are_missing_are_named_at_once(tiny: Node) -> None:
    tiny.parameters["filesystem"] = "xfs"
    tiny.hidden = ["/usr/sbin/mkfs.xfs", "/usr/sbin/sfdisk", "/usr/bin/zstd"]
    outcome = fails(tiny, "mkfs.xfs, sfdisk, zstd")
    assert outcome.lines[-1] == "hint: apt-get install fdisk xfsprogs zstd"
    assert untouched(tiny.disks[0][0])
    tiny.hidden = []
    tiny.create().succeeded()


def test_no_engine_at_all(tiny: Node) -> None:
    tiny.hidden = ["/usr/bin/mmdebstrap", "/usr/sbin/debootstrap"]
    fails(tiny, "mmdebstrap", "not on this node")


@pytest.mark.quick
def test_a_disk_that_is_attached(tiny: Node) -> None:
    disk = tiny.disks[0][0]
    with support.loop(disk) as device:
        fails(tiny, f"disk {disk}: in use: attached as {device}")
        assert untouched(disk)
    tiny.create().succeeded()


def test_a_disk_that_qemu_runs_on(tiny: Node) -> None:
    disk = tiny.disks[0][0]
    with subprocess.Popen(
        ["qemu-io", "-f", "raw", disk], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as machine:
        while f":{disk.stat().st_ino} " not in Path("/proc/locks").read_text():
            time.sleep(0.02)
        fails(tiny, f"disk {disk}: in use: process", "(qemu-io) has it open")
        machine.communicate(b"quit\n")
    assert untouched(disk)
    tiny.create().succeeded()


def test_a_block_device_that_is_mounted_or_held(tiny: Node) -> None:
    tiny.parameters["partition_style"] = "none"
    disk = tiny.disks[0][0]
    with support.loop(disk, read_only=False) as device:
        tiny.disks[0] = (device, None)
        tiny.create().succeeded()
        with support.mounted(device, tiny.directory / "mnt") as place:
            fails(tiny, f"disk {device}: in use: mounted on {place}")
        holder = os.open(device, os.O_RDWR | os.O_EXCL)
        try:
            fails(tiny, f"disk {device}: in use: another process")
        finally:
            os.close(holder)
        output("e2fsck", "-fn", device)
        tiny.create().succeeded()


def test_a_block_device_with_a_loop_device_over_it(tiny: Node) -> None:
    # A loop device does not claim what it is attached to: O_EXCL does not notice.
    with support.loop(tiny.disks[0][0], read_only=False) as device:
        tiny.disks[0] = (device, None)
        with support.loop(device) as upper:
            fails(tiny, f"disk {device}: in use: attached as {upper}")
        tiny.create().succeeded()


@pytest.mark.trixie
@pytest.mark.parametrize("what", ["crypto_LUKS", "dos"])
def test_a_reinstall_destroys_nothing_that_it_does_not_know(tiny: Node, what: str) -> None:
    disk = tiny.disk(64 * MIB, "srv")
    if what == "dos":
        subprocess.run(["sfdisk", "--quiet", disk], input=b"label: dos\n,,L\n", check=True)
    else:
        with disk.open("r+b") as file:
            file.write(LUKS_HEADER)
    before = disk.read_bytes()
    tiny.environ["INSTANCE_REINSTALL"] = "1"
    fails(tiny, "disk 1 (/srv): it holds", what)
    assert disk.read_bytes() == before


@pytest.mark.trixie
def test_a_block_device_that_is_swap(tiny: Node) -> None:
    disk = tiny.disk(64 * MIB, "swap")
    tiny.settings["HOOK_SWAP"] = "yes"
    with support.loop(disk, read_only=False) as device:
        tiny.disks[1] = (device, "swap")
        tiny.create().succeeded()
        output("swapon", device)
        try:
            fails(tiny, f"disk {device}: in use: active as swap")
        finally:
            output("swapoff", device)
        tiny.create().succeeded()


def test_the_same_disk_twice(tiny: Node) -> None:
    disk = tiny.disks[0][0]
    tiny.disks.append((disk, "srv"))
    fails(tiny, f"disk {disk}: in use")
    assert untouched(disk)


def test_two_creates_on_one_disk(tiny: Node) -> None:
    over = tiny.directory / "over"
    tiny.hook("slow", f"while ! [ -e {over} ]; do sleep 0.1; done")
    first = tiny.start()
    first.wait_for("site hook")
    try:
        tiny.create().failed(f"disk {tiny.disks[0][0]}: in use: attached as /dev/loop")
    finally:
        over.touch()
        first.wait().succeeded()


def test_disks_that_are_read_only(tiny: Node) -> None:
    tiny.environ["DISK_0_ACCESS"] = "ro"
    fails(tiny, "disk 0", "read-only")
    tiny.environ.clear()
    with support.loop(tiny.disks[0][0]) as device:
        tiny.disks[0] = (device, None)
        fails(tiny, f"disk {device}: the device is read-only")


def test_disks_that_are_no_path_of_the_node(tiny: Node) -> None:
    disk = tiny.disks[0][0]
    tiny.environ |= {"DISK_0_PATH": None, "DISK_0_URI": "rbd:pool/image"}
    fails(tiny, "disk 0", "rbd:pool/image", "only QEMU can open it")
    tiny.environ = {"DISK_0_PATH": str(tiny.directory)}
    fails(tiny, str(tiny.directory))
    tiny.environ = {"DISK_0_PATH": str(tiny.directory / "gone")}
    fails(tiny, "disk 0", "gone", "No such file")
    assert untouched(disk)


def least_use(disk: Path) -> int:
    """The bytes that the content of a new guest takes on the node; the disk is of no use then.

    What else it takes differs from one create to the next: what packages left in free blocks where
    the create bootstrapped, how much of the journal was used, and whether the kernel has filled the
    inode tables with zeros yet.
    """
    with support.loop(disk, *support.root_partition(disk), read_only=False) as device:
        output("tune2fs", "-O", "^has_journal", device)
        output("e2fsck", "-fy", "-E", "discard", device)
    output("fallocate", "--dig-holes", disk)
    return disk.stat().st_blocks * 512


@pytest.mark.parametrize("lacking", [1, 32, 128], ids=str)
@pytest.mark.parametrize("fstype", ["tmpfs", "ext4"])
def test_a_disk_that_fails_while_it_is_written(node: Node, fstype: str, lacking: int) -> None:
    """The node's own disk is full: the guest's file is sparse, and there is no room for it.

    Where little is lacking (MiB), nothing but data may be lost, of which only flushing tells:
    the guest is Debian, with enough of it.
    """
    node.settings |= support.TINY
    full = node.directory / "full"
    full.mkdir()
    if fstype == "tmpfs":
        output("mount", "-t", "tmpfs", "-o", "size=512m", "none", full)
    else:
        image = node.directory / "full.img"
        image.touch()
        os.truncate(image, 512 * MIB)
        output("mke2fs", "-q", "-F", "-t", "ext4", image)
        output("mount", "-o", "loop", image, full)
    try:
        disk, filler = full / "disk0", full / "filler"
        node.disks.append((disk, None))
        disk.touch()
        os.truncate(disk, support.TINY_DISK)
        node.create().succeeded()
        taken = least_use(disk)
        disk.write_bytes(b"")
        os.truncate(disk, support.TINY_DISK)
        free = os.statvfs(full).f_bfree * os.statvfs(full).f_bsize  # root may use them all
        filler.write_bytes(bytes(free - taken + lacking * MIB))
        fails(node)
    finally:
        output("umount", full)


def test_an_environment_that_is_not_ganetis(tiny: Node) -> None:
    tiny.environ["INSTANCE_NAME"] = None
    fails(tiny, "INSTANCE_NAME")
    tiny.environ = {"OS_API_VERSION": "99"}
    fails(tiny, "OS_API_VERSION='99'")


@pytest.mark.parametrize("filesystem", ["xfs", "btrfs"])
def test_a_bare_disk_without_room_for_the_boot_loader(node: Node, filesystem: str) -> None:
    node.disk(support.DISK)
    node.parameters |= {"partition_style": "none", "filesystem": filesystem}
    fails(node, f"boot loader on a bare disk with {filesystem}")
    assert untouched(node.disks[0][0])


def test_a_cache_directory_that_is_no_directory(tiny: Node) -> None:
    file = tiny.directory / "file"
    file.touch()
    tiny.settings["CACHE_DIR"] = str(file)
    fails(tiny, f"cache directory {file}")
