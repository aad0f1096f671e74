"""Commands for the master and other nodes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from importer import ganeti
from importer.ganeti import Access, Ganeti
from node import cluster
from node.errors import CommandError, KitError
from node.run import Result

ACCESS = Access("cluster.example.org", ipv6=False, ports={"node3.example.org": 2222})
HERE = Ganeti("node1.example.org", "node2.example.org", ACCESS)


def test_the_master_is_reached_as_ganeti_does_it() -> None:
    assert HERE.command(["gnt-instance", "info", "a b"]) == [
        "ssh",
        "-oEscapeChar=none",
        "-oHashKnownHosts=no",
        "-oGlobalKnownHostsFile=/var/lib/ganeti/known_hosts",
        "-oUserKnownHostsFile=/dev/null",
        "-oCheckHostIp=no",
        "-oConnectTimeout=10",
        "-oHostKeyAlias=cluster.example.org",
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=yes",
        "-4",
        "root@node2.example.org",
        "gnt-instance info 'a b'",
    ]


def test_a_node_may_have_another_port_and_ipv6() -> None:
    access = Access("cluster.example.org", ipv6=True, ports={"node3.example.org": 2222})
    argv = access.command("node3.example.org", ["true"])
    assert "-oPort=2222" in argv and "-6" in argv and "-4" not in argv


def test_on_the_master_commands_run_as_they_are() -> None:
    master = Ganeti("node2.example.org", "node2.example.org", ACCESS)
    assert master.command(["gnt-cluster", "info"]) == ["gnt-cluster", "info"]


def answering(
    monkeypatch: pytest.MonkeyPatch, exit_code: int, stdout: str = "", stderr: str = ""
) -> list[Sequence[str]]:
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str], *, check: bool = True, what: str, **_: Any) -> Result:
        asked.append(argv)
        if check and exit_code:
            raise CommandError(
                f"{what}: {stderr}", exit_code=exit_code, stdout=stdout, stderr=stderr, hint="see"
            )
        return Result(exit_code, stdout, stderr)

    monkeypatch.setattr(ganeti, "run", run)
    return asked


def test_if_the_master_lets_us_not_in_the_remedy_ends_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answering(monkeypatch, 255, stderr="Permission denied (publickey).")
    for check in (True, False):
        with pytest.raises(KitError) as failed:
            HERE.run(["gnt-instance", "start", "a b"], check=check)
        assert failed.value.message == (
            "gnt-instance start on node2.example.org: Permission denied (publickey)."
        )
        assert failed.value.hint == (
            "is node2.example.org up? If it does not let this node in, on node2.example.org:"
            " gnt-node modify --master-candidate=yes node1.example.org; then this again"
        )


def test_a_command_that_fails_there_may_be_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 1, stderr="Failure")
    assert HERE.run(["gnt-job", "wait", "1"], check=False).exit_code == 1
    with pytest.raises(CommandError):
        HERE.run(["gnt-job", "wait", "1"])


def test_lists_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, 0, "web|192.0.2.1\ndb|-\n")
    assert HERE.listed("instance", ("name", "nic.ips")) == [["web", "192.0.2.1"], ["db", "-"]]
    assert asked[0][-1] == ("gnt-instance list --no-headers '--separator=|' --output=name,nic.ips")


def test_an_odd_list_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 0, "web|1|2\n")
    with pytest.raises(KitError, match="cannot be parsed"):
        HERE.listed("instance", ("name", "nic.ips"))


def test_the_cluster_is_read_from_ssconf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "SSCONF", tmp_path)
    monkeypatch.setattr(cluster, "this_node", lambda: "node1.example.org")
    with pytest.raises(KitError, match="in no cluster"):
        ganeti.of_this_node()
    for key, text in (
        ("master_node", "node2.example.org\n"),
        ("cluster_name", "cluster.example.org\n"),
        ("primary_ip_family", "10\n"),
        ("ssh_ports", "node1.example.org=22\nnode2.example.org=2222\n"),
    ):
        (tmp_path / f"ssconf_{key}").write_text(text)
    found = ganeti.of_this_node()
    assert (found.here, found.master) == ("node1.example.org", "node2.example.org")
    argv = found.command(["true"])
    assert "-6" in argv and "-oPort=2222" in argv
    assert "-oHostKeyAlias=cluster.example.org" in argv
