"""Makes the machines of the lab: Debian, installed by the kit's own create on files of the node."""

from dataclasses import dataclass

from tests.e2e.cluster import CREATE_TIMEOUT, OS_DEFINITION, QUICK, Cluster, create_environment
from tests.e2e.sandbox import DISKS

from . import records
from .domains import Machine

SITE_HOOK = "/etc/ganeti/instance-debootstrap/hooks/lab"
FILES = "/root/lab"
SUITE = "bookworm"
# The same packages for all, so that one bootstrap serves all.
PACKAGES = "qemu-guest-agent,ifupdown,grub-efi-amd64-bin"
# They take seconds of each emulated boot.
MASKED = "e2scrub_reap.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer"
# Copies the files of the guest into it, and tells its host keys.
_HOOK = f"""\
#!/bin/sh
set -e
cp --recursive --preserve=mode {FILES}/"$INSTANCE_NAME"/. "$TARGET"
chroot "$TARGET" systemctl --quiet mask {MASKED}
if [ -e "$TARGET{records.UNIT}" ]; then
  chroot "$TARGET" systemctl --quiet enable {records.UNIT.rpartition("/")[2]}
fi
cat "$TARGET"/etc/ssh/ssh_host_*_key.pub > {FILES}/"$INSTANCE_NAME".keys
"""


@dataclass(frozen=True)
class Installed:
    """A new guest.

    Attributes:
        disks: their files on the node, by role.
        keys: of its SSH server, as in known_hosts, without the host.
        swap_uuid: of its swap disk; "" without one.
    """

    disks: dict[str, str]
    keys: tuple[str, ...]
    swap_uuid: str


def install(node: Cluster, machine: Machine) -> Installed:
    """Installs a guest with static addresses; its disks are not in order of its domain."""
    name = machine.full_name
    params = {
        **QUICK,
        "extra_pkgs": PACKAGES,
        "hook_network": "no",
        "swapfile_size": "0",
        "partition_style": "gpt" if machine.uefi else "msdos",
    }
    node.fill_cache(SUITE, params)
    for path, (text, mode) in _files(machine).items():
        node.write(f"{FILES}/{name}{path}", text, mode)
    node.write(SITE_HOOK, _HOOK, 0o755)
    # The kit takes the first disk for root, whatever the order of the domain.
    disks = sorted(machine.disks, key=lambda disk: disk.role != "root")
    paths = {disk.role: f"{DISKS}/{machine.name}-{disk.role}" for disk in disks}
    env = create_environment(
        name, SUITE, [(paths[disk.role], disk.size, disk.role) for disk in disks], params
    )
    for disk in disks:
        node.run(["truncate", f"--size={disk.size}M", paths[disk.role]])
    node.run(["env", f"--chdir={OS_DEFINITION}", "./create"], env=env, timeout=CREATE_TIMEOUT)
    node.run(["rm", SITE_HOOK])
    keys = node.run(["cat", f"{FILES}/{name}.keys"]).stdout.splitlines()
    swap = ""
    if "swap" in paths:
        blkid = ["blkid", "--probe", "--output=value", "--match-tag=UUID", paths["swap"]]
        swap = node.run(blkid).stdout.strip()
    return Installed(paths, tuple(keys), swap)


def _files(machine: Machine) -> dict[str, tuple[str, int]]:
    files = {
        "/etc/network/interfaces": (interfaces(machine), 0o644),
        "/etc/hosts": (
            f"127.0.0.1 localhost\n{machine.ipv4} {machine.full_name} {machine.name}\n",
            0o644,
        ),
    }
    if any(disk.role == "srv" for disk in machine.disks):
        files[records.PROGRAM] = (records.PROGRAM_TEXT, 0o755)
        files[records.UNIT] = (records.UNIT_TEXT, 0o644)
        # For those who look for the old address elsewhere.
        files["/etc/web.conf"] = (f"listen {machine.ipv4}:80\nlisten [{machine.ipv6}]:80\n", 0o644)
    return files


def interfaces(machine: Machine) -> str:
    """The file of ifupdown, with the name that the KVM host's virtual hardware gives to the NIC."""
    network4, network6 = machine.ipv4.rpartition(".")[0], machine.ipv6.rpartition(":")[0]
    return f"""\
auto lo
iface lo inet loopback

allow-hotplug {machine.nic}
iface {machine.nic} inet static
    address {machine.ipv4}/24
    gateway {network4}.1
iface {machine.nic} inet6 static
    address {machine.ipv6}/64
    gateway {network6}:1
    dad-attempts 0
"""
