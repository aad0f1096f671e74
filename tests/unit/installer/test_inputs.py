"""What is read from the node."""

import platform
from pathlib import Path

import pytest

from installer.guest_tree import GuestTree
from installer.inputs import read_node
from installer.settings import Settings
from node.errors import KitError
from node.run import Result

KEYS = b'from="192.0.2.1" ssh-ed25519 AAAA admin # caf\xe9\n'


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a node whose authorized keys are not UTF-8."""

    monkeypatch.setattr("installer.inputs.run", lambda _: Result(0, "amd64\n", ""))
    (tmp_path / "root/.ssh").mkdir(parents=True)
    (tmp_path / "root/.ssh/authorized_keys").write_bytes(KEYS)
    return tmp_path


def test_authorized_keys_come_byte_by_byte(node: Path, tmp_path: Path) -> None:
    keys = read_node(Settings(), node).authorized_keys
    assert keys is not None
    target = GuestTree(tmp_path / "guest")
    target.write("keys", keys)
    assert target.path("keys").read_bytes() == KEYS


def test_authorized_keys_are_read_only_where_they_are_wanted(node: Path) -> None:
    path = node / "root/.ssh/authorized_keys"
    path.unlink()
    path.mkdir()  # cannot be read
    assert read_node(Settings(hook_authorized_keys=False), node).authorized_keys is None


@pytest.mark.parametrize(
    ("told", "codename"), [({"VERSION_CODENAME": "noble"}, "noble"), ({}, "sid")]
)
def test_the_release_is_the_nodes(
    told: dict[str, str], codename: str, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library reads no other files than those of the machine that the tests run on."""
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: told)
    assert read_node(Settings(), node).codename == codename


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (FileNotFoundError(2, "Unable to read files /etc/os-release"), "Unable to read files"),
        (UnicodeDecodeError("utf-8", b"NAME=\xe9", 5, 6, "invalid start byte"), "position 5"),
    ],
)
def test_a_node_whose_release_cannot_be_read_is_refused(
    error: Exception, why: str, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> dict[str, str]:
        raise error

    monkeypatch.setattr(platform, "freedesktop_os_release", fail)
    with pytest.raises(KitError, match=why):
        read_node(Settings(), node)
