"""The other suites boot, take a login, are on the network, and swap into a file."""

from collections.abc import Callable

import pytest

from . import ssh
from .cluster import Cluster

NEW_PASSWORD = "Correct-Horse-42-Battery"


@pytest.mark.parametrize("suite", ["bullseye", "trixie"])
def test_suite_boots_and_lets_root_in(
    suite: str, cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    name = instance_name(f"{suite}.example.org")
    facts = cluster.add(name, os=f"debootstrap+{suite}", params={"grub_timeout": "1"})
    connections = ssh.connect_all(cluster, facts)
    console = cluster.console(name)
    assert console.login("root", facts.password)
    console.change_password(facts.password, NEW_PASSWORD)
    assert console.run(". /etc/os-release; echo $VERSION_CODENAME") == (0, f"{suite}\n")
    for connection in connections:
        assert connection.run("hostname -f") == name
    shown = connections[0].run("swapon --show=NAME,TYPE,SIZE --bytes --noheadings").split()
    # What swapon(8) shows is less than the file by the page of the signature.
    assert shown[:2] == ["/swapfile", "file"]
    assert int(shown[2]) == 512 * 1024**2 - 4096
    assert connections[0].run("stat -c '%a %s' /swapfile") == f"600 {512 * 1024**2}"
    assert connections[0].system_state() == "running"


def test_default_is_the_release_of_the_node(
    cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    name = instance_name("default.example.org")
    cluster.add(name, os="debootstrap+default", start=False)
    codename = cluster.run(["sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME"]).stdout.strip()
    assert f"bootstrap of {codename} (" in cluster.os_log()
