"""What the users of mount, umount, shell and cp give and get."""

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from kit import FAILED, USAGE, cli, cp, instance_disks, mount, umount
from kit.cp import InGuest
from kit.instance_disks import Disks
from kit.rescue import copy_out, keeper, records
from kit.rescue.records import Record
from kit.rescue.target import Target
from node import cluster
from node.errors import KitError

WEB = "web.example.org"


@pytest.fixture(autouse=True)
def _node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "DIRECTORY", tmp_path / "mounts")
    monkeypatch.setattr(cluster, "SSCONF", Path("/nonexistent"))
    monkeypatch.setattr("os.geteuid", lambda: 0)


def failing(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[str, str]:
    assert cli.main(argv) == FAILED
    error, hint = capsys.readouterr().err.splitlines()
    return error, hint


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("web1:/etc/fstab", InGuest("web1", "/etc/fstab")),
        ("web1:/", InGuest("web1", "/")),
        ("/dev/vg/lv:/a:/b", InGuest("/dev/vg/lv", "/a:/b")),
        (
            "/dev/disk/by-path/pci-0000:00:1f.2-ata-1:/x",
            InGuest("/dev/disk/by-path/pci-0000:00:1f.2-ata-1", "/x"),
        ),
        ("./disk:/x", InGuest("./disk", "/x")),
        ("web1:etc/fstab", None),
        ("a:b", None),
        ("/etc/fstab", None),
        (":/x", None),
    ],
)
def test_paths_in_guests(given: str, expected: InGuest | None) -> None:
    assert cp.in_guest(given) == expected


def test_where_a_copy_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dir/sub").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("dir")
    for source, given, final in (
        ("/etc/fstab", "dir", "dir/fstab"),
        ("/etc/fstab/", "dir/", "dir/fstab"),
        ("/etc/fstab", "new", "new"),
        ("/etc/fstab", "file", "file"),
        ("/etc/fstab", "link", "link/fstab"),
        ("/", "new", "new"),
    ):
        assert copy_out.final_path(source, given) == tmp_path / final
    for source, given, why in (
        ("/etc/sub", "dir", "not merged"),
        ("/etc/fstab", "none/", "no such directory"),
        ("/etc/fstab", "none/new", "no such directory"),
        ("/", "dir", "it exists"),
        ("/etc/..", "dir", "it exists"),
    ):
        with pytest.raises(KitError, match=why):
            copy_out.final_path(source, given)


RECORD = Record(WEB, "/place", made=True, write=False, pid=42)


def test_records_are_found_by_name_and_directory(capsys: pytest.CaptureFixture[str]) -> None:
    records.DIRECTORY.mkdir()
    disk = replace(RECORD, name="/dev/xenvg/disk0", directory="/other", error=("why", "hint"))
    for each in (RECORD, disk):
        with each.path.open("wb") as file:
            records._write(file.fileno(), each)
    (records.DIRECTORY / "broken.json").write_text("{")
    assert disk.path.name == "dev-xenvg-disk0.json"
    assert list(records.all_records()) == [disk, RECORD]
    assert not records.is_served(RECORD)
    # One that failed, and one whose process was killed.
    assert failing(capsys, "umount", "/x/../other/") == ("error: why", "hint: hint")
    assert cli.main(["umount", WEB]) == 0
    assert "its process was killed; the mount is removed" in capsys.readouterr().err
    assert list(records.all_records()) == []
    assert failing(capsys, "umount", "/x") == (
        "error: /x: not mounted by instance-kit",
        "hint: mounted are: none",
    )


def test_one_that_was_killed_while_it_could_write(capsys: pytest.CaptureFixture[str]) -> None:
    records.DIRECTORY.mkdir()
    with RECORD.path.open("wb") as file:
        records._write(file.fileno(), replace(RECORD, write=True))
    assert "may not be on the disk" in failing(capsys, "umount", WEB)[0]


def fail(record: Record, *, kept: bool) -> None:
    with records.begun(record) as keep_error:
        if kept:
            keep_error()
        raise KitError("lost", hint="fsck")


def test_a_record_lasts_as_long_as_its_block(tmp_path: Path) -> None:
    record = replace(RECORD, directory=str(tmp_path / "place"))
    with records.begun(record):
        assert records.is_served(record)
        assert Path(record.directory).stat().st_mode & 0o777 == 0o700
        with (
            pytest.raises(KitError, match="mounted already at /"),
            records.begun(record),
        ):
            pass
        assert list(records.all_records()) == [record]
    assert list(tmp_path.glob("*/*")) == []
    with pytest.raises(KitError, match="lost"):
        fail(record, kept=False)
    assert list(tmp_path.glob("*/*")) == []
    with pytest.raises(KitError, match="lost"):
        fail(record, kept=True)
    assert list(records.all_records()) == [replace(record, error=("lost", "fsck"))]
    with records.begun(record):  # what is left of the one before is cleared
        assert list(records.all_records()) == [record]


def test_a_mount_after_one_whose_process_was_killed(tmp_path: Path) -> None:
    """The directory goes with the old record, and has to be made again."""
    record = replace(RECORD, directory=str(tmp_path / "place"))
    records.DIRECTORY.mkdir()
    Path(record.directory).mkdir()
    with record.path.open("wb") as file:
        records._write(file.fileno(), record)
    with records.begun(replace(record, made=False)):
        assert list(records.all_records()) == [record]
        assert Path(record.directory).is_dir()
    assert not Path(record.directory).exists()


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with records.begun(replace(RECORD, directory=str(place))):
        assert not next(records.all_records()).made
    assert place.exists()


def test_a_mount_is_not_cleared_for_the_one_before(tmp_path: Path) -> None:
    """gc and umount find one whose process was killed, and then the user mounts again."""
    record = replace(RECORD, directory=str(tmp_path / "place"))
    with records.begun(record):
        assert not records.clear_if_ended(record)
        assert list(records.all_records()) == [record]
        assert Path(record.directory).is_dir()
    assert records.clear_if_ended(record)


def test_umount_waits_for_a_mount_that_is_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = replace(RECORD, directory=str(tmp_path / "place"))
    with ExitStack() as serving:
        serving.enter_context(records.begun(record))
        answers = [False, False, True]
        monkeypatch.setattr(records, "is_mounted", lambda _: bool(answers) and answers.pop(0))
        monkeypatch.setattr(umount, "unmount", lambda _: serving.close())
        monkeypatch.setattr(umount, "POLL_SECONDS", 0)
        assert cli.main(["umount", WEB]) == 0
    assert answers == []
    assert list(records.all_records()) == []


def test_a_running_instance_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Disks(WEB, (), "Ganeti says: running"), Disks(WEB, (), None)]
    monkeypatch.setattr(instance_disks, "instance_disks", lambda _given, **_: found.pop(0))
    error, hint = failing(capsys, "mount", "web")
    assert error == f"error: instance {WEB}: it is running (Ganeti says: running)"
    assert hint == f"hint: gnt-instance shutdown {WEB}; gnt-instance activate-disks {WEB}"
    assert "it has no disks" in failing(capsys, "shell", "web")[0]


def test_what_mount_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"places": [["/dev/sda1", "/"], ["/dev/vg/x", "/srv"]], "left_out": ["/x: why"]}
    asked: list[Record] = []

    def in_background(record: Record, _target: Target, _partition: str | None) -> object:
        asked.append(record)
        return found

    monkeypatch.setattr(keeper, "in_background", in_background)
    assert cli.main(["mount", "/dev/xenvg/disk0"]) == 0
    out, err = capsys.readouterr()
    place = records.DIRECTORY / "dev-xenvg-disk0"
    assert out.splitlines() == [
        f"/dev/xenvg/disk0: mounted on {place}, read-only",
        "  /  /dev/sda1",
        "  /srv  /dev/vg/x",
        "instance-kit umount /dev/xenvg/disk0  ends it",
    ]
    assert err == "warning: not mounted: /x: why\n"
    assert asked == [Record("/dev/xenvg/disk0", str(place), write=False, pid=0)]
    assert cli.main(["mount", "--write", "--json", "/dev/xenvg/disk0", "/srv/new"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == mount.as_json(asked[1], found)
    assert said["directory"] == "/srv/new"
    assert said["write"] is True


def test_options_of_shell_go_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["shell", "web", "--write"]) == USAGE
    assert "options go before INSTANCE" in capsys.readouterr().err
