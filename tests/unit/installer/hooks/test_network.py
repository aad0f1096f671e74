import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guest.resolv import Resolver
from installer.guest_tree import GuestTree
from installer.hooks.base import Context
from installer.hooks.network import HookNetwork
from node.run import Result
from tests.unit.guest.scenarios import BRIDGED, MAC2, NET4, SCENARIOS, nics

PINNING = {"usr/local/sbin/pin-nic-names", "etc/systemd/system/pin-nic-names.service"}
TWO_GATEWAYS = [
    "configured eth0 with 198.51.100.20/24",
    "configured eth0 with 2a01:4f8:fff0:4f:266:37ff:fe65:870f/64",
    "configured eth1 with 203.0.113.5/25",
]
NODE = Resolver(("192.0.2.53",), ("node.example",))


def context(
    scenario: Sequence[dict[str, str]],
    node: Resolver = NODE,
    hypervisor: str = "kvm",
    **settings: Any,
) -> Context:
    known: dict[str, Any] = {
        "suite": "bookworm",
        "network_stack": "ifupdown",
        "dhcp": True,
        "dns": (),
        "dns_search": (),
        "hook_network": True,
    }
    instance: Any = SimpleNamespace(nics=nics(*scenario), hypervisor=hypervisor)
    made: Any = SimpleNamespace(**known | settings)
    layout: Any = None  # nobody asks for the disks
    facts: Any = SimpleNamespace(resolver=node)
    return Context(instance, made, layout, facts)


class RecordingTree(GuestTree):
    """Runs nothing, and remembers what it should have run."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ran: list[Sequence[str]] = []

    def run(self, argv: Sequence[str], **_: Any) -> Result:
        self.ran.append(tuple(argv))
        return Result(0, "", "")


@pytest.mark.parametrize("switch", [True, False])
def test_enabled_as_switched(switch: bool) -> None:
    assert HookNetwork().enabled(context([], hook_network=switch)) is switch


@pytest.mark.parametrize(
    ("settings", "packages"),
    [
        ({}, ("ifupdown", "isc-dhcp-client")),
        ({"suite": "trixie"}, ("ifupdown", "dhcpcd-base")),
        ({"suite": "stretch"}, ("ifupdown", "isc-dhcp-client")),
        ({"suite": "bionic"}, ("ifupdown", "isc-dhcp-client")),
        ({"dhcp": False}, ("ifupdown",)),
        ({"network_stack": "networkd"}, ("systemd",)),
    ],
)
def test_packages(settings: dict[str, Any], packages: tuple[str, ...]) -> None:
    assert HookNetwork().packages(context([], **settings)) == packages


def test_packages_do_not_depend_on_the_nics() -> None:
    # They are part of the cache's key.
    hook = HookNetwork()
    assert {hook.packages(context(nics_)) for nics_ in SCENARIOS.values()} == {
        hook.packages(context([]))
    }


def test_ifupdown_files() -> None:
    files = HookNetwork().render(context(SCENARIOS["two-gateways"]))
    assert set(files) - PINNING == {
        "etc/resolv.conf",
        "etc/network/interfaces",
        "etc/network/interfaces.d/eth0",
        "etc/network/interfaces.d/eth1",
        "etc/systemd/network/10-eth0.link",
        "etc/systemd/network/10-eth1.link",
    }
    assert "address 203.0.113.5/25" in files["etc/network/interfaces.d/eth1"].text
    assert f"MACAddress={MAC2}" in files["etc/systemd/network/10-eth1.link"].text


@pytest.mark.parametrize(
    ("hypervisor", "start"),
    [("kvm", "allow-hotplug"), ("xen-pvm", "allow-hotplug"), ("lxc", "auto"), ("chroot", "auto")],
)
def test_the_boot_waits_for_dhcp_only_where_no_udev_reports_the_nic(
    hypervisor: str, start: str
) -> None:
    files = HookNetwork().render(context(SCENARIOS["static-and-dhcp"], hypervisor=hypervisor))
    assert "auto eth0\n" in files["etc/network/interfaces.d/eth0"].text
    assert f"{start} eth1\n" in files["etc/network/interfaces.d/eth1"].text


def test_networkd_waits_half_a_minute_for_the_network() -> None:
    files = HookNetwork().render(context(SCENARIOS["no-network"], network_stack="networkd"))
    (path,) = (path for path in files if "wait-online" in path)
    # A second ExecStart would be one more command; the failure of this one is no failed unit.
    commands = [line for line in files[path].text.splitlines() if line.startswith("ExecStart")]
    assert commands == [
        "ExecStart=",
        "ExecStart=-/lib/systemd/systemd-networkd-wait-online --timeout=30",
    ]


def test_names_are_pinned_at_boot_too() -> None:
    files = HookNetwork().render(context(SCENARIOS["two-gateways"]))
    assert set(files) >= PINNING
    assert files["usr/local/sbin/pin-nic-names"].mode == 0o755


def test_there_is_nothing_to_pin_without_nics(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    HookNetwork().apply(context([]), target)
    assert not [path for path in tmp_path.rglob("*") if "pin-nic-names" in path.name]
    assert not (tmp_path / "etc/systemd").exists()


def test_networkd_files() -> None:
    files = HookNetwork().render(context(SCENARIOS["dual-stack"], network_stack="networkd"))
    assert set(files) - PINNING == {
        "etc/resolv.conf",
        "etc/systemd/network/10-eth0.link",
        "etc/systemd/network/20-eth0.network",
        "etc/systemd/system/systemd-networkd-wait-online.service.d/timeout.conf",
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "search node.example\nnameserver 192.0.2.53\n"),
        ({"dns": ("192.0.2.1",)}, "search node.example\nnameserver 192.0.2.1\n"),
        ({"dns_search": ("a.example",)}, "search a.example\nnameserver 192.0.2.53\n"),
    ],
)
def test_resolv_conf(settings: dict[str, Any], expected: str) -> None:
    assert HookNetwork().render(context([], **settings))["etc/resolv.conf"].text == expected


def test_apply_writes_and_tells_the_addresses(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    outside = tmp_path / "stub"
    outside.write_text("keep")
    (tmp_path / "etc/resolv.conf").symlink_to(outside)
    target = RecordingTree(tmp_path)
    later = HookNetwork().apply(context(SCENARIOS["two-gateways"]), target)
    assert list(later.report()) == TWO_GATEWAYS
    assert "198.51.100.20/24" in target.read("etc/network/interfaces.d/eth0")
    assert target.read("etc/resolv.conf").endswith("nameserver 192.0.2.53\n")
    assert outside.read_text() == "keep"
    assert target.ran == []


@pytest.mark.parametrize("ifupdown", [True, False])
def test_networkd_takes_over(tmp_path: Path, ifupdown: bool) -> None:
    service = tmp_path / "usr/lib/systemd/system/networking.service"
    service.parent.mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    if ifupdown:
        service.touch()
    target = RecordingTree(tmp_path)
    later = HookNetwork().apply(
        context(SCENARIOS["two-gateways"], network_stack="networkd"), target
    )
    assert list(later.report()) == TWO_GATEWAYS
    disable = [("systemctl", "disable", "networking.service")] if ifupdown else []
    assert target.ran == [*disable, ("systemctl", "enable", "systemd-networkd.service")]


def test_warns_of_what_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nic = BRIDGED | NET4 | {"IP": "198.51.100.20", "NETWORK_SUBNET6": "2001:db8::/80"}
    with caplog.at_level(logging.INFO, "ganeti-instance-kit"):
        later = HookNetwork().apply(
            context([nic, BRIDGED], node=Resolver((), ())), RecordingTree(tmp_path)
        )
    assert len(later.report()) == 1
    assert "2001:db8::/80" in caplog.text
    assert "eth1 has no address: left to DHCP" in caplog.text
    assert "no name server" in caplog.text
    # Scripts scrape the log for these words.
    assert "configured eth" not in caplog.text


def test_reports_what_a_sites_hook_made_of_it(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    later = HookNetwork().apply(context(SCENARIOS["two-gateways"]), target)
    target.write(
        "etc/network/interfaces",
        "iface eth0 inet6 static\n  address 2001:db8::9/64\n"
        "auto eth0\niface eth0 inet static\n  address 192.0.2.9\n  netmask 255.255.255.0\n",
    )
    assert list(later.report()) == [
        "configured eth0 with 192.0.2.9/24",
        "configured eth0 with 2001:db8::9/64",
    ]


@pytest.mark.parametrize("content", ["[Match]\nName=eth0\n", None])
def test_does_not_report_what_a_sites_hook_put_aside_under_networkd(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    target = RecordingTree(tmp_path)
    made = context(SCENARIOS["two-gateways"], network_stack="networkd")
    later = HookNetwork().apply(made, target)
    path = "etc/systemd/network/20-eth0.network"
    if content is None:
        target.symlink(path, "/dev/null")
    else:
        target.write(path, content)
    assert list(later.report()) == TWO_GATEWAYS[2:]
    assert path in caplog.text


ETH0 = "etc/network/interfaces.d/eth0"


def mended(target: RecordingTree, files: dict[str, str], **settings: Any) -> list[str]:
    """The facts that are reported after a site hook has added to these files."""
    hook, made = HookNetwork(), context(SCENARIOS["two-gateways"], **settings)
    later = hook.apply(made, target)
    for path, text in files.items():
        target.write(path, (target.read(path) if target.exists(path) else "") + text)
    later.mend()
    return list(later.report())


def test_an_interface_that_a_hook_adds_is_configured_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = RecordingTree(tmp_path)
    added = "auto eth0\niface eth0 inet static\n  address 192.0.2.9/24\n"
    with caplog.at_level(logging.INFO, "ganeti-instance-kit"):
        facts = mended(target, {"etc/network/interfaces": added})
    assert facts == [
        "configured eth0 with 192.0.2.9/24",
        "configured eth0 with 2a01:4f8:fff0:4f:266:37ff:fe65:870f/64",
        "configured eth1 with 203.0.113.5/25",
    ]
    assert "198.51.100.20" not in target.read(ETH0)
    assert f"{ETH0}: a site hook configures the same" in caplog.text


@pytest.mark.parametrize("path", ["etc/network/interfaces.d/site", ETH0])
def test_the_directory_counts_and_so_does_what_is_added_to_ours(tmp_path: Path, path: str) -> None:
    target = RecordingTree(tmp_path)
    added = "auto eth0\niface eth0 inet dhcp\niface eth0 inet6 static\n  address 2001:db8::9/64\n"
    facts = mended(target, {path: added})
    assert facts[0] == "configured eth0 with 2001:db8::9/64" and len(facts) == 2
    assert target.exists(ETH0) == (path == ETH0)
    assert target.read(path) == added


def test_lines_that_extend_ours_leave_it_alone(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    assert mended(target, {ETH0: "    up ip route add 192.0.2.0/24 dev eth0\n"}) == TWO_GATEWAYS
    assert "up ip route add" in target.read(ETH0) and "198.51.100.20" in target.read(ETH0)


def test_what_no_hook_has_touched_stays(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    assert mended(target, {"etc/network/interfaces": "# \udce4\n"}) == TWO_GATEWAYS


def test_a_hook_that_knows_the_nics_by_udevs_names_finds_them(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    added = "auto ens3\niface ens3 inet static\n  address 192.0.2.9/24\n"
    facts = mended(target, {"etc/network/interfaces": added})
    assert facts == ["configured ens3 with 192.0.2.9/24"]
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["etc/network/interfaces", "etc/resolv.conf"]
    assert not target.exists("etc/systemd/system/multi-user.target.wants/pin-nic-names.service")


def test_names_of_udev_beside_ours_change_nothing(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    added = "iface ens3 inet dhcp\niface eth7 inet dhcp\n"
    assert mended(target, {"etc/network/interfaces": added}) == TWO_GATEWAYS
    assert target.exists(ETH0)


def test_networkd_gets_one_file_for_a_nic(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    theirs = {"etc/systemd/network/50-site.network": f"[Match]\nMACAddress={MAC2}\n"}
    mended(target, theirs, network_stack="networkd")
    assert not target.exists("etc/systemd/network/20-eth1.network")
    assert target.exists("etc/systemd/network/10-eth1.link")
    assert target.exists("etc/systemd/network/20-eth0.network")
