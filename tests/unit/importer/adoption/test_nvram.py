"""UEFI variables, from a KVM host to nodes."""

import base64
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from importer.adoption import nvram
from importer.plan.model import Variables
from node.errors import KitError
from node.run import Result
from tests.unit.importer.adoption.uefi import DISK, SHELL, file_of


class Host:
    def __init__(self, content: str) -> None:
        self.content = content
        self.asked: tuple[str, ...] = ()

    def script(self, text: str, *arguments: str, what: str) -> Result:
        assert text == 'head -c "$2" -- "$1" | base64' and what
        self.asked = arguments
        return Result(0, self.content, "")


class Nodes:
    def __init__(self) -> None:
        self.ran: list[tuple[Sequence[str], dict[str, Any]]] = []

    def run(self, argv: Sequence[str], **options: Any) -> Result:
        self.ran.append((argv, options))
        return Result(0, "", "")


def encoded(content: bytes) -> str:
    return base64.encodebytes(content).decode()


def test_they_are_copied_for_root_alone(tmp_path: Path) -> None:
    variables = Variables("/nvram/a VARS.fd", str(tmp_path / "nvram/web.fd"))
    host = Host(encoded(file_of(("Boot0000", SHELL), ("Boot0001", DISK))))
    nvram.fetch(host, variables)  # type: ignore[arg-type]
    path = Path(variables.file)
    carried = file_of(("Boot0000", SHELL), ("Boot0001", DISK), deleted=("Boot0000",))
    assert path.read_bytes() == carried
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert host.asked == ("/nvram/a VARS.fd", "540673")
    nvram.remove(variables)
    nvram.remove(variables)
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [encoded(b"QFI\xfb"), encoded(bytes(540672)), encoded(file_of() + b"\xff"), "%%%", ""],
)
def test_what_is_no_file_of_variables_is_refused(tmp_path: Path, content: str) -> None:
    variables = Variables("/v", str(tmp_path / "web.fd"))
    with pytest.raises(KitError, match="UEFI variables /v"):
        nvram.fetch(Host(content), variables)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_another_node_gets_them_on_stdin(tmp_path: Path) -> None:
    file = tmp_path / "web.fd"
    file.write_bytes(b"variables")
    nodes = Nodes()
    nvram.distribute(nodes, Variables("/v", str(file)), "node2.example.org")  # type: ignore[arg-type]
    ((argv, options),) = nodes.ran
    assert argv[:2] == ["sh", "-euc"] and argv[-1] == str(file)
    assert options == {
        "node": "node2.example.org",
        "input": base64.b64encode(b"variables").decode(),
    }


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="gone"):
        nvram.distribute(Nodes(), Variables("/v", str(tmp_path / "gone.fd")), "n")  # type: ignore[arg-type]
