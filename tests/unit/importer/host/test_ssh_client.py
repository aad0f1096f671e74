"""The command lines of ssh, and what its messages mean."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.sources.ssh_helper import Location
from importer.errors import HostLost
from importer.host import ssh_client
from importer.host.ssh_client import client, forwarding, location_of, master, not_connected
from node.errors import KitError

KVM1 = Location("root", "kvm1", 2222, "/-", None)
WORDS = st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))


@pytest.mark.parametrize(
    ("host", "user", "name", "port"),
    [
        ("kvm1", None, "kvm1", None),
        ("root@kvm1.example.org", "root", "kvm1.example.org", None),
        ("kvm1:2222", None, "kvm1", 2222),
        ("root@[2001:db8::1]:22", "root", "2001:db8::1", 22),
    ],
)
def test_hosts(host: str, user: str | None, name: str, port: int | None) -> None:
    assert location_of(host) == Location(user, name, port, "/-", None)


@pytest.mark.parametrize(
    "host", ["", "-oProxyCommand=x", "root@-x", "a/b", "a b", "me:secret@a", "a?x", "a#b", "a\n"]
)
def test_hosts_that_are_refused(host: str) -> None:
    with pytest.raises(KitError, match=r"^KVM host "):
        location_of(host)


def test_the_master() -> None:
    command = master(KVM1)
    assert command[:3] == ["unshare", "--mount", "--"]
    ssh = command[command.index("ssh", 6) :]
    assert {
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=yes",
        "-oServerAliveInterval=15",
        "-oServerAliveCountMax=3",
        "-oExitOnForwardFailure=yes",
        "-oControlMaster=yes",
        "-oControlPath=/sys/control",
        "-oControlPersist=no",
        "-oForwardAgent=no",
    } <= set(ssh)
    assert len({word.partition("=")[0] for word in ssh if word.startswith("-o")}) == sum(
        word.startswith("-o") for word in ssh
    )
    assert ssh[-7:-1] == ["-l", "root", "-p", "2222", "--", "kvm1"]
    assert ssh[-1] == ("exec sh -c 'echo \"$0\"; exec cat >/dev/null' ganeti-instance-kit-output")


def test_a_client() -> None:
    ssh = [
        *("ssh", "-F", "none", "-oBatchMode=yes", "-oProxyCommand=false"),
        *("-S", "/proc/7/root/sys/control", "--", "kvm1"),
    ]
    assert client(7, KVM1, ["virsh", "list"], None)[:-1] == ssh
    # Also when the server does not start the program.
    assert client(7, KVM1, ["virsh", "list"], 60)[:-1] == ["timeout", "--kill-after=5", "90", *ssh]


@given(words=WORDS)
def test_words_reach_a_program_as_they_are(words: list[str]) -> None:
    far = client(7, KVM1, words, 60)[-1]
    assert shlex.split(far) == [
        *("exec", "sh", "-c", ssh_client._RUN, "ganeti-instance-kit-output"),
        *("timeout", "--kill-after=5", "60", *words),
    ]
    assert shlex.split(client(7, KVM1, words, None)[-1])[5:] == words


def test_a_forwarded_socket() -> None:
    assert forwarding(7, KVM1, "forward", "socket0", "/tmp/a:b\\c")[5:] == [
        *("-S", "/proc/7/root/sys/control", "-O", "forward"),
        *("-L", "/sys/socket0:/tmp/a\\:b\\\\c", "--", "kvm1"),
    ]


CHANGED = """\
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
Offending ED25519 key in /root/.ssh/known_hosts:1
Host key for kvm1 has changed and you have requested strict checking.
Host key verification failed."""
UNKNOWN = """\
No ED25519 host key is known for kvm1 and you have requested strict checking.
Host key verification failed."""


@pytest.mark.parametrize(
    ("said", "message", "hint", "is_lost"),
    [
        (CHANGED, "is another one than in known_hosts", "ssh-keygen -R", False),
        (UNKNOWN, "its host key is not known here", "add it: ssh kvm1", False),
        (
            "root@kvm1: Permission denied (publickey,password).",
            "SSH does not let us in: root@kvm1: Permission denied",
            "authorized_keys",
            False,
        ),
        (
            "ssh: connect to host kvm1 port 22: Connection refused",
            "no connection: ssh: connect to host kvm1 port 22: Connection refused",
            "check the network",
            True,
        ),
        ("", "no connection: it ended without a message", "check the network", True),
    ],
)
def test_why_there_is_no_connection(said: str, message: str, hint: str, is_lost: bool) -> None:
    error = not_connected("kvm1", said.splitlines())
    assert message in error.message
    assert hint in error.hint
    assert isinstance(error, HostLost) is is_lost
