"""Foreseeable failures are refused before the disks are changed."""

import pytest

from tests.system.installer import support
from tests.system.installer.support import MIB, Node


@pytest.fixture
def tiny(node: Node) -> Node:
    node.settings |= support.TINY
    node.disk(support.TINY_DISK)
    return node


def refused(node: Node, *words: str) -> None:
    outcome = node.create().failed(*words)
    assert "left running" not in outcome.log
    support.nothing_is_held(node)
    assert all(path.stat().st_blocks == 0 for path, _ in node.disks)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("timezone", "leapseconds", "time zone leapseconds"),
        ("timezone", "Europe/Paris/", "not a time zone"),
        ("timezone", "Europe/Atlantis", "time zone Europe/Atlantis"),
        ("locale", "xx_YY.UTF-8", "locale xx_YY.UTF-8"),
        ("extra_pkgs", "nano-", "'nano-' is not a package"),
        ("extra_pkgs", "passwd-", "'passwd-' is not a package"),
        ("extra_pkgs", "x.+", "'x.+' is not a package"),
    ],
)
def test_a_value_that_cannot_be(tiny: Node, name: str, value: str, words: str) -> None:
    tiny.settings |= {"HOOK_TIMEZONE": "yes", "HOOK_LOCALE": "yes"}
    tiny.parameters[name] = value
    refused(tiny, words)


@pytest.mark.parametrize("name", ["var-run", "/var/lock/x", "var-spool-mail"])
def test_a_disk_that_is_named_after_a_link(tiny: Node, name: str) -> None:
    tiny.disk(64 * MIB, name)
    refused(tiny, f"disk 1 ({name})", "is a link in the guest")


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("mount -t tmpfs -o ro run /run", "directory /run/ganeti-instance"),
        ("ulimit -n 40", "open files: this process may have 40"),
    ],
)
def test_a_node_that_does_not_let_us(
    tiny: Node, before: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "_ENTER", f"{before}\n{support._ENTER}")
    refused(tiny, words)


def test_few_open_files_are_raised(tiny: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "_ENTER", f"ulimit -Sn 40; ulimit -Hn 256\n{support._ENTER}")
    tiny.create().succeeded()


def test_a_user_whose_name_a_package_takes(tiny: Node) -> None:
    tiny.settings |= {"HOOK_USER": "yes", "EXTRA_PKGS": "tcpdump"}
    tiny.parameters["user"] = "tcpdump"
    # Where a bootstrap is kept, that can be seen before; else as soon as the tree is there.
    error = "user tcpdump: a package of the guest makes a user or a group of that name"
    outcome = tiny.create().failed(error)
    assert "hook " not in outcome.log
    with tiny.disks[0][0].open("wb") as disk:
        disk.truncate(support.TINY_DISK)
    refused(tiny, error)
