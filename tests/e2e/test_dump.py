"""An export of ganeti-instance-debootstrap is imported under another name, and the guest boots."""

from collections.abc import Callable

from . import backups
from .backups import EXPORTS
from .cluster import QUICK, Cluster

OLD, NEW = "dumped.example.org", "restored.example.org"
# As that program's export does: its dump of the root file system, which is on partition 1.
DUMP = """
device=$(losetup --find --show --read-only --offset=1M "$1")
dump -0 -q -f - "$device" >"$2"
losetup --detach "$device"
"""


def test_a_dump_comes_back_under_another_name_and_boots(
    cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    facts = cluster.add(instance_name(OLD), params=QUICK, start=False)
    (disk,) = cluster.disk_paths(OLD)
    old = cluster.run(["blkid", "-p", "-O", "1M", "-o", "value", "-s", "UUID", disk]).stdout.strip()
    backups.export(cluster, OLD)
    config = cluster.run(["cat", f"{EXPORTS}/{OLD}/config.ini"]).stdout
    name = next(line for line in config.splitlines() if line.startswith("disk0_dump"))
    dump = f"{EXPORTS}/{OLD}/{name.partition('=')[2].strip()}"
    cluster.run(["sh", "-ec", DUMP, "sh", disk, dump], timeout=600)
    cluster.remove(OLD)

    said = backups.import_(cluster, instance_name(NEW), OLD, ("size=4G",))
    assert "WARNING" not in said and "error" not in said, said
    (disk,) = cluster.disk_paths(NEW)
    new = cluster.run(["blkid", "-p", "-O", "1M", "-o", "value", "-s", "UUID", disk]).stdout.strip()
    assert new != old

    console = cluster.start_instance(NEW)
    assert not console.login("root", facts.password)
    for command, expected in (
        ("hostname -f", NEW),
        ("findmnt --noheadings --output UUID /", new),
        (f"grep -rl {old} /boot /etc || echo gone", "gone"),
        ("swapon --show=NAME --noheadings", "/swapfile"),
        ("systemctl is-system-running --wait", "running"),
        ("ip -4 -o addr show dev eth0 | grep -c 198.51.100", "1"),
        ("test $(df --output=size --block-size=1M / | tail -1) -gt 3700 && echo larger", "larger"),
        ("ls -A / | grep -ci -e ganeti -e restore || echo clean", "0\nclean"),
    ):
        assert console.run(command)[1].strip() == expected, command
