"""What becomes of the end of a program on the KVM host."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from converter.errors import SourceLost
from converter.sources.ssh_helper import Location
from importer.errors import HostLost
from importer.host import connection
from importer.host.connection import KvmHost
from node.errors import CommandError, KitError
from node.run import Result

MARK = "ganeti-instance-kit-output\n"


class Master:
    """The process of the connection."""

    pid = 7

    def __init__(self, *complaints: str, running: bool = True) -> None:
        self.complaints = deque(complaints)
        self.running = running

    def wait_for(self, condition: Callable[[], bool], _seconds: float) -> None:
        if not condition():
            raise KitError("nothing came", hint="wait")

    def complained(self, word: str) -> bool:
        return any(word in line for line in self.complaints)


class Programs:
    """How the next program ends; and what was run."""

    def __init__(self, *results: Result) -> None:
        self.results = list(results)
        self.asked: list[tuple[list[str], dict[str, Any]]] = []

    def __call__(self, argv: Sequence[str], **options: Any) -> Result:
        self.asked.append((list(argv), options))
        return self.results.pop(0)


def host(
    monkeypatch: pytest.MonkeyPatch, *results: Result, master: Master | None = None
) -> tuple[KvmHost, Programs]:
    programs = Programs(*results)
    monkeypatch.setattr(connection, "run", programs)
    location = Location(None, "kvm1", None, "/-", None)
    return KvmHost("kvm1", location, master or Master()), programs  # type: ignore[arg-type]


def test_what_startup_files_print_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm, programs = host(monkeypatch, Result(0, f"Welcome!\n{MARK}a\nb\n", ""))
    assert kvm.run(["printf", "a b"], input="x") == Result(0, "a\nb\n", "")
    argv, options = programs.asked[0]
    assert argv[-1].endswith("timeout --kill-after=5 120 printf 'a b'")
    assert options == {"input": "x", "check": False, "ends_with_us": True}


def test_a_script_gets_its_arguments_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm, programs = host(monkeypatch, Result(0, MARK, ""))
    kvm.script('echo "$1"', "a b", what="greeting", seconds=2.5)
    argv, _ = programs.asked[0]
    assert argv[-1].endswith("timeout --kill-after=5 2.5 sh -euc 'echo \"$1\"' greeting 'a b'")


def test_a_failure_has_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm, _ = host(monkeypatch, Result(1, MARK, "error: first\nerror: no domain 'x'\n\n"))
    with pytest.raises(CommandError) as caught:
        kvm.run(["virsh", "start", "x y"], what="virsh start of x y")
    assert caught.value.message == "virsh start of x y on kvm1: no domain 'x' (exit code 1)"
    assert caught.value.hint == "run it there to see more: ssh kvm1 'virsh start '\"'\"'x y'\"'\"''"


def test_a_failure_that_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm, _ = host(monkeypatch, Result(1, f"{MARK}no\n", "why"))
    assert kvm.run(["false"], check=False) == Result(1, "no\n", "why")


@pytest.mark.parametrize(
    ("code", "stderr", "message"),
    [
        (127, "timeout: failed to run command 'virsh': No such file", "virsh is not on that host"),
        (127, "sh: 1: exec: virsh: not found", "virsh is not on that host"),
        (124, "", "no end within 9 s"),
        (137, "", "no end within 9 s"),
    ],
)
def test_programs_that_do_not_end_by_themselves(
    monkeypatch: pytest.MonkeyPatch, code: int, stderr: str, message: str
) -> None:
    kvm, _ = host(monkeypatch, Result(code, MARK, stderr))
    with pytest.raises(KitError, match=message):
        kvm.run(["virsh", "list"], seconds=9, check=False)


def test_255_may_be_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm, _ = host(monkeypatch, Result(255, MARK, ""))
    assert kvm.run(["sh"], check=False).exit_code == 255


@pytest.mark.parametrize(
    ("stdout", "master"),
    [
        (MARK, Master("Timeout, server kvm1 not responding.", running=False)),
        ("", Master("Timeout, server kvm1 not responding.")),
    ],
)
def test_a_lost_connection(monkeypatch: pytest.MonkeyPatch, stdout: str, master: Master) -> None:
    kvm, _ = host(monkeypatch, Result(255, stdout, "Broken pipe\n"), master=master)
    with pytest.raises(HostLost, match=r"kvm1: no connection: Timeout, server kvm1 not responding"):
        kvm.run(["true"], check=False)


def test_too_many_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = "mux_client_request_session: session request failed: Session open refused by peer\n"
    kvm, _ = host(monkeypatch, Result(255, "", f"{refused}Connection closed by UNKNOWN\n"))
    with pytest.raises(KitError, match="allows no more sessions") as caught:
        kvm.run(["true"])
    assert not isinstance(caught.value, HostLost)


def test_a_refused_channel_is_not_why_the_connection_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master = Master("channel 2: open failed: connect failed: open failed", running=False)
    kvm, _ = host(monkeypatch, Result(255, "", "Connection closed\n"), master=master)
    with pytest.raises(HostLost, match="no connection: Connection closed"):
        kvm.run(["true"])


def test_forwarded_sockets_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm, programs = host(monkeypatch, *[Result(0, "", "")] * 4)
    with kvm.forwarded("/tmp/x") as first, kvm.forwarded("/tmp/x") as second:
        assert (str(first), str(second)) == (
            "/proc/7/root/sys/socket0",
            "/proc/7/root/sys/socket1",
        )
    asked = [(argv[argv.index("-O") + 1], argv[argv.index("-L") + 1]) for argv, _ in programs.asked]
    assert asked == [
        ("forward", "/sys/socket0:/tmp/x"),
        ("forward", "/sys/socket1:/tmp/x"),
        ("cancel", "/sys/socket1:/tmp/x"),
        ("cancel", "/sys/socket0:/tmp/x"),
    ]


def test_a_socket_goes_with_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm, _ = host(monkeypatch, Result(0, "", ""), Result(255, "", "gone"))
    with pytest.raises(SourceLost), kvm.forwarded("/tmp/x"):
        raise SourceLost("lost")


@pytest.mark.parametrize(("running", "expected"), [(True, KitError), (False, HostLost)])
def test_a_forwarding_that_is_refused(
    monkeypatch: pytest.MonkeyPatch, running: bool, expected: type
) -> None:
    refused = Result(255, "", "mux_client_forward: forwarding request failed\n")
    kvm, _ = host(monkeypatch, refused, master=Master(running=running))
    failing = pytest.raises(KitError, match="forwarding request failed")
    with failing as caught, kvm.forwarded("/tmp/x"):
        pass
    assert type(caught.value) is expected


def test_a_server_that_forwards_no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm, _ = host(monkeypatch, master=Master("channel 2: open failed: connect failed"))
    refused = pytest.raises(KitError, match="does not forward unix sockets")
    with refused as caught, kvm.first_use("/a on kvm1"):
        raise SourceLost("the connection was lost")
    assert "AllowStreamLocalForwarding yes" in caught.value.hint


def test_another_failure_of_the_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm, _ = host(monkeypatch)
    with pytest.raises(SourceLost), kvm.first_use("/a on kvm1"):
        raise SourceLost("the connection was lost")


@pytest.mark.parametrize(
    ("error", "running", "expected"),
    [
        (KitError("qemu-nbd: ended", hint=""), True, KitError),
        (KitError("qemu-nbd: ended", hint=""), False, HostLost),
        (SourceLost("read failed"), False, SourceLost),
    ],
)
def test_errors_of_services(
    monkeypatch: pytest.MonkeyPatch, error: KitError, running: bool, expected: type
) -> None:
    kvm, _ = host(monkeypatch, master=Master(running=running))
    with pytest.raises(KitError) as caught, kvm.noticing_loss():
        raise error
    assert type(caught.value) is expected
