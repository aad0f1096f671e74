"""The command lines of virsh, and its answers as libvirt 9.0 prints them."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.host.virsh import (
    DomainInfo,
    DomainState,
    Versions,
    Virsh,
    fields,
    parse_domains,
    parse_info,
    parse_state,
    parse_versions,
)
from node.errors import KitError
from node.run import Result
from tests.unit.importer.fake_host import Answer, FakeHost, said

VIRSH = ["virsh", "--connect", "qemu:///system", "--quiet"]
UUID = "0e6a4f5c-1f3f-4a30-8a5f-6d2a4e1b7c11"
INFO = f"""\
Id:             7
Name:           web 1
UUID:           {UUID}
OS Type:        hvm
State:          shut off
CPU(s):         1
Max memory:     65536 KiB
Persistent:     yes
Managed save:   yes
Security model: none

"""
VERSION = """\
Compiled against library: libvirt 9.0.0
Using library: libvirt 9.0.0
Using API: QEMU 9.0.0
Running hypervisor: QEMU 7.2.22
Running against daemon: 8.5.1

"""
LIST = f"""\
{UUID} web1
41a15b8e-b104-46b1-bdb6-28a401578cd5 web 1

"""


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda virsh: virsh.domains(), ["list", "--all", "--uuid", "--name"]),
        (lambda virsh: virsh.dumpxml("-x y"), ["dumpxml", "--domain=-x y"]),
        (lambda virsh: virsh.dumpxml("a", inactive=True), ["dumpxml", "--domain=a", "--inactive"]),
        (lambda virsh: virsh.volume_xml("p q", "-v"), ["vol-dumpxml", "--pool=p q", "--vol=-v"]),
        (lambda virsh: virsh.suspend("a"), ["suspend", "--domain=a"]),
        (lambda virsh: virsh.resume("a"), ["resume", "--domain=a"]),
        (lambda virsh: virsh.start("a"), ["start", "--domain=a"]),
        (lambda virsh: virsh.snapshots("a"), ["snapshot-list", "--domain=a", "--name"]),
        (
            lambda virsh: virsh.checkpoints("a"),
            ["checkpoint-list", "--domain=a", "--name", "--topological"],
        ),
        (
            lambda virsh: virsh.checkpoint_delete("a", "c"),
            ["checkpoint-delete", "--domain=a", "--checkpointname=c"],
        ),
        (
            lambda virsh: virsh.checkpoint_delete("a", "c", metadata_only=True),
            ["checkpoint-delete", "--domain=a", "--checkpointname=c", "--metadata"],
        ),
    ],
)
def test_command_lines(call: Callable[[Virsh], object], words: list[str]) -> None:
    host = FakeHost(said())
    call(Virsh(host))
    assert host.asked == [[*VIRSH, *words]]


def test_versions() -> None:
    host = FakeHost(said(VERSION))
    assert Virsh(host).versions() == Versions((8, 5, 1), (7, 2, 22))
    assert host.asked == [[*VIRSH, "version", "--daemon"]]
    with pytest.raises(KitError, match="no versions in its output"):
        parse_versions(VERSION.replace("QEMU 7.2.22", "QEMU"))


def answers(info: Answer, listed: str = LIST) -> FakeHost:
    return FakeHost(lambda argv: Result(0, listed, "") if argv[4] == "list" else info(argv))


def test_a_domain_is_found_by_name_and_by_uuid() -> None:
    host = answers(said(INFO))
    assert Virsh(host).info("web 1") == DomainInfo(
        "web 1", UUID, "shut off", has_managed_save=True, is_persistent=True
    )
    assert Virsh(host).info(UUID).name == "web 1"
    assert host.asked == [
        [*VIRSH, "dominfo", "--domain=web 1"],
        [*VIRSH, "dominfo", f"--domain={UUID}"],
    ]
    assert (
        not Virsh(FakeHost(said(INFO.replace("save:   yes", "save:   no"))))
        .info(UUID)
        .has_managed_save
    )


def test_a_uuid_in_upper_case() -> None:
    """As dmidecode(8) of old versions prints it in the guest."""
    assert Virsh(FakeHost(said(INFO))).info(UUID.upper()).uuid == UUID


def test_a_domain_with_a_number_as_name_that_another_one_has_as_id() -> None:
    other = INFO.replace("web 1", "web1").replace(UUID, "0e6a4f5c-1f3f-4a30-8a5f-6d2a4e1b7c12")
    answers = {
        f"{UUID} 7\n": ("list",),
        other: ("dominfo", "--domain=7"),
        INFO.replace("web 1", "7"): ("dominfo", f"--domain={UUID}"),
    }

    def answer(argv: list[str]) -> Result:
        (text,) = (text for text, words in answers.items() if set(words) <= set(argv))
        return Result(0, text, "")

    assert Virsh(FakeHost(answer)).info("7")[:2] == ("7", UUID)


@pytest.mark.parametrize(
    ("info", "listed", "hint"),
    [
        (said(exit_code=1, stderr="error: failed to get domain '7'\n"), LIST, "web 1, web1"),
        (said(exit_code=1, stderr="error: failed to get domain '7'\n"), "\n", "none"),
        (said(INFO), LIST, "web 1, web1"),  # virsh took the name for a number
    ],
)
def test_a_domain_that_there_is_not(info: Answer, listed: str, hint: str) -> None:
    with pytest.raises(KitError, match="domain 7 on kvm1: libvirt has none") as caught:
        Virsh(answers(info, listed)).info("7")
    assert caught.value.hint == f"its domains: {hint}"


def test_domains() -> None:
    host = FakeHost(said(LIST))
    assert [each.name for each in Virsh(host).domains()] == ["web1", "web 1"]


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("running (booted)\n\n", DomainState("running", "booted")),
        ("paused (I/O error)\n", DomainState("paused", "I/O error")),
        ("shut off (shutdown)", DomainState("shut off", "shutdown")),
        ("in shutdown (guest (a) asked)", DomainState("in shutdown", "guest (a) asked")),
        ("crashed", DomainState("crashed", "")),
    ],
)
def test_states(text: str, state: DomainState) -> None:
    assert Virsh(FakeHost(said(text))).state("a") == state


def test_something_else_is_no_state() -> None:
    with pytest.raises(KitError, match="not a state"):
        parse_state("error: x")


def test_a_checkpoint_that_is_gone_is_deleted() -> None:
    gone = "error: Domain checkpoint not found: no domain checkpoint with matching name 'x'"
    Virsh(FakeHost(said(exit_code=1, stderr=gone))).checkpoint_delete("a", "x")


def test_names_are_lines() -> None:
    virsh = Virsh(FakeHost(said("first one\nsecond\n\n")))
    assert virsh.snapshots("a") == virsh.checkpoints("a") == ["first one", "second"]


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    fields(text)
    parse_domains(text)
    for parse in (parse_info, parse_state, parse_versions):
        with suppress(KitError):
            parse(text)
