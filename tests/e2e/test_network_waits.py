"""NICs whose network does not answer: the boot goes on without them."""

from collections.abc import Callable

from .cluster import Cluster
from .console import Console
from .qemu import booted


def test_dhcp_without_server_beside_ganetis_communication(
    cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    name = instance_name("silent.example.org")
    # As `gnt-cluster modify --instance-communication-network` makes it.
    cluster.run(["gnt-network", "add", "--network=169.254.0.0/16", "--network6=fe80::/10", "com"])
    routed = "--nic-parameters=mode=routed,link=communication_rt"
    cluster.run(["gnt-network", "connect", routed, "com", "default"])
    facts = cluster.add(
        name,
        nets=("mode=bridged,link=gnt0", "network=com,ip=pool"),
        params={"password_expire": "no"},
        start=False,
    )
    macs = cluster.instance_field(name, "nic.macs").split(",")
    with booted(cluster, cluster.disk_paths(name), macs=list(reversed(macs))) as console:
        console.wait_login()
        assert not console.login("root", facts.password)
        _boot_was_not_held_up(console, macs)
        # Now udev reports the NICs by each other's names, as in test_gpt.
        console.run("sed -i 's/ ro / ro net.ifnames=0 /' /boot/grub/grub.cfg; sync")
        console.send("reboot")
        console.wait_login()
        assert not console.login("root", facts.password)
        assert console.run("grep -o net.ifnames=0 /proc/cmdline") == (0, "net.ifnames=0\n")
        _boot_was_not_held_up(console, macs)


def _boot_was_not_held_up(console: Console, macs: list[str]) -> None:
    # The client that waits for an answer is none of the service's that login prompts wait for.
    assert console.run("systemctl is-active networking.service") == (0, "active\n")
    console.run("until pgrep -x dhclient; do sleep 1; done")
    groups = console.run("for pid in $(pgrep -x dhclient); do cat /proc/$pid/cgroup; done")[1]
    assert "/ifup@eth0.service" in groups and "networking" not in groups
    assert console.run("cat /sys/class/net/eth0/address")[1].strip() == macs[0]
    _, shown = console.run("ip -o address show dev eth1")
    assert " 169.254." in shown and "/16 " in shown
    assert shown.count("fe80::") == 1  # the kernel's own
    assert console.run("ip route show default; ip -6 route show default") == (0, "")
    assert console.run("hostname -i")[1].strip() == "127.0.1.1"
