"""Backup jobs: what is sent to the KVM host."""

from typing import Any

import pytest

from importer.copying.jobs import job
from importer.copying.jobs.backup_xml import JobDisk, backup_xml, checkpoint_xml, running_job
from importer.copying.jobs.job import Checkpoint, Place
from importer.copying.jobs.watch_script import owner_of
from importer.errors import ForeignJob
from node.errors import KitError
from node.run import Result
from tests.unit.importer.copying import source
from tests.unit.importer.copying.source import DIRECTORY, NEXT, PLAN, POINT, SOCKET, TOKEN, UUID
from tests.unit.importer.fake_host import FakeHost, said

PLACE = Place(DIRECTORY, TOKEN, SOCKET)
DISKS = [JobDisk("vda", since=POINT), JobDisk("vdb")]


class Listening(FakeHost):
    """Also keeps what it got on stdin."""

    def __init__(self, stdout: str) -> None:
        super().__init__(said(stdout))
        self.heard: list[str] = []

    def run(self, argv: Any, *, check: bool = True, **more: Any) -> Result:
        self.heard.append(more.get("input") or "")
        return super().run(argv, check=check, **more)


def test_the_directory_has_the_token() -> None:
    assert job.directory_of("/var/lib/libvirt/qemu/", TOKEN) == DIRECTORY
    assert job.token_of(DIRECTORY) == TOKEN
    assert job.token_of("/var/lib/libvirt/qemu") == ""
    assert job.token_of("") == ""


def test_nothing_else_is_removed() -> None:
    host = FakeHost(said())
    job.remove(host, "/var/lib/libvirt/qemu")
    assert host.asked == []
    job.remove(host, DIRECTORY)
    assert host.asked == [["rm", "-rf", "--", DIRECTORY]]


def test_a_job_with_a_checkpoint_is_begun_in_one_command() -> None:
    host = Listening("no\n")
    begun = job.begin(
        *(host, UUID, PLACE, DISKS, ["vdc", "sda"]), checkpoint=Checkpoint(NEXT, ["vda"])
    )
    (argv,) = host.asked
    xml = backup_xml(DISKS, ["vdc", "sda"], SOCKET, DIRECTORY)
    assert argv[4:] == [UUID, str(len(xml)), "no", "0", owner_of(TOKEN)]
    assert host.heard == [xml + checkpoint_xml(NEXT, ["vda"], ["vdb", "vdc", "sda"])]
    assert not begun.is_frozen


def test_a_job_of_a_suspended_domain_is_begun_in_one_command() -> None:
    host = Listening("yes\n")
    begun = job.begin(*(host, UUID, PLACE, DISKS, ["vdc"]), suspend=True, freeze=True)
    (argv,) = host.asked
    xml = backup_xml(DISKS, ["vdc"], SOCKET, DIRECTORY)
    assert argv[4:] == [UUID, str(len(xml)), "yes", "20", owner_of(TOKEN)]
    assert host.heard == [xml]
    assert begun.is_frozen


def test_a_job_is_ended_by_its_token() -> None:
    host = FakeHost(said())
    job.end(host, UUID, PLACE)
    assert [argv[4:] for argv in host.asked] == [[UUID, TOKEN, DIRECTORY, SOCKET]]


@pytest.mark.parametrize(
    ("xml", "has_other", "token", "whose"),
    [
        (None, False, TOKEN, None),
        (source.JOB, False, TOKEN, None),
        (source.JOB, False, "", "another import"),
        (source.JOB, False, "ffff", "another import"),
        ("<domainbackup mode='push'/>", False, TOKEN, "another program"),
        (None, True, TOKEN, "migration"),
    ],
)
def test_whose_job_it_is(xml: str | None, has_other: bool, token: str, whose: str | None) -> None:
    running = None if xml is None else running_job(xml)
    if whose is None:
        job.require_ours(running, has_other=has_other, plan=PLAN, token=token)
        return
    with pytest.raises(ForeignJob, match=whose):
        job.require_ours(running, has_other=has_other, plan=PLAN, token=token)


@pytest.mark.parametrize(("sizes", "fits"), [({"vda": 1 << 30}, False), ({}, True)])
def test_only_scratch_files_need_room(sizes: dict[str, int], fits: bool) -> None:
    host = FakeHost(said(f"{1 << 20}\n/var/lib/libvirt/qemu\n"))
    if fits:
        assert job.prepare(host, UUID, DIRECTORY, sizes).directory == DIRECTORY
        return
    with pytest.raises(KitError, match="only 1 MiB are free there; 1 GiB have to stay free"):
        job.prepare(host, UUID, DIRECTORY, sizes)
    assert host.asked[-1] == ["rm", "-rf", "--", DIRECTORY]
