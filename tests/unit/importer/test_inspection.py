"""How an inventory is put together of what libvirt, QEMU and the disks say."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from converter.contents.describe import describe
from converter.errors import SourceInUse
from converter.extents import Extent, Kind
from importer import inspection
from importer.domains.domain import SourceDisk
from importer.domains.inventory import Area, HostFacts
from importer.host.images import ImageInfo
from importer.inspection import boots, disk_facts, host_facts, of_image, root_first, take
from node.errors import KitError
from node.run import Result
from tests.unit.converter import swap_pages, tables
from tests.unit.converter.memory_source import MemorySource
from tests.unit.importer.fake_host import FakeHost
from tests.unit.importer.made import HOST, disk, domain, facts

MIB = 1 << 20
DATA = Path(__file__).parents[2] / "data"
INFO = ImageInfo(MIB, 4096, 3, None, None, False, False, {}, ())
UUID = "0e6a4f5c-1f3f-4a30-8a5f-6d2a4e1b7c11"
SWAP = swap_pages.page() + bytes(MIB - 4096)
EFI, LINUX = 0xEF, 0x83


def partitioned(kind: int = LINUX, *, code: bool = True) -> bytes:
    """A disk of 1 MiB with a partition, with code in its MBR or without."""
    content = bytearray(MIB)
    tables.mbr(content, [(kind, 64, 1024)])
    if code:
        content[:3] = b"\xeb\x63\x90"
    return bytes(content)


def is_bootable(content: bytes, firmware: str) -> bool:
    return boots(describe(tables.reader(content), len(content)), content[:512], firmware)


def fat() -> bytes:
    """A file system FAT without a partition table, as mkfs.vfat begins it."""
    content = bytearray(MIB)
    content[:3] = b"\xeb\x3c\x90"
    content[11:24] = bytes.fromhex("0002 04 0100 02 0002 0008 f8 0200")
    content[62:100] = b"\x0e\x1f\xbe" * 12 + b"\x00\x00"
    content[510:512] = b"\x55\xaa"
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "bios", "uefi"),
    [
        (partitioned(), True, False),
        (partitioned(code=False), False, False),
        (partitioned(EFI, code=False), False, True),
        (partitioned(EFI), True, True),
        (b"\xeb\x63\x90" + bytes(507) + b"\x55\xaa" + bytes(MIB - 512), True, False),
        (b"\xeb\x63\x90" + bytes(MIB - 3), False, False),
        (fat(), False, False),
        (SWAP, False, False),
        (bytes(MIB), False, False),
    ],
    ids=["MBR", "no code", "ESP", "both", "no table", "no signature", "FAT", "swap", "empty"],
)
def test_boot_loaders(content: bytes, bios: bool, uefi: bool) -> None:
    assert is_bootable(content, "bios") is bios
    assert is_bootable(content, "uefi") is uefi


def test_the_first_with_a_boot_loader_is_root() -> None:
    data, root, other = facts("vda"), facts("vdb", boots=True), facts("vdc", boots=True)
    assert root_first([data, root, other]) == (root, data, other)
    assert root_first([other, data, root]) == (other, data, root)
    assert root_first([data]) == (data,)
    assert root_first([]) == ()


def test_facts_of_a_disk() -> None:
    web1 = domain("web1")
    report = describe(tables.reader(SWAP), MIB)
    info = replace(INFO, bitmaps={"lost": True, "good": False})
    off = disk_facts(disk("vda"), info, report, SWAP[:512], web1, "shut off")
    assert off.areas == (Area(0, MIB, "swap", str(swap_pages.UUID_), "my swap"),)
    assert off.swap == off.areas[0]
    assert (off.size, off.allocated, off.table, off.boots) == (MIB, 4096, None, False)
    assert (off.keeps_bitmaps, off.bad_bitmaps) == (True, ("lost",))
    # A running QEMU marks all bitmaps of its images as in use.
    assert not disk_facts(disk("vda"), info, report, b"", web1, "running").bad_bitmaps


def test_facts_of_other_disks() -> None:
    web1 = domain("web1")
    volume = disk("vda", format="raw", is_block=True)
    raw = replace(INFO, version=None, allocated=0)
    found = disk_facts(volume, raw, None, b"", web1, "shut off")
    assert (found.allocated, found.keeps_bitmaps, found.areas) == (MIB, False, ())
    old = disk_facts(disk("vda"), replace(INFO, version=2), None, b"", web1, "shut off")
    assert not old.keeps_bitmaps
    report = describe(tables.reader(partitioned()), MIB)
    assert disk_facts(disk("vda"), INFO, report, b"", web1, "running").table == "dos"


@pytest.mark.parametrize(
    ("info", "what", "remedy"),
    [
        (replace(INFO, backing="b.qcow2"), "is based on another one, b.qcow2", "virsh blockpull"),
        (replace(INFO, data_file="d"), "its data is in another file, d", "virsh blockcopy"),
        (replace(INFO, is_encrypted=True), "its image is encrypted", "--object secret"),
        (replace(INFO, is_corrupt=True), "marked its image as damaged", "qemu-img check -r all"),
    ],
)
def test_obstacles_of_images(info: ImageInfo, what: str, remedy: str) -> None:
    (found,) = of_image(disk("vda"), info)
    assert what in found.what and remedy in found.remedy
    assert not list(of_image(disk("vda"), INFO))


def test_paths_in_commands_are_quoted() -> None:
    odd = disk("vda", path="/srv/a b;x")
    for info in (replace(INFO, backing="b"), replace(INFO, is_corrupt=True)):
        (found,) = of_image(odd, info)
        assert " '/srv/a b;x'" in found.remedy


def test_a_backing_image_that_its_image_does_not_name() -> None:
    """QEMU is told of it by libvirt; what is read from the image alone would have holes."""
    (found,) = of_image(disk("vda", has_backing=True), INFO)
    assert found.what.endswith("is based on another one, named in the domain's XML only")


class KvmHost(FakeHost):
    """A host with the domain of a sample, of any state."""

    def __init__(self, sample: str = "running", state: str = "running") -> None:
        super().__init__(self._answers)
        self.xml = (DATA / f"domains/{sample}.xml").read_text()
        self.lacks = ""
        self.state = state
        self.inactive = (DATA / "domains/uefi-automatic.xml").read_text()
        self.saved = "no"
        self.persistent = "yes"

    def _answers(self, argv: list[str]) -> Result:
        if argv[0] == "qemu-img":
            return Result(0, json.dumps({"virtual-size": MIB, "actual-size": 4096}), "")
        if argv[0] == "df":
            return Result(0, "    Avail\n123456\n", "")
        if argv[4] == self.lacks:
            return Result(1, "", "error: failed to get it")
        if argv[4:] == ["dumpxml", f"--domain={UUID}"]:
            return Result(0, self.xml, "")
        answers = {
            "version": "Running hypervisor: QEMU 7.2.22\nRunning against daemon: 9.0.0\n",
            "dominfo": f"Name: web1\nUUID: {UUID}\nState: {self.state}\n"
            f"Managed save: {self.saved}\nPersistent: {self.persistent}\n",
            "dumpxml": self.inactive,
            "list": f"{UUID} web1\n",
            "snapshot-list": "one\n",
            "vol-dumpxml": "<volume type='file'><target><path>/vol</path></target></volume>",
        }
        return Result(0, answers[argv[4]], "")


class Opened:
    """Opens disks in memory; those in `in_use` only if they are shared."""

    def __init__(self, contents: dict[str, bytes], in_use: tuple[str, ...] = ()) -> None:
        self.contents = contents
        self.in_use = in_use
        self.shared: list[bool] = []

    @contextmanager
    def __call__(
        self, _host: object, disk: SourceDisk, *, force_share: bool
    ) -> Iterator[MemorySource]:
        self.shared.append(force_share)
        if disk.target in self.in_use and not force_share:
            raise SourceInUse("source: in use", hint="end it")
        yield MemorySource(self.contents[disk.target], [Extent(0, MIB, Kind.DATA, 0)])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    made = Opened({"vda": SWAP, "vdb": partitioned()})
    monkeypatch.setattr(inspection, "opened", made)
    return made


def test_facts_of_the_host() -> None:
    assert host_facts(KvmHost()) == HostFacts("kvm1", (9, 0, 0), (7, 2, 22), 123456)


def test_a_running_domain(opened: Opened) -> None:
    host = KvmHost()
    found = take(host, "web1")
    assert (found.domain.name, found.state, found.snapshots) == ("web1", "running", ("one",))
    assert found.domain.cpu == "host-model"  # as it was defined
    assert [each.disk.target for each in found.disks] == ["vdb", "vda"]
    assert found.host.scratch_free == 123456
    assert not found.domain.obstacles
    assert opened.shared == [True, True]
    changing = {"suspend", "resume", "shutdown", "start", "backup-begin", "domjobabort"}
    assert not changing & {argv[4] for argv in host.asked if argv[0] == "virsh"}


def test_a_domain_that_is_off(opened: Opened) -> None:
    host = KvmHost(state="shut off")
    found = take(host, UUID, HOST)
    assert (found.state, found.host) == ("shut off", HOST)
    assert found.domain.cpu == "Skylake-Client-IBRS"  # of the only XML
    assert opened.shared == [False, False]


def test_an_image_that_another_machine_uses(opened: Opened) -> None:
    opened.in_use = ("vdb",)
    found = take(KvmHost(state="shut off"), "web1", HOST)
    assert [each.what for each in found.domain.obstacles] == [
        "disk vdb: its domain is off, but a running QEMU has its image open"
    ]
    assert found.disks[0].boots
    assert opened.shared == [False, False, True]


@pytest.mark.usefixtures("opened")
def test_a_saved_domain() -> None:
    host = KvmHost(state="shut off")
    host.saved = "yes"
    (obstacle,) = take(host, "web1", HOST).domain.obstacles
    assert "(managed save)" in obstacle.what
    assert obstacle.remedy.endswith("virsh start web1, virsh shutdown web1")


@pytest.mark.usefixtures("opened")
def test_a_domain_that_libvirt_forgets_when_it_is_off() -> None:
    host = KvmHost()
    host.persistent = "no"
    (obstacle,) = take(host, "web1", HOST).domain.obstacles
    assert "(transient)" in obstacle.what
    assert obstacle.remedy.startswith("define it: virsh dumpxml --security-info web1 > FILE")


def test_volumes_of_pools_are_looked_up(opened: Opened) -> None:
    opened.contents |= {"vdc": bytes(MIB), "vdd": bytes(MIB)}
    host = KvmHost("pool-volumes")
    assert {each.path for each in take(host, "web1", HOST).domain.disks} == {"/vol"}
    assert [*host.asked[0][:4], "vol-dumpxml", "--pool=vg0", "--vol=pooled-srv"] in host.asked


def test_a_medium_of_a_pool_that_is_inactive_or_gone(opened: Opened) -> None:
    host = KvmHost()
    medium = """<disk type='volume' device='cdrom'><source pool='iso' volume='x.iso'/>
        <target dev='sdz' bus='sata'/></disk></devices>"""
    host.xml = host.xml.replace("</devices>", medium)
    host.lacks = "vol-dumpxml"
    (obstacle,) = take(host, "web1", HOST).domain.obstacles
    assert obstacle.what == "cdrom sdz: there is a medium in it"
    assert opened.shared == [True, True]


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("state", ["crashed", "no state"])
def test_other_states_are_refused(state: str) -> None:
    with pytest.raises(KitError, match=r"domain web1 on kvm1: it is (crashed|no state)"):
        take(KvmHost(state=state), "web1", HOST)


def test_a_disk_that_is_not_read_as_it_is(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "image_info", lambda *_: replace(INFO, backing="base.qcow2"))
    found = take(KvmHost(), "web1", HOST)
    assert len(found.domain.obstacles) == 2
    assert found.domain.obstacles[0].remedy.startswith("make it one image: virsh blockpull web1 ")
    assert opened.shared == []
    assert not any(each.boots or each.areas for each in found.disks)


def test_a_domain_that_there_is_not() -> None:
    with pytest.raises(KitError, match="libvirt has none of that name"):
        take(KvmHost(), "web2", HOST)
