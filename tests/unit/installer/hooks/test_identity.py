from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from installer.guest_tree import GuestTree
from installer.hooks.base import Context, Later
from installer.hooks.identity import HookHostname
from tests.unit.guest.scenarios import BRIDGED, COMMUNICATION, SCENARIOS, nics


def context(
    scenario: list[dict[str, str]],
    *,
    name: str = "web1.example.org",
    hostname: str = "fqdn",
    dhcp: bool = True,
    enabled: bool = True,
) -> Context:
    instance: Any = SimpleNamespace(name=name, nics=nics(*scenario))
    settings: Any = SimpleNamespace(hostname=hostname, dhcp=dhcp, hook_hostname=enabled)
    other: Any = None  # nobody asks for the disks and the node
    return Context(instance, settings, other, other)


@pytest.mark.parametrize("switch", [True, False])
def test_enabled_as_switched(switch: bool) -> None:
    assert HookHostname().enabled(context([], enabled=switch)) is switch


@pytest.mark.parametrize(("style", "name"), [("fqdn", "web1.example.org"), ("short", "web1")])
def test_the_name_is_as_the_site_likes_it(style: str, name: str) -> None:
    files = HookHostname().render(context(SCENARIOS["dual-stack"], hostname=style))
    assert files["etc/hostname"].text == f"{name}\n"
    assert files["etc/mailname"].text == "web1.example.org\n"


def named(scenario: list[dict[str, str]], *, dhcp: bool) -> list[str]:
    text = HookHostname().render(context(scenario, dhcp=dhcp))["etc/hosts"].text
    lines = text.splitlines()
    return [line.split()[0] for line in lines if line.endswith("web1.example.org web1")]


def test_hosts_states_the_addresses_of_the_first_nic_that_has_any() -> None:
    scenario = [BRIDGED, *SCENARIOS["dual-stack"], *SCENARIOS["routed-bare"]]
    assert named(scenario, dhcp=False) == [
        "198.51.100.20",
        "2a01:4f8:fff0:4f:266:37ff:fe65:870f",
    ]


def test_the_name_is_that_of_a_nic_with_dhcp_that_comes_first() -> None:
    assert named([BRIDGED, *SCENARIOS["dual-stack"]], dhcp=True) == ["127.0.1.1"]


def test_link_local_addresses_have_no_name() -> None:
    static = SCENARIOS["ipv4-only"]
    assert named([COMMUNICATION, *static], dhcp=True) == ["198.51.100.20"]
    assert named([BRIDGED, COMMUNICATION], dhcp=True) == ["127.0.1.1"]
    # Asking within a link-local network comes to a link-local address, too.
    asking = {key: text for key, text in COMMUNICATION.items() if key != "IP"}
    assert named([asking, *static], dhcp=True) == ["198.51.100.20"]


def test_hosts_without_static_address() -> None:
    text = HookHostname().render(context(SCENARIOS["no-network"]))["etc/hosts"].text
    assert "127.0.1.1 web1.example.org web1" in text


def test_apply_writes_them(tmp_path: Path) -> None:
    target = GuestTree(tmp_path)
    assert HookHostname().apply(context(SCENARIOS["dual-stack"]), target) == Later()
    assert target.read("etc/hostname") == "web1.example.org\n"
    assert target.read("etc/mailname") == "web1.example.org\n"
    assert "198.51.100.20" in target.read("etc/hosts")
