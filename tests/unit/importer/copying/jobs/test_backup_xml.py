"""The XML of backup jobs and checkpoints, against golden files and libvirt 9.0's answers."""

from pathlib import Path

import pytest

from importer.copying.jobs.backup_xml import (
    JobDisk,
    RunningJob,
    backup_xml,
    checkpoint_xml,
    dirty_bytes,
    disk_sources,
    running_job,
)
from importer.domains.domain_xml import Volume
from node.errors import KitError

GOLDEN = Path(__file__).parents[4] / "data/golden/importer"
DIRECTORY = "/var/lib/libvirt/qemu/ganeti-instance-kit-00112233"
SOCKET = "/var/lib/libvirt/qemu/domain-1-web/ganeti-instance-kit-00112233.nbd"

# As `virsh backup-dumpxml` prints it: libvirt adds names of exports, bitmaps and indexes.
DUMPED = f"""\
<domainbackup mode='pull'>
  <server transport='unix' socket='{SOCKET}'/>
  <disks>
    <disk name='vda' backup='yes' type='file' backupmode='incremental' incremental='point-1'\
 exportname='vda' exportbitmap='backup-vda' index='10'>
      <driver type='qcow2'/>
      <scratch file='{DIRECTORY}/vda'/>
    </disk>
    <disk name='vdb' backup='no'/>
    <disk name='vdd' backup='yes' type='file' backupmode='full' exportname='vdd' index='12'>
      <driver type='qcow2'/>
      <scratch file='{DIRECTORY}/vdd'/>
    </disk>
  </disks>
</domainbackup>
"""

SIZES = """\
<domaincheckpoint>
  <name>point-1</name>
  <creationTime>1795666115</creationTime>
  <disks>
    <disk name='vda' checkpoint='bitmap' bitmap='point-1' size='4194304'/>
    <disk name='vdb' checkpoint='bitmap' bitmap='point-1'/>
    <disk name='vdc' checkpoint='no'/>
  </disks>
</domaincheckpoint>
"""


def test_a_job_names_every_disk_and_mixes_modes() -> None:
    made = backup_xml(
        [JobDisk("vda", since="point-1"), JobDisk("vdd")], ["vdb", "hda"], SOCKET, DIRECTORY
    )
    assert made == (GOLDEN / "backup.xml").read_text()


def test_a_checkpoint_names_every_disk() -> None:
    made = checkpoint_xml("point-2", ["vda"], ["vdd", "vdb", "hda"])
    assert made == (GOLDEN / "checkpoint.xml").read_text()


def test_a_running_job_is_understood() -> None:
    assert running_job(DUMPED) == RunningJob(
        SOCKET, {"vda": "point-1", "vdd": None}, {"vda": "backup-vda"}
    )


def test_a_job_that_we_have_made_is_understood() -> None:
    disks = [JobDisk("vda", since="point-1"), JobDisk("vdd")]
    found = running_job(backup_xml(disks, ["vdb"], SOCKET, DIRECTORY))
    assert found.socket == SOCKET
    assert found.since == {disk.target: disk.since for disk in disks}


def test_a_push_job_has_no_socket() -> None:
    job = running_job("<domainbackup mode='push'><disks><disk name='vda'/></disks></domainbackup>")
    assert job.socket == ""


def test_a_disk_with_a_strange_name_is_refused() -> None:
    with pytest.raises(KitError, match="it names a disk"):
        running_job(DUMPED.replace("name='vda'", "name='../vda'"))


def test_another_document_is_refused() -> None:
    with pytest.raises(KitError, match="not a domainbackup"):
        running_job(SIZES)


def test_a_bitmap_without_a_size_is_lost() -> None:
    assert dirty_bytes(SIZES) == {"vda": 4194304, "vdb": None}


@pytest.mark.parametrize("size", ["-1", "1e9", "٣", "0x10", ""])
def test_a_size_that_is_no_number_counts_as_lost(size: str) -> None:
    assert dirty_bytes(SIZES.replace("4194304", size))["vda"] is None


def test_the_disks_of_a_domain() -> None:
    domain = """<domain type='kvm'><devices>
      <disk type='file' device='disk'><source file='/srv//a.qcow2'/><target dev='vda'/></disk>
      <disk type='block' device='disk'><source dev='/dev/vg/b'/><target dev='vdb'/></disk>
      <disk type='volume'><source pool='p' volume='v'/><target dev='vdc'/></disk>
      <disk type='volume'><source pool='p' volume='w'/><target dev='vdd'/></disk>
      <disk type='file' device='cdrom'><target dev='sda'/></disk>
    </devices></domain>"""
    found = {"vda": "/srv/a.qcow2", "vdb": "/dev/vg/b", "vdc": "/pool/v", "vdd": "p/w", "sda": ""}
    assert disk_sources(domain, {("p", "v"): Volume("/pool/v", "file")}) == found
