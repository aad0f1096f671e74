"""Images become logical volumes, on a node with real LVM: a guest that the kit installed."""

import contextlib
import hashlib
import json
import re

import pytest

from tests.e2e import cookbook
from tests.e2e.console import Console
from tests.system.converter import support
from tests.system.converter.support import MIB, REFUSED

from .lvm_guest import Guest, Node, volume
from .sources import (
    DAMAGED,
    DAMAGED_AT,
    DEBIAN,
    DEBIAN_SIZE,
    SIZE,
    SMALL,
    SMALL_RAW,
    SWAP,
    SWAP_LABEL,
    SWAP_UUID,
)


def vast_volume(guest: Guest, name: str, size: int) -> str:
    """A new thick volume with what was on the disk before: something in each MiB."""
    guest.run(f"lvcreate -qqy -Wn -Zn -L {size}b -n {name} xenvg")
    return f"/dev/xenvg/{name}"


def pool(guest: Guest, name: str = "pool") -> str:
    guest.run(f"lvcreate -qqy --type thin-pool -L 256M -n {name} xenvg")
    return name


def require_same(guest: Guest, device: str, raw: str = SMALL_RAW) -> None:
    """The volume has the reference's bytes, then zeros to its end."""
    content = guest.content(device) if raw == SMALL_RAW else None
    if content is not None:
        expected = guest.volume_group.with_name("small.raw").read_bytes()
        assert content == expected.ljust(len(content), b"\0"), f"{device} differs from {raw}"
        return
    tail = f"$(( $(blockdev --getsize64 {device}) - $(stat -c %s {raw}) ))"
    said = guest.run(f"{{ cat {raw}; head -c {tail} /dev/zero; }} | cmp - {device} 2>&1 || true")
    assert not said


def checksum(guest: Guest, device: str) -> str:
    """For "nothing was touched"."""
    content = guest.content(device)
    if content is None:
        return guest.run(f"cksum {device}")
    return hashlib.sha256(content).hexdigest()


def lvs(guest: Guest, volume: str, field: str) -> str:
    return guest.run(f"lvs -q --noheadings --nosuffix --units b -o {field} {volume}").strip()


def exists(guest: Guest, name: str) -> bool:
    return name in guest.run("lvs -q --noheadings -o lv_name xenvg").split()


def test_thick_volume(guest: Guest) -> None:
    target = volume(guest, "thick")
    guest.started_qcow2raw(SMALL, target).done()
    require_same(guest, target)
    guest.started_qcow2raw("--check", SMALL, target).done()


def test_name_of_the_device_mapper(guest: Guest) -> None:
    volume(guest, "with-dash")
    guest.qcow2raw(SMALL, "/dev/mapper/xenvg-with--dash").done()
    require_same(guest, "/dev/xenvg/with-dash")


def test_too_small_by_how_much(guest: Guest) -> None:
    target = volume(guest, "narrow", 64 * MIB)
    before = checksum(guest, target)
    outcome = guest.qcow2raw(SMALL, target).failed(REFUSED, target)
    assert str(SIZE - 64 * MIB) in outcome.error.replace(",", "") + outcome.hint.replace(",", "")
    assert checksum(guest, target) == before


def test_existing_content_needs_force(guest: Guest) -> None:
    target = volume(guest, "used")
    guest.run(f"mkfs.ext4 -q {target}")
    before = checksum(guest, target)
    outcome = guest.qcow2raw(SMALL, target).failed(REFUSED, target, "ext4")
    assert "--force" in outcome.hint
    assert checksum(guest, target) == before
    guest.qcow2raw("--force", SMALL, target).done()
    require_same(guest, target)


def test_new_thin_volume_stays_thin(guest: Guest) -> None:
    guest.run(f"lvcreate -qqy -V 72M -n thin --thinpool {pool(guest)} xenvg")
    guest.qcow2raw(SMALL, "/dev/xenvg/thin").done()
    require_same(guest, "/dev/xenvg/thin")
    # 6 of 72 MiB are data.
    assert float(lvs(guest, "xenvg/thin", "data_percent")) < 12


def test_used_thin_volume(guest: Guest) -> None:
    guest.run(f"lvcreate -qqy -V 72M -n thin --thinpool {pool(guest)} xenvg")
    guest.run("yes | dd of=/dev/xenvg/thin bs=1M iflag=fullblock count=72 status=none; sync")
    assert float(lvs(guest, "xenvg/thin", "data_percent")) == 100
    guest.qcow2raw(SMALL, "/dev/xenvg/thin").done()
    require_same(guest, "/dev/xenvg/thin")


@pytest.mark.parametrize("thin", [False, True], ids=["thick", "thin"])
def test_snapshot_is_a_source(guest: Guest, thin: bool) -> None:
    if thin:
        guest.run(f"lvcreate -qqy -V 72M -n origin --thinpool {pool(guest)} xenvg")
        snapshot = "lvcreate -qqy -kn -s -n snap xenvg/origin"
    else:
        volume(guest, "origin")
        snapshot = "lvcreate -qqy -s -L 16M -n snap xenvg/origin"
    guest.run(f"dd if={SMALL_RAW} of=/dev/xenvg/origin bs=1M conv=notrunc,fsync status=none")
    guest.run(f"cat /dev/xenvg/origin > /root/expected.raw; {snapshot}")
    guest.run("yes | head -c 2M | dd of=/dev/xenvg/origin bs=1M seek=7 oflag=sync status=none")
    target = volume(guest, "copy")
    guest.qcow2raw("--format", "raw", "/dev/xenvg/snap", target).done()
    require_same(guest, target, "/root/expected.raw")


def test_create_rounds_up_to_extents(guest: Guest) -> None:
    guest.qcow2raw("--create", "xenvg/made", SMALL).done()
    assert lvs(guest, "xenvg/made", "lv_size") == str(68 * MIB)
    require_same(guest, "/dev/xenvg/made")


def test_create_with_size(guest: Guest) -> None:
    guest.qcow2raw("--create", "xenvg/made", "--size", "101M", SMALL).done()
    assert lvs(guest, "xenvg/made", "lv_size") == str(104 * MIB)
    require_same(guest, "/dev/xenvg/made")


def test_create_in_a_thin_pool(guest: Guest) -> None:
    guest.qcow2raw("--create", "xenvg/made", "--thin-pool", pool(guest), SMALL).done()
    assert lvs(guest, "xenvg/made", "pool_lv") == "pool"
    assert lvs(guest, "xenvg/made", "lv_size") == str(68 * MIB)
    require_same(guest, "/dev/xenvg/made")
    assert float(lvs(guest, "xenvg/made", "data_percent")) < 12


def test_created_volume_goes_when_the_copy_fails(guest: Guest) -> None:
    guest.qcow2raw("--create", "xenvg/made", DAMAGED).failed(support.FAILED, str(DAMAGED_AT))
    assert not exists(guest, "made")


def test_volume_that_is_there_stays_when_the_copy_fails(guest: Guest) -> None:
    target = volume(guest, "kept")
    guest.qcow2raw(DAMAGED, target).failed(support.FAILED, str(DAMAGED_AT))
    assert exists(guest, "kept")
    guest.run("rm -f /var/lib/ganeti-instance-kit/copies/*")


def test_create_refuses_a_name_that_is_taken(guest: Guest) -> None:
    target = volume(guest, "taken")
    before = checksum(guest, target)
    guest.qcow2raw("--create", "xenvg/taken", SMALL).failed(REFUSED, "xenvg/taken")
    assert checksum(guest, target) == before


@pytest.mark.parametrize(
    ("name", "options"),
    [("nowhere/made", []), ("xenvg/made", ["--thin-pool", "nopool"]), ("xenvg/../made", [])],
)
def test_create_where_nothing_is(guest: Guest, name: str, options: list[str]) -> None:
    outcome = guest.qcow2raw("--create", name, *options, SMALL)
    outcome.failed(support.USAGE if ".." in name else REFUSED)
    assert not exists(guest, "made")


def test_create_larger_than_the_group(guest: Guest) -> None:
    guest.qcow2raw("--create", "xenvg/made", "--size", "100G", SMALL).failed(REFUSED, "xenvg")
    assert not exists(guest, "made")


BUSY = {
    "mounted": ("mkfs.ext4 -q {}; mount -o ro {} /mnt", "umount /mnt", "/mnt"),
    "swap": ("mkswap -q {}; swapon {}", "swapoff {}", "swap"),
    "opened": (
        "systemd-run -q --unit=holder sh -c 'exec sleep 300 <>{}'; until readlink"
        " /proc/$(systemctl show -P MainPID holder)/fd/0 | grep -q dm-; do sleep 0.1; done",
        "systemctl stop holder",
        "sleep",
    ),
    "part of a pool": ("lvconvert -qqy --type thin-pool {}", "true", ""),
    "read-only": ("lvchange -qpr {}", "lvchange -qprw {}", "read-only"),
}


@pytest.mark.parametrize("how", BUSY)
def test_busy_volume(guest: Guest, how: str) -> None:
    begin, end, word = BUSY[how]
    target = volume(guest, "busy")
    guest.run(begin.format(*[target] * 2))
    if how == "part of a pool":
        target = "/dev/mapper/xenvg-busy_tdata"
    try:
        before = checksum(guest, target)
        guest.qcow2raw("--force", SMALL, target).failed(REFUSED, target, word)
        assert checksum(guest, target) == before
    finally:
        guest.run(end.format(target))


def test_physical_volume_of_no_group(guest: Guest) -> None:
    guest.run("truncate -s 72M /root/pv; losetup /dev/loop0 /root/pv; pvcreate -qqy /dev/loop0")
    try:
        guest.qcow2raw("--force", SMALL, "/dev/loop0").failed(REFUSED, "/dev/loop0", "LVM")
        guest.run("pvs -q /dev/loop0")
    finally:
        guest.run("losetup -d /dev/loop0; rm /root/pv")


def test_physical_volume_of_a_guest_is_content(guest: Guest) -> None:
    target = volume(guest, "guest")
    guest.run(f"pvcreate -qqy --config devices/scan_lvs=1 {target}")
    guest.qcow2raw(SMALL, target).failed(REFUSED, target, "LVM2_member")
    guest.qcow2raw("--force", SMALL, target).done()
    require_same(guest, target)


@pytest.mark.parametrize("disk", ["/dev/vda", "/dev/vdb"])
def test_disks_of_the_node_itself(guest: Guest, disk: str) -> None:
    guest.qcow2raw("--force", SMALL, disk).failed(REFUSED, disk)
    guest.run("pvck -q /dev/vdb; findmnt -n / >/dev/null")


def require_swap(guest: Guest, device: str) -> None:
    """The volume is swap with the identity of the source's, over all of the volume."""
    blkid = f"blkid -p -o value {device}"
    assert guest.run(f"{blkid} -s TYPE -s UUID -s LABEL").split() == [
        SWAP_LABEL,
        SWAP_UUID,
        "swap",
    ]
    guest.run(f"swapon {device}")
    try:
        shown = guest.run("swapon --bytes --noheadings --show=SIZE,NAME | grep dm-").split()
        # The header is a page of its own.
        assert int(shown[0]) == int(guest.run(f"blockdev --getsize64 {device}")) - 4096
    finally:
        guest.run(f"swapoff {device}")


def test_swap_volume_keeps_its_identity(guest: Guest) -> None:
    target = volume(guest, "swap")
    guest.qcow2raw(SWAP, target).done()
    require_swap(guest, target)
    # All but the page of the header is zero, whatever the source and the tenant had there.
    content = guest.content(target)
    assert content is not None and not content[4096:].strip(b"\0")


def test_swap_only(guest: Guest) -> None:
    target = volume(guest, "swap", 48 * MIB)
    guest.qcow2raw("--swap-only", SWAP, target).done()
    require_swap(guest, target)


def test_swap_only_needs_swap(guest: Guest) -> None:
    target = volume(guest, "swap")
    before = checksum(guest, target)
    guest.qcow2raw("--swap-only", SMALL, target).failed(REFUSED, SMALL)
    assert checksum(guest, target) == before


def test_bar_on_a_terminal(guest: Guest) -> None:
    target = volume(guest, "shown")
    # sshd gives a terminal the size of ours, and we have none.
    outcome = guest.try_run(f"stty columns 100; qcow2raw {SMALL} {target}", tty=True)
    assert outcome.exit_code == 0, outcome
    assert "%|" in outcome.stdout and "\r" in outcome.stdout.replace("\r\n", "\n")


def test_lines_in_a_log(guest: Guest) -> None:
    target = volume(guest, "logged")
    outcome = guest.started_qcow2raw(SMALL, target).done()
    assert outcome.stderr
    assert (
        "%|" not in outcome.stderr and "\r" not in outcome.stderr and "\x1b" not in outcome.stderr
    )


def test_question_on_a_terminal(guest: Guest) -> None:
    target = volume(guest, "asked")
    guest.run(f"mkfs.ext4 -q {target}")
    before = checksum(guest, target)
    ask = f"script -qec 'qcow2raw {SMALL} {target}' /dev/null"
    assert guest.try_run(f"echo no | {ask}").exit_code == REFUSED
    assert checksum(guest, target) == before
    assert guest.try_run(f"echo yes | {ask}").exit_code == 0
    require_same(guest, target)


def interrupted(guest: Guest, target: str) -> None:
    """A copy of the Debian guest is killed when its journal has a checkpoint."""
    journals = "/var/lib/ganeti-instance-kit/copies/*.json"
    guest.run(
        f"setsid qcow2raw --force --progress none {DEBIAN} {target} >/root/copy.log 2>&1 & copy=$!;"
        f" until grep -qs '\"done\": [1-9]' {journals}; do kill -0 $copy; sleep 0.1; done;"
        " kill -KILL -$copy; ! wait $copy"
    )


def test_another_volume_of_the_same_name_is_not_resumed(guest: Guest) -> None:
    target = vast_volume(guest, "again", DEBIAN_SIZE)
    interrupted(guest, target)
    guest.run("lvremove -qfy xenvg/again")
    vast_volume(guest, "again", DEBIAN_SIZE)
    guest.run(f"mkfs.ext4 -q {target}")
    guest.qcow2raw("--resume", DEBIAN, target).failed(REFUSED, target, "ext4")
    guest.run(f"fsck.ext4 -fn {target}")
    guest.run("rm -f /var/lib/ganeti-instance-kit/copies/*")


def test_debian_guest_boots_from_its_volume(guest: Guest, node: Node) -> None:
    target = vast_volume(guest, "debian", DEBIAN_SIZE + 128 * MIB)
    interrupted(guest, target)
    outcome = guest.qcow2raw("--resume", DEBIAN, target).done()
    assert re.search(r"going on at \d+(\.\d)? [MG]iB", outcome.stderr), outcome
    offset, size = place(guest, "debian")
    with support.loop(guest.volume_group, offset, size) as device:
        support.require_same(device, node.debian)
        argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", "1024", "-nodefaults", "-snapshot"]
        argv += ["-display", "none", "-serial", "stdio"]
        argv += ["-drive", f"if=virtio,format=raw,file={device}"]
        with contextlib.closing(Console(argv)) as console:
            console.wait_login()


def place(guest: Guest, name: str) -> tuple[int, int]:
    """Where the volume lies on the disk of the group, and its size, in bytes."""
    fields = "seg_size,seg_pe_ranges,vg_extent_size"
    report = guest.run(
        f"lvs -q --reportformat json --units b --nosuffix --segments -o {fields} xenvg/{name}"
    )
    [segment] = json.loads(report)["report"][0]["seg"]
    first = int(segment["seg_pe_ranges"].rpartition(":")[2].partition("-")[0])
    start = int(guest.run("pvs -q --noheadings --units b --nosuffix -o pe_start /dev/vdb"))
    return start + first * int(segment["vg_extent_size"]), int(segment["seg_size"])


def test_commands_of_the_cookbook(guest: Guest) -> None:
    guest.run(
        f"mkdir -p /srv/vmstore/old; ln -sf {SMALL} /srv/vmstore/old/root.qcow2;"
        " echo 127.0.0.1 kvm1.example.org >>/etc/hosts;"
        " echo StrictHostKeyChecking accept-new >/root/.ssh/config;"
        " ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519;"
        " cat /root/.ssh/id_ed25519.pub >>/root/.ssh/authorized_keys"
    )
    page = cookbook.blocks(cookbook.PAGE.read_text())
    ours = [block for block in page if block.mark == cookbook.IN_A_GUEST]
    assert len(ours) == 2
    for block in ours:
        said = guest.run(f"exec 2>&1; {block.commands}")
        assert cookbook.missing(block.expected, said) is None, said
    require_same(guest, "/dev/xenvg/old-root")
    assert guest.run("systemctl is-active ganeti-instance-kit-cache.timer") == "active"
