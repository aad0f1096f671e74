"""The hooks of a site: those of ganeti-instance-debootstrap run as they are, and win."""

import re
import shutil
from pathlib import Path

import pytest

from tests.system.installer import support
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import Node, output

PACKAGE = "ganeti-instance-debootstrap"


@pytest.fixture
def tiny(node: Node, stub: StubSuite) -> Node:
    """A node that makes the smallest of guests."""
    node.settings |= support.TINY | stub.settings()
    node.disk(support.TINY_DISK)
    return node


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example hooks of the package, which is unpacked and not installed."""
    directory = tmp_path_factory.mktemp("package")
    download = f"apt-get --quiet download {PACKAGE}"
    again = f"{{ apt-get --quiet update && {download}; }}"  # the lists may be missing, or old
    output("sh", "-c", f'cd "$0" && {download} || {again}', directory)
    [package] = directory.glob("*.deb")
    output("dpkg", "-x", package, directory)
    return directory / f"usr/share/doc/{PACKAGE}/examples"


@pytest.mark.trixie
def test_the_example_hooks_win(node: Node, examples: Path) -> None:
    shutil.copytree(examples / "confdata", node.hooks / "confdata")
    for name in ("interfaces", "ssh-keys", "defaultpasswords", "timezone"):
        shutil.copy(examples / name, node.hooks / name)
        (node.hooks / name).chmod(0o755)  # the package ships them for reading
    (node.directory / "authorized_keys").write_text("ssh-ed25519 AAAA of the node's root\n")
    node.disk(support.DISK)
    with support.guest(node) as made:
        names = [f"site hook {node.hooks}/{name}" for name in
                 ("defaultpasswords", "interfaces", "ssh-keys", "timezone")]  # fmt: skip
        shown = [line.strip() for line in made.outcome.lines]
        assert [line for line in shown if line in names] == names
        assert made.has_password("s3cr3t")
        assert "root password" not in made.outcome.log
        configured = re.findall(r"configured eth0 with (.*)", made.outcome.log)
        if "iface eth0 inet dhcp" in made.read("etc/network/interfaces"):  # 0.16, of Debian 12
            assert configured == []
        else:  # 0.17 takes the address of Ganeti's network, of IPv4 alone
            assert "address 198.51.100.2\n  netmask 24\n" in made.read("etc/network/interfaces")
            assert configured == ["198.51.100.2/24"]
        assert made.outcome.log.count("SHA256:") == 3
        # cwd is the OS directory, where confdata/timezone is not: it is the node's then.
        zone = output("realpath", "--relative-to=/usr/share/zoneinfo", "/etc/localtime")
        assert made.read("etc/timezone") == zone
        assert made.read("root/.ssh/authorized_keys") == "ssh-ed25519 AAAA of the node's root\n"


def test_hooks_get_the_variables_of_old(tiny: Node) -> None:
    tiny.hook("show", 'env | sort; pwd; test -b "$BLOCKDEV" -a -b "$FSYSDEV"; ls "$TARGET/etc"')
    outcome = tiny.create().succeeded()
    shown = [line.strip() for line in outcome.lines]
    for line in (
        *(
            "SUITE=bookworm",
            "PARTITION_STYLE=msdos",
            "EXTRA_PKGS=",
            "INSTANCE_NAME=web1.example.org",
        ),
        *("NIC_0_IP=198.51.100.2", f"DISK_0_PATH={tiny.disks[0][0]}", str(support.OS_DIR), "fstab"),
    ):
        assert line in shown, line
    for name in ("TARGET", "ARCH", "BLOCKDEV", "FSYSDEV"):
        assert any(line.startswith(f"{name}=") for line in shown), name


def test_a_failing_hook_is_named_with_its_output(tiny: Node) -> None:
    hook = tiny.hook("50-license", "echo asking the server; echo no license left >&2; exit 3")
    tiny.hook("60-later", "echo this one must not run")
    outcome = tiny.create().failed(str(hook), "no license left", "exit code 3")
    assert "asking the server" in outcome.log
    assert "must not run" not in outcome.log
    support.nothing_is_held(tiny)
    hook.unlink()
    tiny.create().succeeded()


def test_a_hook_whose_interpreter_is_missing_is_named(tiny: Node) -> None:
    hook = tiny.hook("50-old", "")
    hook.write_text("#!/usr/bin/no-such-python\n")
    tiny.create().failed(f"site hook {hook}", "cannot be executed", "interpreter")
    support.nothing_is_held(tiny)


def test_what_run_parts_skips_is_not_run(tiny: Node) -> None:
    for name in ("10-old.dpkg-old", "20-backup~"):
        tiny.hook(name, "exit 1")
    tiny.hook("30-plain", "exit 1").chmod(0o644)
    tiny.create().succeeded()


# They tell by a file that they run in the guest.
DAEMONS = {
    "polite": "sh -c ': >/ready; exec sleep 3600'",
    "stubborn": "sh -c 'trap \"\" TERM; : >/ready; while :; do sleep 1; done'",
}


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_that_a_hook_leaves_is_named_and_ended(tiny: Node, daemon: str) -> None:
    quiet = "</dev/null >/dev/null 2>&1"
    ready = 'while ! [ -e "$TARGET/ready" ]; do sleep 0.02; done'
    tiny.hook("start", f'setsid chroot "$TARGET" {DAEMONS[daemon]} {quiet} & {ready}')
    with support.guest(tiny) as made:
        named = [line for line in made.outcome.lines if "was left running in the guest" in line]
        assert any("sleep (pid" in line or "sh (pid" in line for line in named), made.outcome.log
        assert made.outcome.seconds < 60
    support.nothing_is_held(tiny)


def test_a_daemon_that_is_just_about_to_enter_the_guest_is_ended(tiny: Node) -> None:
    tiny.hook("start", f'setsid chroot "$TARGET" {DAEMONS["stubborn"]} >/dev/null 2>&1 &')
    outcome = tiny.create().succeeded()
    assert "was left running in the guest" in outcome.log


def test_a_daemon_that_holds_the_hooks_output_does_not_hang_the_create(tiny: Node) -> None:
    tiny.hook("start", 'chroot "$TARGET" sleep 45 &')
    outcome = tiny.create().succeeded()
    assert "sleep (pid" in outcome.log
    assert outcome.seconds < 40


def test_a_hook_that_leaves_a_mount_does_not_keep_the_guest(tiny: Node) -> None:
    tiny.hook("mount", 'mount -t tmpfs none "$TARGET/mnt"; touch "$TARGET/mnt/lost"')
    with support.guest(tiny) as made:
        assert not list((made.root / "mnt").iterdir())
    support.nothing_is_held(tiny)


def test_a_daemon_that_holds_the_guest_from_outside_of_it_is_ended(tiny: Node) -> None:
    tiny.hook("start", 'cd "$TARGET/var"; exec 7<"$TARGET/etc/fstab"; sleep 3600 >/dev/null 2>&1 &')
    outcome = tiny.create().succeeded()
    assert "sleep (pid" in outcome.log


def test_a_policy_for_services_that_a_hook_writes_stays(tiny: Node) -> None:
    tiny.hook("policy", 'printf "#!/bin/sh\\nexit 104\\n" >"$TARGET/usr/sbin/policy-rc.d"')
    with support.guest(tiny) as made:
        assert made.read("usr/sbin/policy-rc.d") == "#!/bin/sh\nexit 104\n"
