from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from installer.hooks.base import Context
from installer.hooks.hostname import HookHostname
from installer.target import Target
from tests.unit.guest.scenarios import BRIDGED, SCENARIOS, nics


def context(
    scenario: list[dict[str, str]],
    *,
    name: str = "web1.example.org",
    hostname: str = "fqdn",
    enabled: bool = True,
) -> Context:
    instance = SimpleNamespace(name=name, short_name=name.partition(".")[0], nics=nics(*scenario))
    settings = SimpleNamespace(hostname=hostname, dhcp=True, hook_hostname=enabled)
    return cast(Context, SimpleNamespace(instance=instance, settings=settings))


@pytest.mark.parametrize("switch", [True, False])
def test_enabled_as_switched(switch: bool) -> None:
    assert HookHostname().enabled(context([], enabled=switch)) is switch


@pytest.mark.parametrize(("style", "name"), [("fqdn", "web1.example.org"), ("short", "web1")])
def test_the_name_is_as_the_site_likes_it(style: str, name: str) -> None:
    files = HookHostname().render(context(SCENARIOS["dual-stack"], hostname=style))
    assert files["etc/hostname"].text == f"{name}\n"
    assert files["etc/mailname"].text == "web1.example.org\n"


def test_hosts_states_the_addresses_of_the_first_nic_that_has_any() -> None:
    scenario = [BRIDGED, *SCENARIOS["dual-stack"], *SCENARIOS["routed-bare"]]
    lines = HookHostname().render(context(scenario))["etc/hosts"].text.splitlines()
    own = [line.split()[0] for line in lines if line.endswith("web1.example.org web1")]
    assert own == ["198.51.100.20", "2a01:4f8:fff0:4f:266:37ff:fe65:870f"]


def test_hosts_without_static_address() -> None:
    text = HookHostname().render(context(SCENARIOS["no-network"]))["etc/hosts"].text
    assert "127.0.1.1 web1.example.org web1" in text


def test_apply_writes_them(tmp_path: Path) -> None:
    target = Target(tmp_path)
    assert HookHostname().apply(context(SCENARIOS["dual-stack"]), target) is None
    assert target.read("etc/hostname") == "web1.example.org\n"
    assert target.read("etc/mailname") == "web1.example.org\n"
    assert "198.51.100.20" in target.read("etc/hosts")
