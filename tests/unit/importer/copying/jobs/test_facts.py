"""What a pass knows of the domain."""

import shlex
from typing import Any

import pytest

from importer.copying.jobs import facts
from importer.copying.jobs.facts import look, require_restartable
from node.errors import KitError
from node.run import Result
from tests.unit.importer.copying import source
from tests.unit.importer.copying.source import GIB, NEXT, PLAN, POINT, VDA, VDB, image, seen, told
from tests.unit.importer.fake_host import FakeHost


def test_a_running_domain() -> None:
    found = seen()
    assert found.is_on and found.has_jobs and found.is_persistent and found.has_agent
    assert found.job is None and not found.has_other_job
    assert found.with_bitmaps == ("vda",)
    assert found.others == ("vdc", "sda")


def test_all_is_asked_in_one_command() -> None:
    host = FakeHost(lambda argv: Result(0, argv[5].join(["", *told()]), ""))
    assert look(host, PLAN, POINT).state.state == "running"
    (argv,) = host.asked
    assert argv[:2] == ["sh", "-euc"]
    assert argv[4] == source.UUID
    assert argv[6:8] == [POINT, "yes"]
    assert [shlex.split(word)[:2] for word in argv[8:]] == [["qemu-img", "info"]] * 2


@pytest.mark.parametrize(
    ("size", "expected"), [("size='4096'", {"vda": 4096}), ("size='0'", {"vda": 0}), ("", {})]
)
def test_a_bitmap_of_a_running_domain_counts_if_it_has_a_size(
    size: str, expected: dict[str, int]
) -> None:
    found = seen(POINT, checkpoints=f"{POINT}\n", sizes=source.sizes(POINT, size))
    assert found.dirty == expected


@pytest.mark.parametrize(
    ("vda", "expected"),
    [
        (image(10 * GIB, POINT), {"vda": None}),
        (image(10 * GIB, POINT, in_use=True), {}),
        (image(10 * GIB, NEXT), {}),
        (image(10 * GIB), {}),
    ],
)
def test_a_bitmap_of_a_domain_that_is_off_counts_if_it_was_saved(
    vda: str, expected: dict[str, None]
) -> None:
    found = seen(POINT, state="shut off (shutdown)", checkpoints=POINT, vda=vda)
    assert not found.is_on
    assert found.dirty == expected


@pytest.mark.parametrize(("in_use", "expected"), [(False, {"vda": None}), (True, {})])
def test_after_a_shutdown_only_images_are_asked(in_use: bool, expected: dict[str, None]) -> None:
    def answer(argv: list[str]) -> Result:
        images = [image(10 * GIB, POINT, in_use=in_use), image(20 * GIB, raw=True)]
        return Result(0, "".join(f"{argv[4]} image\n{text}\n" for text in images), "")

    host = FakeHost(answer)
    found = facts.shut_down(host, PLAN, seen(checkpoints=POINT), POINT)
    assert not found.is_on
    assert found.dirty == expected
    (argv,) = host.asked
    assert "virsh" not in " ".join(argv)


def test_a_bitmap_without_its_checkpoint_does_not_count() -> None:
    found = seen(POINT, checkpoints=NEXT, sizes=source.sizes(POINT, "size='0'"))
    assert found.dirty == {}


def test_jobs() -> None:
    ours = seen(backup=source.JOB, job="Job type: Unbounded\nOperation: Backup")
    assert ours.job is not None and ours.job.socket == source.SOCKET
    assert not ours.has_other_job
    assert seen(job="Job type:         Unbounded").has_other_job


def test_an_image_of_version_2_keeps_no_bitmaps() -> None:
    old = image(10 * GIB).replace('"1.1"', '"0.10"')
    assert seen(vda=old).with_bitmaps == ()


def test_a_domain_with_snapshots_gets_no_checkpoint() -> None:
    assert seen(snapshots="\nbefore the upgrade\n").with_bitmaps == ()


def test_old_versions_have_no_jobs() -> None:
    assert not seen(versions=source.VERSIONS.replace("daemon: 9.0.0", "daemon: 7.0.0")).has_jobs


def test_a_disk_may_be_a_volume_of_a_pool() -> None:
    xml = source.XML.replace(
        "type='block'><source dev='/dev/vg0/srv'/>",
        "type='volume'><source pool='vg0' volume='srv'/>",
    )

    def answer(argv: list[str]) -> Result:
        if "vol-dumpxml" in argv:
            assert argv[-2:] == ["--pool=vg0", "--vol=srv"]
            path = "<target><path>/dev/vg0/srv</path></target>"
            return Result(0, f"<volume type='block'>{path}</volume>", "")
        return Result(0, argv[5].join(["", *told(xml=xml)]), "")

    assert look(FakeHost(answer), PLAN).unplanned == ()


def test_other_disks_than_planned_are_refused() -> None:
    with pytest.raises(KitError, match="disk vda of web: /srv/other in the plan, /srv/web root"):
        facts.parse(source.other_path("/srv/other"), [VDA, VDB], told(), "", {})


def test_another_size_than_planned_is_refused() -> None:
    host = FakeHost(lambda argv: Result(0, argv[5].join(["", *told(vda=image(GIB))]), ""))
    with pytest.raises(KitError, match=f"{GIB} bytes, but {10 * GIB} in the plan"):
        look(host, PLAN)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"state": "shut off (migrated)"}, "it was migrated to another host"),
        ({"state": "shut off (saved)"}, "its memory is saved"),
        (
            {"state": "shut off (unknown)", "dominfo": "Persistent: yes\nManaged save:   yes"},
            "its memory is saved",
        ),
    ],
)
def test_a_domain_that_goes_on_elsewhere_is_not_copied(changed: dict[str, str], why: str) -> None:
    """What its images have is no copy of it, and a last pass of them would count as complete."""
    host = FakeHost(lambda argv: Result(0, argv[5].join(["", *told(**changed)]), ""))
    with pytest.raises(KitError, match=why):
        look(host, PLAN)
    assert look(host, PLAN, strict=False).state.state == "shut off"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"dominfo": "Persistent:     no"}, "transient"),
        ({"xml": source.XML.replace(">destroy<", ">restart<")}, "does not stay off"),
        ({"xml": source.XML.replace(">destroy<", ">preserve<")}, "does not stay off"),
    ],
)
def test_a_domain_that_cannot_be_shut_down_is_refused(changed: dict[str, Any], why: str) -> None:
    require_restartable(seen(), PLAN)
    with pytest.raises(KitError, match=why):
        require_restartable(seen(**changed), PLAN)
