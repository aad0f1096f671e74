"""The content of a new guest's disks before its first boot."""

import hashlib
import itertools
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from installer.hooks.grub import chosen_devices
from tests.e2e.scrape import COMMAND, parse
from tests.system.installer import support
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import MIB, Guest, Node, output

KEYS = """\
# the administrators
command="/bin/true",no-pty ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1111 backup of the node
ssh-rsa AAAAB3NzaC1yc2E1111 Ada Lovelace <ada@example.org>
"""
PATTERN = b"what another one wrote" * 1000


@pytest.fixture(scope="module")
def guest(new_node: Callable[[], Node]) -> Iterator[Guest]:
    """All that is usual: four disks, as the recorded environment of a real Ganeti has them."""
    node = new_node()
    (node.directory / "authorized_keys").write_text(KEYS)
    for size, name in ((support.DISK, None), (256 * MIB, "swap"), (512 * MIB, "srv")):
        node.disk(size, name)
    with node.disk(64 * MIB).open("r+b") as untouched:
        untouched.write(PATTERN)
    with support.guest(node) as made:
        yield made


@pytest.fixture(scope="module")
def sibling(new_node: Callable[[], Node]) -> Iterator[Guest]:
    """One disk, no addresses, and a paravirtual Xen with pygrub; from the same cache."""
    node = new_node()
    node.environ |= {"HYPERVISOR": "xen-pvm", "NIC_COUNT": "1"}
    node.environ |= {"INSTANCE_HV_use_bootloader": "True"}
    node.environ |= {f"NIC_0_NETWORK_{key}": None for key in ("NAME", "SUBNET", "SUBNET6")}
    node.environ |= {f"NIC_0_{key}": None for key in ("IP", "NETWORK_GATEWAY", "NETWORK_GATEWAY6")}
    node.disk(support.DISK)
    with support.guest(node) as made:
        yield made


def test_the_partition_is_aligned_bootable_and_fills_the_disk(guest: Guest) -> None:
    table = support.partition_table(guest.disk)
    assert table["label"] == "dos"
    [root] = table["partitions"]
    assert root["bootable"] and root["type"] == "83"
    assert root["start"] == 2048
    assert (root["start"] + root["size"]) * 512 == support.DISK


@pytest.mark.trixie
def test_the_file_systems_are_clean(guest: Guest) -> None:
    output("e2fsck", "-fn", guest.device)
    output("e2fsck", "-fn", guest.node.disks[2][0])


def test_fstab_names_what_is_there(guest: Guest) -> None:
    def uuid(device: Path) -> str:
        return "UUID=" + output("blkid", "-p", "-o", "value", "-s", "UUID", device).strip()

    fstab = guest.fstab
    assert set(fstab) == {"/", "/srv", "/tmp", "swap"}
    assert fstab["/"][0] == uuid(guest.device)
    assert fstab["/srv"][0] == uuid(guest.node.disks[2][0])
    assert fstab["swap"][0] == uuid(guest.node.disks[1][0])
    assert fstab["/tmp"][0] == "tmpfs" and "mode=1777" in fstab["/tmp"][3]
    assert "x-systemd.growfs" in fstab["/"][3] and "x-systemd.growfs" in fstab["/srv"][3]
    assert [fstab[place][5] for place in ("/", "/srv", "swap")] == ["1", "2", "0"]
    output("findmnt", "--verify", "--tab-file", guest.root / "etc/fstab", check=False)


def test_a_swap_disk_takes_the_place_of_the_swap_file(guest: Guest) -> None:
    assert "swap" in output("blkid", "-p", "-o", "value", "-s", "TYPE", guest.node.disks[1][0])
    assert not (guest.root / "swapfile").exists()


def test_a_disk_without_name_is_untouched(guest: Guest) -> None:
    content = guest.node.disks[3][0].read_bytes()
    assert content == PATTERN + bytes(64 * MIB - len(PATTERN))
    assert "disk 3 has no name: left untouched" in guest.outcome.log


def test_capabilities_and_acls_survive_the_cache(guest: Guest) -> None:
    assert "cache: cache-bookworm-" in guest.outcome.log or "stored as" in guest.outcome.log
    assert "cap_net_raw=ep" in output("getcap", guest.root / "usr/bin/ping")
    journal = guest.root / "var/log/journal"
    assert "group:adm:r-x" in output("getfacl", "--absolute-names", journal)


def test_host_keys_are_the_guests_own(guest: Guest) -> None:
    directory = guest.root / "etc/ssh"
    public = sorted(directory.glob("ssh_host_*_key.pub"))
    assert [path.name.split("_")[2] for path in public] == ["ecdsa", "ed25519", "rsa"]
    for path in public:
        kind, key, comment = path.read_text().split()
        assert comment == "root@web1.example.org"
        private = path.with_suffix("")
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
        assert output("ssh-keygen", "-y", "-f", private).split()[:2] == [kind, key]
        assert f"{kind} {key} {comment}" in guest.outcome.lines
    shown = {output("ssh-keygen", "-lf", path).split()[1] for path in public}
    assert shown == parse(_scraped(guest)).fingerprints


def test_authorized_keys_keep_options_and_comments(guest: Guest) -> None:
    assert guest.read("root/.ssh/authorized_keys") == KEYS
    assert guest.mode("root/.ssh/authorized_keys") == 0o600
    assert guest.mode("root/.ssh") == 0o700


@pytest.mark.trixie
def test_the_logged_password_is_roots(guest: Guest) -> None:
    password = parse(_scraped(guest)).password
    assert guest.root_hash.startswith("$y$")  # yescrypt, crypt(5)
    assert guest.has_password(password)
    lines = (line.split(":") for line in guest.read("etc/shadow").splitlines())
    last_change = next(line[2] for line in lines if line[0] == "root")
    assert last_change == "0"  # to be changed at the first login, shadow(5)
    assert guest.outcome.log.count(password) == 1


def _scraped(guest: Guest) -> list[str]:
    """What the contract's command prints, on the log as Ganeti would have it."""
    log = guest.node.directory / "os.log"
    log.write_text(guest.outcome.log)
    command = COMMAND
    for there, here in (("/var/log/ganeti/os/*", str(log)), ("$(hostname)", support.NODE)):
        assert there in command
        command = command.replace(there, here)
    return output("bash", "-c", command).splitlines()


@pytest.mark.trixie
def test_the_scrape_prints_access_and_nothing_else(guest: Guest) -> None:
    facts = parse(_scraped(guest))
    assert len(facts.fingerprints) == 3
    addresses = [str(address) for address in facts.addresses]
    assert addresses == ["198.51.100.2/24", "2001:db8:0:4f:a800:ff:fe77:71e8/64"]
    assert len(_scraped(guest)) == 6


def test_the_log_ends_with_durations_and_facts(guest: Guest) -> None:
    lines = guest.outcome.lines
    start = next(index for index, line in enumerate(lines) if line.startswith("done in "))
    steps = [line for line in lines[start:] if re.match(r" *[0-9.]+ s  ", line)]
    assert any("bootstrap of bookworm" in line for line in steps)
    assert any("hook grub" in line for line in steps)
    assert any("flush to disk" in line for line in steps)
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_nothing_of_the_node_is_in_the_guest(guest: Guest) -> None:
    assert guest.read("etc/hostname") == "web1.example.org\n"
    assert guest.read("etc/mailname") == "web1.example.org\n"
    hosts = guest.read("etc/hosts")
    assert "198.51.100.2" in hosts and "web1.example.org web1" in hosts
    assert "203.0.113.7" not in hosts
    found = output("grep", "-rlaF", "node7", *guest.root.glob("*"), check=False)
    assert found == ""
    assert not (guest.root / "run").is_mount() and not list((guest.root / "run").iterdir())


def test_resolv_conf_has_name_servers_only(guest: Guest) -> None:
    path = guest.root / "etc/resolv.conf"
    assert path.is_file() and not path.is_symlink()
    words = [line.split() for line in path.read_text().splitlines() if line[:1] not in ("", "#")]
    assert {line[0] for line in words} <= {"nameserver", "search"}
    for line in words:
        if line[0] == "nameserver":
            assert not line[1].startswith("127.") and line[1] != "::1"


def test_the_network_is_static_and_nics_are_pinned(guest: Guest) -> None:
    assert "source /etc/network/interfaces.d/*" in guest.read("etc/network/interfaces")
    eth0 = guest.read("etc/network/interfaces.d/eth0")
    for line in ("address 198.51.100.2/24", "gateway 198.51.100.1", "accept_ra 0"):
        assert line in eth0
    assert "address 2001:db8:0:4f:a800:ff:fe77:71e8/64" in eth0
    links = "".join(
        path.read_text() for path in (guest.root / "etc/systemd/network").glob("*.link")
    )
    assert "aa:00:00:77:71:e8" in links and "Name=eth0" in links
    assert "aa:00:00:e0:e2:1d" in links and "Name=eth1" in links


def test_the_boot_menu_is_on_both_consoles(guest: Guest) -> None:
    menu = guest.read("boot/grub/grub.cfg")
    uuid = output("blkid", "-p", "-o", "value", "-s", "UUID", guest.device).strip()
    kernels = [line for line in menu.splitlines() if line.strip().startswith("linux")]
    assert kernels
    for line in kernels:
        assert f"root=UUID={uuid}" in line
        if "single" not in line:
            assert "console=tty0 console=ttyS0,115200n8" in line
    assert "serial --unit=0 --speed=115200" in menu
    assert "terminal_output console serial" in menu
    assert guest.disk.open("rb").read(512)[:2] == b"\xeb\x63"  # GRUB's boot.img jumps like this
    for image in (guest.root / "boot").glob("vmlinuz-*"):
        initrd = image.with_name(image.name.replace("vmlinuz", "initrd.img"))
        assert initrd.stat().st_size > MIB
    wants = guest.root / "etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service"
    assert wants.is_symlink()


def test_upgrades_of_grub_write_to_the_guests_disk(guest: Guest) -> None:
    assert chosen_devices(guest.read("var/cache/debconf/config.dat")) == "/dev/vda"


def test_apt_knows_updates_and_security(guest: Guest) -> None:
    sources = guest.read("etc/apt/sources.list")
    for suite in ("bookworm", "bookworm-updates", "bookworm-security"):
        assert re.search(rf"^deb \S+ {suite} main", sources, re.MULTILINE), sources
    assert "signed-by" not in sources


def test_the_build_leaves_no_tools_behind(guest: Guest) -> None:
    for path in ("usr/sbin/policy-rc.d", ".bootstrap-keys", "debootstrap", "var/log/bootstrap.log"):
        assert not (guest.root / path).exists(), path
    assert not list((guest.root / "dev").glob("loop*"))
    assert not list(guest.root.rglob("*.new"))
    assert guest.mode("tmp") == 0o1777
    assert guest.mode(".") == 0o755


def test_umask_of_ganeti_stays_outside(guest: Guest) -> None:
    for path in ("etc/fstab", "etc/hostname", "etc/network/interfaces.d/eth0", "etc/ssh"):
        assert guest.mode(path) & 0o055 == (0o055 if path == "etc/ssh" else 0o044), path


def test_xen_guests_answer_on_hvc0(sibling: Guest) -> None:
    assert "console=hvc0" in sibling.read("boot/grub/grub.cfg")
    wants = sibling.root / "etc/systemd/system/getty.target.wants"
    assert (wants / "serial-getty@hvc0.service").is_symlink()
    assert not (wants / "serial-getty@ttyS0.service").is_symlink()


def test_without_a_network_there_is_dhcp(sibling: Guest) -> None:
    assert "iface eth0 inet dhcp" in sibling.read("etc/network/interfaces.d/eth0")
    assert "configured eth0" not in sibling.outcome.log
    assert (sibling.root / "usr/sbin/dhclient").exists()


def test_without_authorized_keys_a_warning_says_so(sibling: Guest) -> None:
    assert "warning: no " in sibling.outcome.log
    assert not (sibling.root / "root/.ssh/authorized_keys").exists()


def test_the_swap_file_has_no_holes(sibling: Guest) -> None:
    _swap_file_is_whole(sibling, 512 * MIB)


def _swap_file_is_whole(guest: Guest, size: int) -> None:
    path = guest.root / "swapfile"
    assert path.stat().st_size == size
    assert guest.mode("swapfile") == 0o600
    assert path.stat().st_blocks * 512 >= size
    assert guest.fstab["swap"][0] == "/swapfile"
    assert output("blkid", "-p", "-o", "value", "-s", "TYPE", path).strip() == "swap"
    extents = output("filefrag", "-v", path)
    covered = [
        range(int(match[1]), int(match[2]) + 1)
        for match in re.finditer(r"^ *\d+: +(\d+)\.\. +(\d+):", extents, re.MULTILINE)
    ]
    assert covered[0].start == 0
    assert all(one.stop == other.start for one, other in itertools.pairwise(covered))
    assert covered[-1].stop * 4096 >= size


def test_no_identity_is_shared(guest: Guest, sibling: Guest) -> None:
    for path in (
        "etc/machine-id",
        "var/lib/systemd/random-seed",
        *(f"etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519")),
    ):
        contents = [(made.root / path).read_bytes() for made in (guest, sibling)]
        assert contents[0] and contents[0] != contents[1], path
        assert stat.S_IMODE((guest.root / path).stat().st_mode) & 0o077 in (0, 0o044)
    assert re.fullmatch(r"[0-9a-f]{32}\n", guest.read("etc/machine-id"))
    assert guest.mode("var/lib/systemd/random-seed") == 0o600
    uuids = [output("blkid", "-p", "-o", "value", "-s", "UUID", made.device) for made in
             (guest, sibling)]  # fmt: skip
    assert uuids[0] != uuids[1]


def test_no_identity_is_in_the_cache(guest: Guest) -> None:
    name = re.search(r"cache-bookworm-\S+\.tar\.zst", guest.outcome.log)
    assert name is not None
    cache = support.CACHE / name[0]
    assert stat.S_IMODE(cache.stat().st_mode) & 0o022 == 0
    listed = output("tar", "--zstd", "-tvf", cache)
    for secret in (
        "./etc/resolv.conf\n",
        "ssh_host_",
        "systemd/random-seed",
        "dbus/machine-id",
        "./etc/hostname",
    ):
        assert secret not in listed, secret
    machine_id = next(line for line in listed.splitlines() if line.endswith("./etc/machine-id"))
    assert machine_id.split()[2] == "0"
    shadow = output("tar", "--zstd", "-xOf", cache, "./etc/shadow")
    assert re.search(r"^root:[*!]", shadow, re.MULTILINE)


@pytest.mark.parametrize(
    ("style", "filesystem", "check"),
    [
        ("gpt", "xfs", ("xfs_repair", "-n")),
        ("msdos", "btrfs", ("btrfs", "check", "--readonly")),
        ("none", "ext4", ("e2fsck", "-fn")),
    ],
)
def test_other_layouts(node: Node, style: str, filesystem: str, check: tuple[str, ...]) -> None:
    node.parameters |= {"partition_style": style, "filesystem": filesystem}
    node.settings["SWAPFILE_SIZE"] = "64"
    if filesystem == "btrfs":  # so it takes the cache of the guest that boots in tests/e2e
        node.parameters["network_stack"] = "networkd"
    if style == "none":  # the tool that grows partitions: so it takes the usual cache
        node.settings["EXTRA_PKGS"] = "cloud-guest-utils"
    disk = node.disk(support.DISK)
    with support.guest(node) as made:
        assert made.fstab["/"][2] == filesystem
        assert made.fstab["/"][5] == ("1" if filesystem == "ext4" else "0")
        _swap_file_is_whole(made, 64 * MIB)
        if filesystem == "btrfs":
            assert "C" in output("lsattr", made.root / "swapfile").split()[0]
        grows = made.root / "etc/systemd/system/grow-root-partition.service"
        assert grows.exists() == (style != "none")
        if style == "gpt":
            esp = _gpt(disk)
            assert made.fstab["/boot/efi"][0] == f"UUID={esp}"
    offset, size = support.root_partition(disk)
    with support.loop(disk, offset, size) as device:
        output(*check, device)


def _gpt(disk: Path) -> str:
    """Checks the partitions of a GPT, and gives the ESP's UUID."""
    table = support.partition_table(disk)
    assert table["label"] == "gpt"
    bios, esp, root = table["partitions"]
    assert bios["type"].startswith("21686148") and esp["type"].startswith("C12A7328")
    assert all(part["start"] % 2048 == 0 for part in (bios, esp, root))
    assert table["lastlba"] - (root["start"] + root["size"]) < 2048
    found = f"{disk}@@{esp['start'] * 512}"
    assert "BOOTX64.EFI" in output("mdir", "-b", "-i", found, "::/EFI/BOOT")
    assert "search" in output("mtype", "-i", found, "::/EFI/debian/grub.cfg")
    offset, size = str(esp["start"] * 512), str(esp["size"] * 512)
    return output(
        *("blkid", "-p", "-o", "value", "-s", "UUID", "-O", offset, "-S", size, disk)
    ).strip()


def test_with_all_switches_off_there_are_no_traces(node: Node) -> None:
    node.settings |= support.TINY
    (node.directory / "authorized_keys").write_text(KEYS)
    node.disk(support.TINY_DISK)
    swap = node.disk(64 * MIB, "swap")
    with support.guest(node) as made:
        assert set(made.fstab) == {"/"}
        for path in (
            "swapfile", "etc/ssh/sshd_config", "root/.ssh/authorized_keys", "etc/hostname",
            "etc/mailname", "etc/network/interfaces.d/eth0", "etc/resolv.conf", "boot/grub",
            "usr/local/sbin/grow-root-partition", "etc/default/locale", "usr/sbin/grub-install",
            "etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service",
        ):  # fmt: skip
            assert not (made.root / path).exists(), path
        assert not list((made.root / "boot").glob("vmlinuz*"))
        assert not list((made.root / "etc/systemd/network").glob("*.link"))
        assert made.root_hash in ("*", "!*", "!")
        assert made.read("etc/machine-id") == ""
        for word in ("root password", "configured eth0", "SHA256"):
            assert word not in made.outcome.log
    assert hashlib.sha256(swap.read_bytes()).digest() == hashlib.sha256(bytes(64 * MIB)).digest()


def test_with_a_kernel_of_the_node_there_is_no_boot_loader(node: Node) -> None:
    node.settings |= support.TINY | {"KERNEL": "auto", "HOOK_GRUB": "yes", "HOOK_CONSOLE": "yes"}
    node.environ["INSTANCE_HV_kernel_path"] = "/boot/vmlinuz-guests"
    disk = node.disk(support.TINY_DISK)
    with support.guest(node) as made:
        assert not (made.root / "boot/grub").exists()
        assert not list((made.root / "boot").glob("vmlinuz*"))
        wants = made.root / "etc/systemd/system/getty.target.wants"
        assert (wants / "serial-getty@ttyS0.service").is_symlink()
    assert disk.open("rb").read(440) == bytes(440)


def test_a_reinstall_keeps_data_disks(node: Node, stub: StubSuite) -> None:
    node.settings |= support.TINY | stub.settings()
    node.disk(support.TINY_DISK)
    data = node.disk(64 * MIB, "srv")
    with support.guest(node) as made:
        first = made.fstab
    with support.loop(data, read_only=False) as device:
        place = node.directory / "data"
        place.mkdir()
        output("mount", device, place)
        (place / "ledger").write_text("what must not be lost")
        output("umount", place)
    node.environ["INSTANCE_REINSTALL"] = "1"
    (node.directory / "root").rmdir()
    with support.guest(node) as made:
        assert "reinstall of web1.example.org" in made.outcome.log
        assert "disk 1 (/srv) is kept" in made.outcome.log
        assert made.fstab["/srv"][0] == first["/srv"][0]
        assert made.fstab["/"][0] != first["/"][0]
        assert (made.root / "srv").is_dir()
    place.rmdir()
    with support.loop(data) as device, support.mounted(device, place):
        assert (place / "ledger").read_text() == "what must not be lost"


def test_the_log_is_no_place_for_progress_bars(guest: Guest) -> None:
    assert max(map(len, guest.outcome.lines)) < 1000
