"""Settings that let people in and keep guests up to date, looked at in guests that have them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guest.authorized_keys import parse
from tests.system.installer import support
from tests.system.installer.support import Guest, Node, output

NODES_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOi7q3YNvBFNDhj1dBpgIKZ0PTWvpZT2dXa9kAPSdJ9d admin"
ADAS_KEY = (
    'from="192.0.2.1,198.51.100.7" ssh-ed25519'
    " AAAAC3NzaC1lZDI1NTE5AAAAIFRo3v0IVLcxVXH8vJxQxn7QqVv1yTQDeZqJ6FZyGUfI ada@example.org"
)
SOURCES = """\
Types: deb
URIs: http://apt.example.org/site
Suites: stable
Components: main
Signed-By: {keyring}
"""
# The guest's own programs judge what was written; what they say ends up in the log.
JUDGE = """
chroot "$TARGET" sh -ec '
mkdir -p /run/sshd
sshd -t
visudo -c
su -l ada -c "sudo -n id -un"
sshd -T -C user=ada,host=x,addr=192.0.2.1 | grep -i permitrootlogin
apt-config dump Acquire::http::Proxy
apt-get update --print-uris'
"""


@pytest.fixture(scope="module")
def guest(new_node: Callable[[], Node]) -> Iterator[Guest]:
    node = new_node()
    keyring = node.directory / "site.gpg"
    keyring.write_bytes(b"\x99 no text")
    sources = node.directory / "site.sources"
    sources.write_text(SOURCES.format(keyring=keyring))
    (node.directory / "authorized_keys").write_text(NODES_KEY)  # without a newline
    node.settings |= {
        "GUEST_PROXY": "http://proxy.example.org:3128",
        "EXTRA_SOURCES": str(sources),
    }
    node.parameters |= {
        "ssh_keys": f"# of the team\n{ADAS_KEY}\n",
        "user": "ada",
        "root_login": "no",
        "kernel_args": "mitigations=auto,nosmt  systemd.unit=rescue.target",
    }
    node.hook("judge", JUDGE)
    node.disk(support.DISK)
    with support.guest(node) as made:
        yield made


def test_keys_of_a_file_pass_the_command_line_as_the_manual_says(tmp_path: Path) -> None:
    keys = f'command="echo \\"a\\\\b\\"" {NODES_KEY}, the first\n{ADAS_KEY}'
    (tmp_path / "ada.pub").write_text(f"{keys}\n")
    manual = output("man", "--local-file", support.TOP / "man/ganeti-os-debootstrap.7")
    value = re.search(r'-O ("user=ada,ssh_keys=.*?ada\.pub\)")', manual)
    assert value is not None
    # What Ganeti makes of the value of -O.
    split = (
        "import sys; sys.path.insert(0, '/usr/share/ganeti/3.0');"
        "from ganeti.cli_opts import _SplitKeyVal;"
        "sys.stdout.write(_SplitKeyVal('-O', sys.argv[1], True)['ssh_keys'])"
    )
    script = f'cd {tmp_path}; /usr/bin/python3 -c "$1" {value[1]}'
    assert output("sh", "-ec", script, "sh", split) == keys
    assert len(parse(keys)) == 2


def test_the_guests_own_programs_find_no_fault(guest: Guest) -> None:
    log = guest.outcome.log
    assert re.search(r"/etc/sudoers\.d/ganeti-instance-kit: parsed OK", log)
    assert re.search(r"^ *root$", log, re.MULTILINE), "sudo of the user"
    assert re.search("permitrootlogin no", log)
    assert 'Acquire::http::Proxy "http://proxy.example.org:3128";' in log
    assert "'http://apt.example.org/site/dists/stable/InRelease'" in log


def test_the_user_has_the_keys_and_root_has_none(guest: Guest) -> None:
    assert guest.read("home/ada/.ssh/authorized_keys") == f"{NODES_KEY}\n{ADAS_KEY}\n"
    entry = next(line for line in guest.read("etc/passwd").splitlines() if line.startswith("ada:"))
    uid, gid = map(int, entry.split(":")[2:4])
    assert uid >= 1000
    for path, mode in ((".", None), (".ssh", 0o700), (".ssh/authorized_keys", 0o600)):
        status = (guest.root / "home/ada" / path).stat()
        assert (status.st_uid, status.st_gid) == (uid, gid), path
        assert mode is None or status.st_mode & 0o7777 == mode, path
    assert guest.mode("etc/sudoers.d/ganeti-instance-kit") == 0o440
    assert not (guest.root / "root/.ssh/authorized_keys").exists()
    shadow = next(line for line in guest.read("etc/shadow").splitlines() if line.startswith("ada:"))
    assert shadow.split(":")[1] in ("!", "*")


def test_the_kernel_gets_the_arguments_behind_ours(guest: Guest) -> None:
    lines = [line for line in guest.read("boot/grub/grub.cfg").splitlines() if "root=UUID" in line]
    wanted = "console=tty0 console=ttyS0,115200n8 mitigations=auto,nosmt systemd.unit=rescue.target"
    assert lines and all(wanted in line for line in lines)


def test_the_keyring_of_a_source_comes_along(guest: Guest) -> None:
    keyring = guest.node.directory / "site.gpg"
    assert (guest.root / str(keyring).lstrip("/")).read_bytes() == keyring.read_bytes()
    assert guest.mode("etc/apt/sources.list.d/site.sources") == 0o644
