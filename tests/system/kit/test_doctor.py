"""The doctor finds each injected fault, and no problem on a fit node."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kit.checks.children import at_once
from tests.system.installer import support
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import OS_DIR, Node

# In the namespace of the test, Ganeti finds the OS definition of the checkout.
EMPTY = "mount -t tmpfs none /usr/share/ganeti; mkdir /usr/share/ganeti/os\n"
INSTALLED = f"""{EMPTY}
ln -s {OS_DIR} /usr/share/ganeti/os/debootstrap
"""


class Found(NamedTuple):
    exit_code: int
    findings: list[dict[str, str]]

    def one(self, level: str, about: str, text: str) -> dict[str, str]:
        """The finding of this level that has these words."""
        found = [
            each
            for each in self.findings
            if each["level"] == level and about in each["about"] and text in each["text"]
        ]
        assert len(found) == 1, self.findings
        assert level == "ok" or found[0]["remedy"]
        return found[0]


Examine = Callable[..., Found]


@pytest.fixture
def tiny(node: Node, stub: StubSuite) -> Node:
    node.settings |= support.TINY | stub.settings() | {"CACHE_DIR": str(node.cache)}
    return node


@pytest.fixture
def examine(tiny: Node) -> Examine:
    def run(*, fit: bool, variant: str = "bookworm", before: str = INSTALLED) -> Found:
        code = 0 if fit else 1
        words = ("doctor", "--json", "--variant", variant)
        out, _ = tiny.kit(*words, exit_code=code, before=before)
        said = json.loads(out)
        assert said["fit"] == fit
        return Found(code, said["findings"])

    return run


@pytest.mark.quick
def test_a_fit_node(examine: Examine, tiny: Node, stub: StubSuite) -> None:
    found = examine(fit=True)
    found.one("ok", "variant bookworm", "bookworm (")
    found.one("ok", "gnt-os diagnose", "valid")
    found.one("ok", "mirrors of bookworm", f"file://{stub.archive} has bookworm-security")
    remedy = found.one("note", "cache of variant bookworm", "none")["remedy"]
    assert remedy == "instance-kit cache build bookworm"
    tiny.kit(*remedy.split()[1:])
    examine(fit=True).one("ok", "cache of variant bookworm", "0.0 days old")


def test_for_people_each_finding_has_a_line_and_a_remedy_below(tiny: Node) -> None:
    tiny.settings["FILESYSTEM"] = "ntfs"
    out, _ = tiny.kit("doctor", "--variant", "bookworm", exit_code=1, before=INSTALLED)
    lines = out.splitlines()
    (number,) = [number for number, line in enumerate(lines) if line.startswith("problem")]
    assert "ganeti-instance-debootstrap, line " in lines[number]
    assert 'FILESYSTEM="ntfs"' in lines[number]
    assert lines[number + 1].startswith(" " * 9) and "ganeti-os-debootstrap(7)" in lines[number + 1]


def test_wrong_settings_are_said_once_and_with_their_line(examine: Examine, tiny: Node) -> None:
    tiny.settings |= {"FILESYSTEM": "ntfs", "SUIT": "x"}
    found = examine(fit=False)
    names = [*tiny.settings]
    line = names.index("FILESYSTEM") + 1
    found.one("problem", "variant bookworm", f"line {line}: FILESYSTEM")


def test_odd_settings_are_notes(examine: Examine, tiny: Node) -> None:
    tiny.settings["FILESYTEM"] = "xfs"
    found = examine(fit=True)
    found.one("note", "settings", f"line {len(tiny.settings)}: unknown setting FILESYTEM")


def test_a_variant_that_is_not_there(examine: Examine) -> None:
    examine(fit=False, variant="bookwrom").one("problem", "variant bookwrom", "is missing")


def test_a_suite_that_left_the_mirrors_is_a_note(examine: Examine, tiny: Node) -> None:
    """The kit itself has such a variant."""
    tiny.settings["MIRROR"] = ""
    examine(fit=True, variant="buster").one("note", "variant buster", "set MIRROR")


def test_programs_that_are_missing(examine: Examine, tiny: Node) -> None:
    tiny.hidden = ["/usr/bin/zstd", "/usr/sbin/mkfs.btrfs"]
    found = examine(fit=False)
    assert found.one("problem", "programs", "zstd")["remedy"] == "apt-get install zstd"
    assert found.one("note", "programs", "mkfs.btrfs")["remedy"] == "apt-get install btrfs-progs"


def test_a_mirror_without_the_suite(examine: Examine, tiny: Node, tmp_path: Path) -> None:
    tiny.settings["MIRROR"] = f"file://{tmp_path}"
    examine(fit=False).one("problem", "mirrors of bookworm", "does not have it")


def test_a_mirror_without_security_updates(examine: Examine, tiny: Node, tmp_path: Path) -> None:
    tiny.settings["SECURITY_MIRROR"] = f"file://{tmp_path}"
    examine(fit=False).one("problem", "mirrors of bookworm", "no security updates")


def test_keys_that_are_not_those_of_the_archive(examine: Examine, tiny: Node) -> None:
    keyring = Path(tiny.settings["KEYRING"])
    tiny.settings["KEYRING"] = str(tiny.directory / "none.gpg")
    examine(fit=False).one("problem", "variant bookworm", "does not exist")
    tiny.settings["KEYRING"] = "/usr/share/keyrings/debian-archive-keyring.gpg"
    examine(fit=False).one("problem", "mirrors of bookworm", "has no valid signature")
    assert keyring.is_file()


def test_a_mirror_that_does_not_answer_is_not_waited_for(examine: Examine, tiny: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tiny.settings["MIRROR"] = f"http://127.0.0.1:{server.getsockname()[1]}/debian"
        examine(fit=False).one("problem", "mirrors of bookworm", "no answer within 7 s")


def test_a_cache_that_creates_would_refuse_or_make_anew(examine: Examine, tiny: Node) -> None:
    damaged = tiny.cache / "cache-sid-amd64-0123456789abcdef.tar.zst"
    damaged.write_bytes(b"no zstd")
    open_to_all = tiny.cache / "cache-sid-amd64-fedcba9876543210.tar.zst"
    open_to_all.write_bytes(b"\x28\xb5\x2f\xfd")
    open_to_all.chmod(0o666)
    found = examine(fit=False)
    found.one("problem", "cache", f"{damaged.name}: it is damaged")
    found.one("problem", "cache", f"{open_to_all.name}: others may write to it")
    tiny.cache.chmod(0o777)
    examine(fit=False).one("problem", "cache", "others may write to it (")


def test_leftovers(examine: Examine, tiny: Node) -> None:
    (tiny.cache / ".build.abcdefgh.part").write_bytes(b"x")
    remedy = examine(fit=True).one("note", "leftovers", "file")["remedy"]
    assert remedy == "instance-kit gc"


def test_a_cache_directory_without_room(examine: Examine, tiny: Node) -> None:
    mount = f"mount -t tmpfs -o size=1m,mode=700 none {tiny.cache}\n"
    examine(fit=False, before=INSTALLED + mount).one("problem", "cache", "only")


def test_hooks_that_do_what_the_kit_does(examine: Examine, tiny: Node) -> None:
    tiny.settings["HOOK_NETWORK"] = "yes"
    tiny.hook("net", 'echo "# no grub-install" > "$TARGET/etc/network/interfaces" # mkfs')
    tiny.hook("quiet", "# etc/network/interfaces\ntrue")
    tiny.hook("with.dot", "true")
    tiny.hook("off", "true").chmod(0o644)
    found = examine(fit=True)
    assert "HOOK_NETWORK=no" in found.one("note", "site hook net", "it uses etc/net")["remedy"]
    found.one("note", "site hooks", "with.dot is not run")
    found.one("note", "site hooks", "off is not run")
    found.one("ok", "site hooks", "net, quiet")


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (EMPTY, "is not in"),
        (f"{EMPTY}mkdir /usr/share/ganeti/os/debootstrap", "is invalid"),
        (
            f"{EMPTY}mkdir /usr/share/ganeti/os/debootstrap\n"
            "touch /usr/share/ganeti/os/debootstrap/create",
            "Ganeti uses",
        ),
    ],
)
def test_an_os_definition_that_ganeti_does_not_find(
    examine: Examine, before: str, text: str
) -> None:
    examine(fit=False, before=before).one("problem", "gnt-os diagnose", text)


def test_no_kernel_for_libguestfs_fails_only_renames(examine: Examine) -> None:
    found = examine(fit=True, before=INSTALLED + "mount -t tmpfs none /boot\n")
    assert "linux-image" in found.one("note", "kernel for libguestfs", "rename")["remedy"]


def test_settings_that_cannot_be_read(examine: Examine, tiny: Node) -> None:
    tiny.settings["X"] = '"; ls; A="'
    examine(fit=False).one("problem", "variant bookworm", "is not an assignment")


def test_what_takes_too_long_is_ended() -> None:
    def forever() -> str:
        time.sleep(1000)
        return "never"

    assert at_once({"a": lambda: ["x"], "b": forever}, 2.0) == {"a": ["x"]}
