import json
import os
from ipaddress import ip_interface
from pathlib import Path

import pytest

from kit import FAILED, cli, dns, facts, oslogs
from kit.oslogs import HostKey
from node import cluster
from node.run import Result

DATA = Path(__file__).parents[2] / "data"
LOGS = DATA / "oslogs"
GOLDEN = DATA / "golden/kit"
WEB = "web.example.org"


@pytest.fixture(autouse=True)
def _node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "LOGS", LOGS)
    monkeypatch.setattr(cluster, "SSCONF", Path("/nonexistent"))
    monkeypatch.setattr(cluster, "this_node", lambda: "node1.example.org")
    monkeypatch.setattr(facts, "_require_private_stdout", lambda: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli.main(["facts", *argv]) == 0
    return capsys.readouterr().out.replace(f"{LOGS}/", "/var/log/ganeti/os/")


@pytest.mark.parametrize("how", ["text", "json", "dns"])
def test_golden(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = [] if how == "text" else [f"--{how}"]
    assert shown(capsys, WEB, *options) == (GOLDEN / f"facts-{how}").read_text()


def test_without_a_name_the_newest(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == shown(capsys, WEB)


def test_records_hold_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert "QGCUzj" not in shown(capsys, WEB, "--dns")


def test_names_have_no_capitals_in_ganeti(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "Web.Example.ORG") == shown(capsys, "WEB") == shown(capsys, WEB)


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of logs of the test's own; the newest is by name the last."""
    monkeypatch.setattr(facts, "LOGS", tmp_path)
    (log,) = LOGS.iterdir()
    (tmp_path / log.name).write_bytes(log.read_bytes())
    return tmp_path


@pytest.mark.parametrize("kind", ["link to itself", "link to nothing", "FIFO", "directory"])
def test_what_is_no_log_is_passed_over(
    kind: str, logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = logs / "add-debootstrap+default-x.example.org-2026-11-25_21_40_00.log"
    {
        "link to itself": lambda: path.symlink_to(path),
        "link to nothing": lambda: path.symlink_to("nothing"),
        "FIFO": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }[kind]()
    assert "root password" in shown(capsys, WEB)


def test_a_log_of_any_size_counts(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else an older one would be believed."""
    (log,) = logs.iterdir()
    text = log.read_text().replace("QGCUzjAiN5N2KhCpSbD83bfW", "newer")
    begin, end = text.split("hook site\n")
    newer = logs / log.name.replace("21_40", "22_40")
    newer.write_text(f"{begin}hook site\n{'    noise' * (9 << 20)}\n{end}")
    os.utime(log, (1, 1))
    assert "root password: newer" in shown(capsys, WEB)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (("import", None, "it ends"), "import day failed, the disk was not restored: it ends (/x)"),
        (("rename", "old", "no"), "renamed from old to web day, but not in the guest: no"),
    ],
)
def test_what_failed_later_is_noted(event: tuple[str, str | None, str], words: str) -> None:
    kind, old, failure = event
    assert facts._said(oslogs.Event("/x", kind, "web", old, 1.0, "day", failure)) == words


def failing(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    assert cli.main(["facts", *argv]) == FAILED
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_an_instance_that_no_log_knows(capsys: pytest.CaptureFixture[str]) -> None:
    error, hint = failing(capsys, "other.example.org")
    assert error == (
        "error: facts of other.example.org: no OS log of this node (node1.example.org) has them"
    )
    assert "another node" in hint


def test_where_this_node_is_not_the_master(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssconf_master_node").write_text("node2.example.org")
    (tmp_path / "ssconf_instance_list").write_text("other.example.org\n")
    monkeypatch.setattr(cluster, "SSCONF", tmp_path)
    assert "the master node2.example.org knows" in failing(capsys, "other.example.org")[1]
    assert "Ganeti has no instance gone" in failing(capsys, "gone")[1]
    assert shown(capsys, WEB).endswith(f"note: Ganeti has no instance {WEB} now\n")


def test_on_the_master_the_nodes_of_the_instance_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssconf_master_node").write_text("node1.example.org")
    (tmp_path / "ssconf_instance_list").write_text(f"other.example.org\n{WEB}\n")
    monkeypatch.setattr(cluster, "SSCONF", tmp_path)
    said = Result(0, "node2.example.org|node3.example.org\n", "")
    monkeypatch.setattr(cluster, "run", lambda *_args, **_options: said)
    hint = failing(capsys, "other.example.org")[1]
    assert hint.startswith("hint: look on node2.example.org and node3.example.org: instance-kit")
    assert "note: it runs on node2.example.org now" in shown(capsys, WEB)
    monkeypatch.setattr(cluster, "run", lambda *_args, **_options: Result(1, "", "no answer"))
    assert "which the master node1.example.org knows" in failing(capsys, "other.example.org")[1]


@pytest.mark.parametrize("name", ["-x", "a b", "../etc", "a\nb", ""])
def test_names_that_are_none(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "not a name of an instance" in failing(capsys, "--", name)[0]


def test_a_password_is_not_written_where_others_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for mode, refused in ((0o644, True), (0o640, True), (0o600, False)):
        path = tmp_path / f"{mode:o}"
        with path.open("w") as file:
            path.chmod(mode)
            monkeypatch.setattr("sys.stdout", file)
            if refused:
                with pytest.raises(facts.KitError, match="others may read"):
                    facts._require_private_stdout()
            else:
                facts._require_private_stdout()


def test_what_steers_a_terminal_is_escaped() -> None:
    created = oslogs.Event("/log\x1b[2J", "create", WEB, None, 1.0, "day")
    text = facts.as_text(WEB, created, oslogs.Facts(None, (), (), ("a\x1bb",)), ["a\x1bb"])
    assert "\x1b" not in text
    json.dumps(facts.as_json(WEB, created, oslogs.Facts(None, (), (), ()), []))


@pytest.mark.parametrize(("kind", "number"), [("RSA", 1), ("DSA", 2), ("ECDSA", 3), ("ED25519", 4)])
def test_sshfp_numbers(kind: str, number: int) -> None:
    digest = "p3HQV7JGYSTn1qJ2VQkMjFnNIvKgqPw1IkRxz1G6iFQ"
    key = HostKey(kind, 256, digest, "")
    assert dns.records("a", (), [key]) == [
        f"a. IN SSHFP {number} 2 a771d057b2466124e7d6a27655090c8c59cd22f2a0a8fc35224471cf51ba8854"
    ]


def test_a_kind_of_key_without_a_number_has_no_record() -> None:
    assert dns.records("a", (), [HostKey("XMSS", 256, "A" * 43, "")]) == []


def test_reverse_names() -> None:
    found = dns.records("a", [("eth0", ip_interface("2001:db8::1/64"))], [])
    assert found[1] == (
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. IN PTR a."
    )
