"""Domains as libvirt writes them, against tests/data/golden/domains."""

import json
import random
from dataclasses import asdict
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.domains.domain_xml import Volume, parse, parse_volume, pool_volumes
from node.errors import KitError

DATA = Path(__file__).parents[3] / "data"
SAMPLES = sorted((DATA / "domains").glob("*.xml"))
VOLUMES = {
    ("default", "pooled.qcow2"): Volume("/var/lib/libvirt/images/pooled.qcow2", "file"),
    ("vg0", "pooled-srv"): Volume("/dev/vg0/pooled-srv", "block"),
    ("iscsi", "unit:0:0:1"): Volume(
        "/dev/disk/by-path/ip-198.51.100.7:3260-iscsi-x-lun-1", "block"
    ),
    ("ceph", "pooled-rbd"): Volume("pool/pooled-rbd", "network"),
}
UUID = "c0ffee00-0000-4000-8000-000000000000"


def domain_xml(
    *,
    os: str = "<os><type>hvm</type></os>",
    memory: str = "<memory>1024</memory>",
    devices: str = "",
    more: str = "",
) -> str:
    return (
        f"<domain type='kvm'><name>a</name><uuid>{UUID}</uuid>{memory}<vcpu>1</vcpu>{os}{more}"
        f"<devices>{devices}</devices></domain>"
    )


def disk_xml(dev: str, bus: str = "virtio", more: str = "") -> str:
    return (
        f"<disk type='file' device='disk'><source file='/{dev}'/>"
        f"<target dev='{dev}' bus='{bus}'/>{more}</disk>"
    )


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    golden = (DATA / "golden/domains" / f"{path.stem}.json").read_text()
    found = asdict(parse(path.read_text(), VOLUMES))
    assert json.loads(json.dumps(found)) == json.loads(golden)


def test_slashes_that_users_have_repeated() -> None:
    os = "<os><type>hvm</type><nvram>//nvram//a.fd</nvram></os>"
    assert parse(domain_xml(os=os)).nvram == "/nvram/a.fd"
    disk = disk_xml("vda").replace("'/vda'", "'/srv//images///vda'")
    assert parse(domain_xml(devices=disk)).disks[0].path == "/srv/images/vda"


@pytest.mark.parametrize(
    ("clock", "is_local"),
    [
        ("", False),
        ("<clock offset='utc'/>", False),
        ("<clock offset='localtime'><timer name='rtc'/></clock>", True),
        ("<clock offset='variable' adjustment='0' basis='localtime'/>", True),
        ("<clock offset='variable' adjustment='3600' basis='utc'/>", False),
    ],
)
def test_clocks_with_local_time(clock: str, is_local: bool) -> None:
    assert parse(domain_xml(more=clock)).has_local_time is is_local


def test_volumes_of_pools() -> None:
    assert pool_volumes((DATA / "domains/pool-volumes.xml").read_text()) == [*VOLUMES]
    xml = "<volume type='block'><name>b</name><target><path>/dev/vg/b</path></target></volume>"
    assert parse_volume(xml) == Volume("/dev/vg/b", "block")


def test_a_volume_that_libvirt_does_not_know() -> None:
    domain = parse((DATA / "domains/pool-volumes.xml").read_text())
    assert domain.disks == ()
    assert next(each.what for each in domain.obstacles) == (
        "disk vda: its source is of type volume: default/pooled.qcow2"
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("<memory>3</memory>", 3 << 10),
        ("<memory unit='KiB'>3</memory>", 3 << 10),
        ("<memory unit='k'>3</memory>", 3 << 10),
        ("<memory unit='KB'>3</memory>", 3000),
        ("<memory unit='bytes'>3</memory>", 3),
        ("<memory unit='b'>3</memory>", 3),
        ("<memory unit='MiB'> 3 </memory>", 3 << 20),
        ("<memory unit='m'>3</memory>", 3 << 20),
        ("<memory unit='GB'>3</memory>", 3 * 10**9),
        ("<memory unit='G'>3</memory>", 3 << 30),
        ("<memory unit='TiB'>3</memory>", 3 << 40),
        ("<memory unit='eib'>3</memory>", 3 << 60),
    ],
)
def test_memory(text: str, size: int) -> None:
    assert parse(domain_xml(memory=text)).memory == size


@pytest.mark.parametrize(
    ("inside", "firmware", "nvram"),
    [
        ("<os><type>hvm</type></os>", "bios", ""),
        ("<os firmware='bios'><type>hvm</type></os>", "bios", ""),
        ("<os firmware='efi'><type>hvm</type><nvram>/v.fd</nvram></os>", "uefi", "/v.fd"),
        (
            "<os firmware='efi'><type>hvm</type><loader secure='no'/></os>",
            "uefi",
            "/var/lib/libvirt/qemu/nvram/a_VARS.fd",
        ),
        (
            "<os firmware='efi'><type>hvm</type><nvram template='/t.fd'/></os>",
            "uefi",
            "/var/lib/libvirt/qemu/nvram/a_VARS.fd",
        ),
        ("<os firmware='efi'><type>hvm</type><loader stateless='yes'/></os>", "uefi", ""),
        (
            "<os><type>hvm</type><loader type='pflash'>/x.fd</loader><nvram>/v.fd</nvram></os>",
            "uefi",
            "/v.fd",
        ),
        ("<os><type>hvm</type><loader>/usr/share/ovmf/OVMF.fd</loader></os>", "uefi", ""),
        (
            "<os><type>hvm</type><nvram type='file'><source file='/v.fd'/></nvram></os>",
            "uefi",
            "/v.fd",
        ),
        ("<os><type>hvm</type><loader type='rom'>/seabios/bios.bin</loader></os>", "bios", ""),
    ],
)
def test_firmware(inside: str, firmware: str, nvram: str) -> None:
    domain = parse(domain_xml(os=inside))
    assert (domain.firmware, domain.nvram) == (firmware, nvram)


@pytest.mark.parametrize(
    ("inside", "is_secure"),
    [
        ("", False),
        ("<loader secure='yes' type='pflash'>/x.fd</loader>", True),
        ("<loader secure='no' type='pflash'>/x.fd</loader>", False),
        ("<firmware><feature enabled='yes' name='secure-boot'/></firmware>", True),
        ("<firmware><feature enabled='no' name='secure-boot'/></firmware>", False),
    ],
)
def test_secure_boot(inside: str, is_secure: bool) -> None:
    xml = domain_xml(os=f"<os firmware='efi'><type>hvm</type>{inside}</os>")
    assert parse(xml).has_secure_boot is is_secure


def test_a_disk_that_the_guest_may_only_read() -> None:
    """Its image gets no bitmap, so a checkpoint of it is an error of libvirt."""
    domain = parse(domain_xml(devices=disk_xml("vda", more="<readonly/>")))
    assert domain.disks[0].target == "vda"
    assert domain.obstacles[0].what.startswith("disk vda: the guest may only read it (readonly)")


def test_a_backing_image_that_only_the_xml_may_name() -> None:
    chain = "<backingStore type='file'><format type='raw'/><source file='/b'/></backingStore>"
    devices = disk_xml("vda", more=chain) + disk_xml("vdb", more="<backingStore/>")
    assert [disk.has_backing for disk in parse(domain_xml(devices=devices)).disks] == [True, False]


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ("", ""),
        ("<cpu mode='host-passthrough' check='none'/>", "host-passthrough"),
        ("<cpu mode='host-model'/>", "host-model"),
        ("<cpu mode='custom'><model fallback='allow'>Westmere</model></cpu>", "Westmere"),
        ("<cpu match='exact'><model>kvm64</model></cpu>", "kvm64"),
        ("<cpu><topology sockets='1' dies='1' cores='2' threads='1'/></cpu>", ""),
    ],
)
def test_cpu(cpu: str, expected: str) -> None:
    assert parse(domain_xml(more=cpu)).cpu == expected


def test_disks_are_in_the_order_of_buses_and_names() -> None:
    names = [
        *(("virtio", f"vd{letter}") for letter in "abyz"),
        *(("virtio", name) for name in ("vdaa", "vdab", "vdba")),
        *(("scsi", name) for name in ("sda", "sdb", "sdaa")),
        *(("sata", name) for name in ("sdc",)),
        *(("ide", name) for name in ("hda", "hdb")),
        *(("usb", name) for name in ("sdd",)),
        *(("xen", name) for name in ("xvda",)),
    ]
    given_ = names[:]
    random.Random(1).shuffle(given_)
    devices = "".join(disk_xml(name, bus) for bus, name in given_)
    assert [disk.target for disk in parse(domain_xml(devices=devices)).disks] == [
        name for _, name in names
    ]


def test_the_boot_order_comes_first() -> None:
    devices = disk_xml("vda") + disk_xml("sda", "scsi", "<boot order='12'/>")
    devices += disk_xml("hda", "ide", "<boot order='2'/>")
    disks = parse(domain_xml(devices=devices)).disks
    assert [(disk.target, disk.boot_order) for disk in disks] == [
        ("hda", 2),
        ("sda", 12),
        ("vda", None),
    ]


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        ("<domain type='xen'>", "it is a domain of type xen, not kvm"),
        ("<os><type arch='aarch64'>hvm</type></os>", "it is a machine of the architecture aarch64"),
        ("<os><type>exe</type></os>", "it is no virtual machine"),
    ],
)
def test_other_kinds_of_domains(xml: str, what: str) -> None:
    text = domain_xml().replace(xml.partition(" ")[0] + " type='kvm'>", xml)
    text = text.replace("<os><type>hvm</type></os>", xml) if xml.startswith("<os>") else text
    assert parse(text).obstacles[0].what.startswith(what)


@pytest.mark.parametrize("attributes", ["format='qcow2'", "type='block'"])
def test_variables_that_are_not_in_a_raw_file(attributes: str) -> None:
    xml = domain_xml(os=f"<os><type>hvm</type><nvram {attributes}>/v.fd</nvram></os>")
    assert [each.what for each in parse(xml).obstacles] == [
        "its UEFI variables are not in a raw file"
    ]


def test_remedies_name_the_domain_as_a_shell_takes_it() -> None:
    xml = domain_xml(devices="<tpm model='tpm-tis'/>").replace("<name>a<", "<name>a b<")
    (obstacle,) = parse(xml).obstacles
    assert obstacle.remedy.endswith("virsh edit 'a b'")


BOMB = "<!DOCTYPE a [<!ENTITY b 'x'><!ENTITY c '&b;&b;'>]>"


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("", "no element found"),
        ("<domain", "unclosed token"),
        ("<network/>", "a document 'network'"),
        (BOMB + domain_xml(), "it declares a document type"),
        (domain_xml(more=" " * (4 << 20)), "characters"),
        (domain_xml(more="&c;"), "undefined entity"),
        (domain_xml(memory=""), "domain has no memory"),
        (domain_xml(memory="<memory>-1</memory>"), "not a number above 0: '-1'"),
        (domain_xml(memory="<memory>0</memory>"), "not a number above 0"),
        (domain_xml(memory="<memory>\u0663</memory>"), "not a number above 0"),
        (domain_xml(memory=f"<memory>{'9' * 5000}</memory>"), "not a number above 0"),
        (domain_xml(memory="<memory unit='x'>1</memory>"), "a size has the unit 'x'"),
        (domain_xml(memory="<memory unit='MMiB'>1</memory>"), "a size has the unit 'MMiB'"),
        (domain_xml().replace(UUID, "x"), "hexadecimal"),
        (domain_xml().replace("<name>a<", "<name><"), "its name is ''"),
        (domain_xml().replace("<name>a<", "<name>a\u202eb<"), "its name is"),
        (domain_xml(devices=disk_xml("vda") * 2), "two disks have one name"),
        (domain_xml(devices=disk_xml("../x")), "a disk has the name '../x'"),
        (domain_xml(devices=disk_xml("vda").replace("'/vda'", "'vda'")), "its path is 'vda'"),
        (domain_xml(devices="<disk/>"), "disk has no target"),
        (
            domain_xml(devices=disk_xml("vda", more="<boot order='first'/>")),
            "not a number above 0: 'first'",
        ),
        (domain_xml(devices="<interface type='user'/>"), "interface has no mac"),
        (
            domain_xml(devices="<interface><mac address='52:54:00'/></interface>"),
            "a network card has the address '52:54:00'",
        ),
    ],
)
def test_what_is_refused(xml: str, message: str) -> None:
    with pytest.raises(KitError) as caught:
        parse(xml)
    assert message in caught.value.message


# Pieces of samples, put together at random: each is parsed, or refused with a reason.
ATTRIBUTES = st.sampled_from(
    ["type", "device", "dev", "file", "bus", "unit", "order", "address", "pool", "volume", "mode"]
)
VALUES = st.sampled_from(
    ["file", "block", "volume", "network", "disk", "cdrom", "vda", "/a", "virtio", "KiB", "", "1"]
) | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8)
NAMES = st.sampled_from(
    [
        *("name", "uuid", "memory", "vcpu", "os", "type", "loader", "nvram", "cpu", "model"),
        *("devices", "disk", "source", "target", "driver", "boot", "interface", "mac", "tpm"),
        *("hostdev", "shareable"),
    ]
)


@st.composite
def elements(draw: st.DrawFn, depth: int = 0) -> str:
    name = draw(NAMES)
    attributes = draw(st.dictionaries(ATTRIBUTES, VALUES, max_size=4))
    shown = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    inner = draw(st.sampled_from(["", "1", "hvm", "a", UUID]))
    if depth < 3:
        inner += "".join(draw(st.lists(elements(depth=depth + 1), max_size=3)))
    return f"<{name}{shown}>{inner}</{name}>"


@given(more=elements(), devices=st.lists(elements(depth=1), max_size=3))
def test_any_domain_is_parsed_or_refused(more: str, devices: list[str]) -> None:
    try:
        domain = parse(domain_xml(more=more, devices="".join(devices)))
    except KitError:
        return
    assert all(disk.path.startswith("/") for disk in domain.disks)
    assert domain.memory > 0 and domain.vcpus > 0


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(KitError):
        parse(text)
