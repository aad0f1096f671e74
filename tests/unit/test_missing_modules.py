"""What is said on a node that lacks Debian's Python packages."""

import ast
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

import backup.cli
import backup.start
import converter
from converter import qcow2raw
from installer import start
from kit import instance_kit
from node import modules
from node.errors import KitError

TOP = Path(__file__).parents[2]


def lacks(*missing: str):
    return lambda name: None if name in missing else ModuleSpec(name, None)


def test_qcow2raw_names_all_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(modules, "find_spec", lacks("nbd", "sh"))
    assert qcow2raw.main() == 3
    assert capsys.readouterr().err == (
        "error: qcow2raw: Python modules: missing: nbd, sh\n"
        "hint: apt-get install python3-libnbd python3-sh\n"
    )


def test_instance_kit_names_all_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(modules, "find_spec", lacks("seccomp"))
    assert instance_kit.main() == 3
    assert capsys.readouterr().err == (
        "error: instance-kit: Python modules: missing: seccomp\n"
        "hint: apt-get install python3-seccomp\n"
    )


def test_an_os_script_names_all_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(modules, "find_spec", lacks("jinja2", "distro_info"))
    with pytest.raises(SystemExit, match="1"):
        start.start("create")
    assert capsys.readouterr().err == (
        "error: create: Python modules: missing: distro_info, jinja2\n"
        "hint: apt-get install python3-distro-info python3-jinja2\n"
    )


def test_an_import_of_a_dump_names_what_is_missing_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(modules, "find_spec", lacks("jinja2"))
    with pytest.raises(KitError, match="missing: jinja2") as caught:
        modules.require_modules("import", backup.cli.OF_DUMPS)
    assert caught.value.hint == "apt-get install python3-jinja2"


PACKAGES = (
    *qcow2raw.PACKAGES,
    *start.PACKAGES,
    *backup.start.PACKAGES,
    *instance_kit.PACKAGES,
)


def test_the_names_are_those_of_modules() -> None:
    assert all(find_spec(module) for module in PACKAGES)


OURS = ("backup", "converter", "guest", "importer", "installer", "kit", "node")


def loaded_with(name: str) -> set[str]:
    """The packages of others that are loaded with a module of ours."""
    wanted, seen, others = [name], set(), set()
    while wanted:
        name = wanted.pop()
        if name.partition(".")[0] not in OURS:
            others.add(name.partition(".")[0])
            continue
        stem = TOP.joinpath(*name.split("."))
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path in seen or not path.is_file():
                continue
            seen.add(path)
            wanted.append(name.rpartition(".")[0] or name)
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Import):
                    wanted += [each.name for each in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module:
                    wanted += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
                    if node.module == "converter":  # it loads what it is asked for
                        wanted += [converter.home(each.name) for each in node.names]
    return others - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("entry", "packages"),
    [
        ("backup.cli", backup.start.PACKAGES),
        ("backup.dumps.restore", backup.start.PACKAGES | backup.cli.OF_DUMPS),
        ("converter.cli.main", qcow2raw.PACKAGES),
        ("installer.cli", start.PACKAGES),
        ("kit.cli", instance_kit.PACKAGES),
    ],
)
def test_all_that_is_loaded_is_looked_for_before(entry: str, packages: dict[str, str]) -> None:
    assert loaded_with(entry) <= packages.keys()
