from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import oslogs
from kit.oslogs import Event

DIRECTORY = Path(__file__).parents[2] / "data/oslogs"
LOG = next(DIRECTORY.iterdir())
TEXT = LOG.read_text()
WEB = "web.example.org"


def made(name: str, time: float, kind: str = "create", old: str | None = None) -> Event:
    return Event(f"/{time}", kind, name, old, time, f"day {time}")


def test_the_log_of_a_create_is_told_by_what_it_says() -> None:
    found = oslogs.event(str(LOG), TEXT, 5.0)
    assert found == Event(str(LOG), "create", WEB, None, 5.0, "2026-11-25 21:40:00")


def test_a_reinstall_has_the_same_name_of_its_log() -> None:
    found = oslogs.event(str(LOG), TEXT.replace("create of", "reinstall of"), 5.0)
    assert found is not None and found.kind == "reinstall"


def test_another_instance_whose_name_ends_alike() -> None:
    name = "add-debootstrap+bookworm-x-web.example.org-2026-11-25_21_40_00.log"
    found = oslogs.event(name, TEXT.replace(WEB, f"x-{WEB}"), 5.0)
    assert found is not None and found.instance == f"x-{WEB}"
    assert oslogs.story([found], WEB) is None


def test_a_rename_is_told_by_what_it_says() -> None:
    name = "rename-debootstrap+default-a-b.example.org-c-d.example.org-2026-01-02_03_04_05.log"
    text = "rename of a-b.example.org to c-d.example.org\n  /etc/hostname says c-d.example.org\n"
    found = oslogs.event(name, text, 1.0)
    assert found is not None
    assert (found.kind, found.old_name, found.instance) == (
        "rename",
        "a-b.example.org",
        "c-d.example.org",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (LOG.name, "error: settings: no\nhint: mend them\n"),  # it touched no disk
        (LOG.name, ""),
        (LOG.name, TEXT.replace(WEB, "other.example.org")),
        ("add-snf-image+default-web.example.org-2026-11-25_21_40_00.log", "something else"),
        ("web.example.org.log", TEXT),
        ("rename-x-a-b-2026-01-02_03_04_05.log", "error: environment\n"),
    ],
    ids=["failed early", "empty", "another instance", "another OS", "another name", "bad rename"],
)
def test_logs_that_tell_nothing(name: str, text: str) -> None:
    assert oslogs.event(name, text, 1.0) is None


def test_the_newest_installation_counts() -> None:
    story = oslogs.story([made(WEB, 1.0), made(WEB, 3.0, "reinstall"), made(WEB, 2.0)], WEB)
    assert story is not None and story.created.time == 3.0 and story.since == ()


def test_a_first_part_stands_for_a_name_if_for_one_only() -> None:
    events = [made(WEB, 1.0), made(WEB, 2.0), made("db.example.org", 3.0)]
    assert oslogs.whole_name(events, "web") == WEB
    assert oslogs.whole_name([*events, made("web.example.net", 4.0)], "web") == "web"
    assert oslogs.whole_name([*events, made("web", 4.0)], "web") == "web"
    assert oslogs.whole_name(events, "we") == "we"


def test_after_a_rename_the_old_name_has_the_log() -> None:
    renamed = made("new", 5.0, "rename", WEB)
    others = [made(WEB, 6.0), made("new", 1.0)]  # an instance that got the free name, and one gone
    story = oslogs.story([made(WEB, 2.0), renamed, *others], "new")
    assert story is not None
    assert story.created.time == 2.0 and story.since == (renamed,)


def test_a_reinstall_after_a_rename() -> None:
    story = oslogs.story(
        [made(WEB, 2.0), made("new", 5.0, "rename", WEB), made("new", 7.0, "reinstall")], "new"
    )
    assert story is not None and story.created.time == 7.0


STREAM = (
    "2026-11-26 00:39:30,032: the stream on stdin is the kit's own\n"
    "2026-11-26 00:39:30,037: disk 0 of old-1.example.org: a disk of 2 GiB, exported by"
    " ganeti-instance-kit 0.1.0\n"
)
WRITTEN = "2026-11-26 00:39:32,179: /srv/disk0: written and flushed\n"


def imported(name: str, time: float, text: str = STREAM + WRITTEN, disk: int = 0) -> Event | None:
    """As Ganeti names the log of an import, and of the receiving end of an export."""
    path = f"/import-debootstrap+bookworm-{name}-disk{disk}-2026-11-26_00_39_27.log"
    return oslogs.event(path, text, time)


def kinds(events: list[Event | None], name: str) -> list[tuple[str, str | None]]:
    story = oslogs.story([each for each in events if each is not None], name)
    assert story is not None
    return [(each.kind, each.failure) for each in story.since]


def test_an_import_is_named_once_whatever_the_number_of_disks() -> None:
    events = [made("old", 1.0), *(imported(WEB, 5.0 + disk, disk=disk) for disk in (0, 1))]
    events += [made(WEB, 8.0, "rename", "old")]
    assert kinds(events, WEB) == [("rename", None), ("import", None)]


@pytest.mark.parametrize("last", ["written and flushed", "restored from the dump"])
@pytest.mark.parametrize("disk", ["/srv/disk0", "/dev/vg/disk0 (/dev/dm-3)"])
def test_an_import_that_succeeded(last: str, disk: str) -> None:
    found = imported(WEB, 5.0, f"{STREAM}2026-11-26 00:39:32,179: {disk}: {last}\n")
    assert found is not None and found.failure is None


def test_the_receiving_end_of_an_export_is_no_import() -> None:
    """Its log has the same name, and is empty: no script runs there."""
    assert imported(WEB, 5.0, "") is None
    assert imported(WEB, 5.0, "2026-11-26 00:39:30,032: socat: E connection reset\n") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{STREAM}2026-11-26 00:39:32,179: error: the stream: it ends\n", "the stream: it ends"),
        ("2026-11-26 00:39:32,179: error: import of disk 0: it is empty\n", None),
        (STREAM, "it did not finish"),
        (f"{STREAM}{WRITTEN}error: flush of /srv/disk0\n", "flush of /srv/disk0"),
        (f"{STREAM}/etc/fstab: it has no /x: restored from the dump\n", "it did not finish"),
    ],
)
def test_an_import_that_failed_is_said_to_have(text: str, why: str | None) -> None:
    found = imported(WEB, 5.0, text)
    assert found is not None
    assert found.failure == (why or "import of disk 0: it is empty")


def test_each_disk_whose_import_failed_is_named() -> None:
    events = [made(WEB, 1.0), imported(WEB, 5.0), imported(WEB, 6.0, STREAM, disk=1)]
    events += [made(WEB, 8.0, "rename", WEB)]
    assert kinds(events, WEB)[1:] == [("import", "it did not finish"), ("import", None)]


def test_an_older_import_of_the_name_was_of_another_guest() -> None:
    renamed = made(WEB, 8.0, "rename", "old")
    assert kinds([made("old", 1.0), imported(WEB, 2.0), made(WEB, 3.0), renamed], WEB) == [
        ("rename", None)
    ]
    earlier = [made("old", 1.0), imported(WEB, 2.0, STREAM), made(WEB, 3.0, "rename", "old")]
    assert kinds([*earlier, imported(WEB, 5.0), renamed], WEB) == [
        ("rename", None),
        ("import", None),
    ]


def test_an_import_of_a_longer_name_is_not_that_of_a_shorter() -> None:
    longer = f"old-{WEB}"
    events = [made(WEB, 1.0), imported(longer, 5.0), made(longer, 6.0, "rename", WEB)]
    assert kinds(events, WEB) == []
    assert kinds(events, longer) == [("rename", None), ("import", None)]


def test_a_rename_that_failed_in_the_guest() -> None:
    name = "rename-debootstrap+default-a.example.org-b.example.org-2026-01-02_03_04_05.log"
    text = "rename of a.example.org to b.example.org\nerror: /etc/hostname in the guest: no\n"
    found = oslogs.event(name, text, 1.0)
    assert found is not None and found.failure == "/etc/hostname in the guest: no"


def test_facts_are_those_behind_the_end_and_nothing_that_a_hook_says() -> None:
    facts = oslogs.facts(TEXT)
    assert facts is not None
    assert facts.password == "QGCUzjAiN5N2KhCpSbD83bfW"
    assert [(nic, str(address)) for nic, address in facts.addresses] == [
        ("eth0", "198.51.100.2/24"),
        ("eth0", "2001:db8:0:4f:a800:ff:fe42:c0b8/64"),
        ("eth1", "192.0.2.7/24"),
    ]
    assert [(key.type, key.bits) for key in facts.host_keys] == [("RSA", 3072), ("ED25519", 256)]


def test_a_password_that_is_not_known_is_said_to_be_so() -> None:
    words = "the password of root was set by a site hook"
    facts = oslogs.facts(f"done in 1.0 s:\n{words}\n")
    assert facts is not None and facts.password is None and facts.notes == (words,)


def test_a_create_that_failed_states_nothing() -> None:
    text = "create of a: b, hypervisor kvm\nerror: disk 0: full\nhint: more room\n"
    assert oslogs.facts(text) is None
    unfinished = TEXT.replace("\ndone in 21.3 s:", "")  # what a hook says is indented
    assert oslogs.facts(unfinished) is None
    assert oslogs.last_words(text) == "error: disk 0: full"
    assert oslogs.last_words("") == "the log is empty"


@given(st.text(alphabet=st.sampled_from("\n \tdone i.1s:rtpawh0/cfgue\x00\udcff")))
def test_no_text_breaks_it(text: str) -> None:
    oslogs.facts(f"done in 1.0 s:\n{text}")
    oslogs.event(LOG.name, text, 1.0)
