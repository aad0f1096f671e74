import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.checks import definition, hooks, machine
from kit.checks.definition import invalid
from node.errors import KitError
from node.finding import Finding, as_json, as_text, found_by, note, ok, problem

GOLDEN = Path(__file__).parents[2] / "data/golden/kit"
OS_DIR = Path(__file__).parents[3] / "os-definition"
FINDINGS = [
    ok("clock", "synchronised"),
    note("cache of variant sid", "none", "instance-kit cache build sid"),
    problem("mirrors of sid", "no answer\nwithin \x1b[2J 7 s", "check the network"),
]


def test_golden() -> None:
    assert as_text(FINDINGS) + "\n" == (GOLDEN / "doctor-text").read_text()
    assert as_json(FINDINGS) == json.loads((GOLDEN / "doctor-json").read_text())


def test_notes_leave_a_node_fit() -> None:
    assert as_json(FINDINGS[:2])["fit"] and not as_json(FINDINGS)["fit"]


def test_a_check_that_fails_is_a_finding() -> None:
    def check() -> Iterator[Finding]:
        yield FINDINGS[0]
        raise KitError("x: broken", "mend it")

    assert list(found_by(check, "x")) == [FINDINGS[0], problem("x", "x: broken", "mend it")]


def test_the_os_definition_of_the_kit_is_valid() -> None:
    assert invalid(OS_DIR) is None


def test_a_directory_of_links_is_the_kits_definition(tmp_path: Path) -> None:
    linked = tmp_path / definition.NAME
    linked.mkdir()
    for path in OS_DIR.iterdir():
        (linked / path.name).symlink_to(path)
    (found,) = definition.check(OS_DIR, [tmp_path])
    assert found.level == "ok"
    (linked / "create").unlink()
    (linked / "create").write_text("#!/bin/sh\n")
    (found,) = definition.check(OS_DIR, [tmp_path])
    assert found.level == "problem"


def test_os_definitions_that_ganeti_does_not_take(tmp_path: Path) -> None:
    for path in OS_DIR.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
            (tmp_path / path.name).chmod(path.stat().st_mode)
    assert invalid(tmp_path) is None
    (tmp_path / "create").chmod(0o644)
    assert invalid(tmp_path) == "create is not executable"
    (tmp_path / "create").unlink()
    assert "No such file" in (invalid(tmp_path) or "")
    (tmp_path / "ganeti_api_version").write_text("99\n")
    assert invalid(tmp_path) == "ganeti_api_version: 99"


def test_comments_and_programs_name_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n  # grub-install\ntrue\n")
    assert hooks.code(script) == "true"
    script.write_bytes(b"\x7fELF grub-install")
    assert hooks.code(script) == ""


@pytest.mark.parametrize(("most", "level"), [(33554432, "ok"), (67108864, "note")])
def test_sockets_that_hold_more_than_what_is_behind_a_stream(
    most: int, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (tmp_path / "tcp_rmem", tmp_path / "tcp_wmem")
    monkeypatch.setattr(machine, "SOCKETS", files)
    assert list(machine.sockets()) == []
    files[0].write_text(f"4096\t131072\t{most}\n")
    files[1].write_text("4096\t16384\t4194304\n")
    (found,) = machine.sockets()
    assert found.level == level
    assert ("move-instance" in found.text) == (level == "note")
