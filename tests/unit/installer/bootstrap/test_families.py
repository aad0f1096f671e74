"""Ubuntu's releases with nothing but SUITE and a mirror set, and Debian's as ever."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guest.instance import Instance
from guest.resolv import Resolver
from installer import create, debootstrap
from installer.bootstrap import families, mirrors
from installer.bootstrap.plan import BootstrapPlan
from installer.hooks.grub import efi_vendor
from installer.hooks.network import HookNetwork
from installer.inputs import NodeFacts
from installer.settings import Settings
from node.errors import KitError

MIRROR = "http://mirror.example.org/linux"
NODE = NodeFacts("node1", "bookworm", "amd64", Resolver((), ()), "Etc/UTC", None)
INSTANCE = Instance.from_environ(
    {
        "OS_API_VERSION": "20",
        "INSTANCE_NAME": "web1.example.org",
        "HYPERVISOR": "kvm",
        "DISK_COUNT": "0",
    }
)


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debootstrap, "KEYRINGS", tmp_path)
    monkeypatch.setattr(debootstrap, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(mirrors, "read_node_entries", list)
    for name in ("debian", "ubuntu"):
        (tmp_path / f"{name}-archive-keyring.gpg").touch()


def resolved(**settings: Any) -> Settings:
    return create._fill_in_settings(Settings(mirror=MIRROR, **settings), INSTANCE, NODE)


def planned(settings: Settings) -> BootstrapPlan:
    return debootstrap.plan(settings, NODE, create.kernel_packages(settings))


def test_the_stack_that_an_older_ubuntu_has_is_in_main() -> None:
    assert resolved(suite="xenial", components=("main",)).network_stack == "ifupdown"


@pytest.mark.parametrize("suite", ["focal", "jammy", "noble", "resolute"])
def test_an_lts_needs_a_suite_and_a_mirror(suite: str) -> None:
    settings = resolved(suite=suite)
    plan = planned(settings)
    assert plan.components == ("main", "universe")
    assert plan.packages == ("initramfs-tools", "linux-image-generic")
    assert plan.keyrings[0].name == "ubuntu-archive-keyring.gpg"
    assert plan.mirrors.security == MIRROR
    assert mirrors.archives(suite, plan.family, plan.mirrors) == [
        (MIRROR, suite),
        (MIRROR, f"{suite}-updates"),
        (MIRROR, f"{suite}-security"),
    ]
    assert settings.network_stack == "networkd"
    context = SimpleNamespace(settings=settings, instance=INSTANCE)
    assert HookNetwork().packages(context) == ("systemd",)  # type: ignore[arg-type]
    assert efi_vendor(settings) == "ubuntu"


def test_debian_is_as_ever() -> None:
    settings = resolved(suite="bookworm")
    plan = planned(settings)
    assert plan.components == ("main",)
    assert plan.packages == ("linux-image-amd64",)
    assert settings.network_stack == "ifupdown"
    assert efi_vendor(settings) == "debian"


def test_what_is_set_stays() -> None:
    settings = resolved(
        suite="jammy",
        components=("main", "universe", "multiverse"),
        network_stack="ifupdown",
        kernel="linux-image-virtual",
    )
    plan = planned(settings)
    assert plan.components == ("main", "universe", "multiverse")
    # The initramfs-tools that a kernel needs to boot, whoever chose it.
    assert plan.packages == ("initramfs-tools", "linux-image-virtual")
    assert settings.network_stack == "ifupdown"


def test_ifupdown_without_its_component_is_an_error_before_a_disk_is_touched() -> None:
    with pytest.raises(KitError, match="universe") as caught:
        resolved(suite="jammy", components=("main",), network_stack="ifupdown")
    assert "add universe to COMPONENTS" in (caught.value.hint or "")
    assert resolved(suite="jammy", components=("main",)).network_stack == "networkd"
    assert resolved(suite="bookworm", network_stack="ifupdown").network_stack == "ifupdown"


def test_a_distribution_that_nobody_knows_is_made_as_debian_is() -> None:
    assert families.components(Settings(), "") == ("main",)
    assert families.resolved(Settings(), "").network_stack == "ifupdown"
