"""What an instance will not have by itself."""

import pytest

from importer.domains.domain_xml import parse
from tests.unit.importer.domains.test_domain_xml import disk_xml, domain_xml

NIC = "<interface type='bridge'><mac address='52:54:00:00:00:01'/>{}</interface>"


def losses(devices: str = "", more: str = "", os: str = "<os><type>hvm</type></os>") -> list[str]:
    return [*parse(domain_xml(os=os, devices=devices, more=more)).losses]


def test_a_plain_domain_loses_nothing() -> None:
    plain = """<serial type='pty'/><console type='pty'><target type='serial'/></console>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
      <watchdog model='itco' action='reset'/><memballoon model='virtio'/>"""
    more = """<currentMemory unit='KiB'>1024</currentMemory><clock offset='utc'/>
      <features><acpi/><hyperv><relaxed state='off'/></hyperv></features>"""
    boot = "<os><type>hvm</type><boot dev='hd'/><boot dev='network'/></os>"
    assert losses(disk_xml("vda") + NIC.format("<link state='up'/>") + plain, more, boot) == []


@pytest.mark.parametrize(
    ("more", "loss"),
    [
        (
            "<currentMemory unit='KiB'>512</currentMemory>",
            "memory: it uses 512 KiB (currentMemory) of 1 MiB; the instance uses all",
        ),
        (
            "<cpu><topology sockets='1' cores='2' threads='2'/></cpu>",
            "topology of its CPUs: sockets 1, cores 2, threads 2",
        ),
        (
            "<features><hyperv><relaxed state='on'/><vapic state='on'/></hyperv></features>",
            "enlightenments of Hyper-V, for Windows: relaxed, vapic",
        ),
        ("<clock offset='timezone' timezone='Europe/Berlin'/>", "its clock has the local time of"),
        ("<clock offset='variable' adjustment='7200' basis='utc'/>", "(7200 s)"),
        ("<clock offset='variable' adjustment='-3600' basis='localtime'/>", "(-3600 s)"),
        ("<clock offset='absolute' start='0'/>", "its clock has an offset of its own (absolute)"),
        ("<sysinfo type='smbios'/>", "SMBIOS texts of its own"),
        (
            "<override xmlns='http://libvirt.org/schemas/domain/qemu/1.0'/>",
            "changed properties of QEMU's devices",
        ),
        (
            "<memoryBacking><hugepages/></memoryBacking><numatune/>",
            "placement: huge pages, NUMA nodes",
        ),
    ],
)
def test_settings(more: str, loss: str) -> None:
    (found,) = losses(more=more)
    assert loss in found


@pytest.mark.parametrize("seconds", ["-2", "0", "60"])
def test_a_clock_that_is_nearly_right_loses_nothing(seconds: str) -> None:
    assert losses(more=f"<clock offset='variable' adjustment='{seconds}' basis='utc'/>") == []


def test_cpus_that_can_be_added() -> None:
    xml = domain_xml().replace("<vcpu>1</vcpu>", "<vcpu current='2'>4</vcpu>")
    domain = parse(xml)
    assert (domain.vcpus, domain.losses) == (
        2,
        ("CPUs that can be added while it runs (4 at most)",),
    )


@pytest.mark.parametrize(
    ("devices", "loss"),
    [
        ("<rng model='virtio'/><vsock model='virtio'/>", "rng (virtio), vsock (virtio)"),
        ("<watchdog model='i6300esb'/>", "watchdog (i6300esb)"),
        ("<graphics type='vnc'/>", "screen (vnc; vnc_bind_address gives it one)"),
        ("<serial type='pty'/><serial type='pty'/>", "serial ports but the first"),
        ("<console type='pty'><target type='virtio'/></console>", "virtio console (hvc0)"),
        ("<channel type='unix'><target type='virtio' name='a'/></channel>", "channel a"),
    ],
)
def test_devices(devices: str, loss: str) -> None:
    assert losses(devices) == [f"devices: {loss}"]


def test_what_disks_and_nics_have_of_their_own() -> None:
    disk = disk_xml("vda", more="<serial>S1</serial><iotune/><driver discard='unmap'/>")
    nic = NIC.format("<link state='down'/><vlan><tag id='7'/></vlan><filterref filter='x'/>")
    assert losses(disk + nic) == [
        "NIC 52:54:00:00:00:01: its cable is pulled, packet filter of the KVM host, VLAN tags",
        "disk vda: serial number S1, and its name in /dev/disk/by-id, discards reach its device"
        " (disk_discard unmap does that), limits of I/O",
    ]


@pytest.mark.parametrize(
    ("os", "devices", "is_lost"),
    [
        ("<boot dev='network'/><boot dev='hd'/>", "", True),
        ("<boot dev='hd'/><boot dev='network'/>", "", False),
        ("", disk_xml("vda", more="<boot order='2'/>") + NIC.format("<boot order='1'/>"), True),
        ("", disk_xml("vda", more="<boot order='1'/>") + NIC.format("<boot order='2'/>"), False),
        ("", disk_xml("vda") + NIC.format("<boot order='1'/>"), True),
        ("", disk_xml("vda"), False),
    ],
)
def test_a_boot_from_the_network(os: str, devices: str, is_lost: bool) -> None:
    found = losses(devices, os=f"<os><type>hvm</type>{os}</os>")
    assert (
        found
        == ["it boots from the network first; the instance boots from disk 0 only"][
            : 1 if is_lost else 0
        ]
    )


def test_features_of_the_cpu() -> None:
    features = """<cpu mode='custom'><model>Skylake</model><feature policy='require' name='vmx'/>
      <feature policy='disable' name='hle'/><feature policy='optional' name='x'/>
      <feature policy='forbid' name='rtm'/></cpu>"""
    assert parse(domain_xml(more=features)).cpu_features == ("+vmx", "-hle", "-rtm")
