"""A disk with a GPT boots under BIOS and under UEFI."""

from collections.abc import Callable

import pytest

from . import ssh
from .cluster import Cluster
from .qemu import booted
from .scrape import Facts

PARAMS = {"partition_style": "gpt", "password_expire": "no"}


@pytest.fixture(scope="module")
def instance(cluster: Cluster, instance_name: Callable[[str], str]) -> tuple[str, Facts]:
    name = instance_name("gpt.example.org")
    return name, cluster.add(name, params=PARAMS, start=False)


def test_boots_under_uefi(instance: tuple[str, Facts], cluster: Cluster) -> None:
    name, facts = instance
    with booted(cluster, cluster.disk_paths(name), uefi=True) as console:
        console.wait_grub()
        console.wait_login()
        assert not console.login("root", facts.password)
        assert console.run("test -d /sys/firmware/efi") == (0, "")


def test_boots_under_bios(instance: tuple[str, Facts], cluster: Cluster) -> None:
    name, facts = instance
    cluster.start_instance(name)
    connection = ssh.connect(cluster, facts, facts.hosts[0])
    assert connection.run("ls -d /sys/firmware/efi 2>/dev/null || echo bios") == "bios"
    assert connection.run("lsblk --noheadings --nodeps --output PTTYPE /dev/vda") == "gpt"
    assert connection.system_state() == "running"
