import json
import struct
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.contents.guest_config import NETWORK, REFERRING, addresses, missing, references
from converter.contents.inspect import Findings, findings_json, findings_text
from converter.contents.report import Contents, Image, Work, describe, image_json, render, work
from converter.contents.superblocks import Signature, signatures
from converter.extents import Extent, Kind
from converter.reading import Window
from tests.unit.converter.tables import gpt, mbr, reader

MIB = 1 << 20
ID = "0e5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a11"
OTHER = "99999999-77a8-4d0b-9f0c-3d3b8e6f4a11"


def ext4(label: bytes) -> bytes:
    block = bytearray(1024)
    block[56:58] = b"\x53\xef"
    struct.pack_into("<III", block, 92, 0x4, 0x40, 0x8)
    block[104:120] = UUID(ID).bytes
    block[120:136] = label.ljust(16, b"\0")
    return bytes(1024) + bytes(block)


def swap(pages: int) -> bytes:
    head = bytes(1024) + struct.pack("<III", 1, pages - 1, 0) + UUID(OTHER).bytes + b"paging"
    return head.ljust(4086, b"\0") + b"SWAPSPACE2"


def disk(label: bytes = b"root") -> bytearray:
    content = bytearray(8 * MIB)
    gpt(content, [(2048, 6143), (8192, 10239)])
    content[MIB : MIB + 2048] = ext4(label)
    content[4 * MIB : 4 * MIB + 4096] = swap(256)
    return content


def contents(content: bytes | bytearray) -> Contents:
    return describe(reader(content), len(content))


EXTENTS = [
    Extent(0, 2 * MIB, Kind.DATA, 65536),
    Extent(2 * MIB, MIB, Kind.ZERO),
    Extent(3 * MIB, MIB, Kind.COMPRESSED, 9 * MIB, 1000),
    Extent(4 * MIB, MIB // 2, Kind.DATA, 12 * MIB),
    Extent(9 * MIB // 2, 7 * MIB // 2, Kind.ZERO),
]


def image(label: bytes = b"root") -> Image:
    found = contents(disk(label))
    return Image("a.qcow2", "qcow2", found, work(EXTENTS, found.swap), {"version": "3"})


def test_a_disk_is_described_for_people() -> None:
    table = "d1d1d1d1-0000-4000-8000-00000000000d"
    assert render(image()) == (
        "a.qcow2: qcow2, 8 MiB, 2.5 MiB allocated\n"
        "  version: 3\n"
        f"  partition table: gpt, {table}\n"
        f"  partition 1 'part 1' (2 MiB, Linux): ext4 UUID {ID} label 'root'\n"
        f"  partition 2 'part 2' (1 MiB, Linux): swap UUID {OTHER} label 'paging'\n"
        "  a copy reads 3 MiB, makes 4 MiB zero, drops 1 MiB of swap\n"
        f"  swap at byte 4194304 is made anew: UUID {OTHER}, pages of 4 KiB, little-endian\n"
        "  on a larger target, GPT: its backup goes to the target's end\n"
    )


def test_a_disk_is_described_for_programs() -> None:
    found = json.loads(json.dumps(image_json(image())))
    assert found["virtual_size"] == 8 * MIB
    assert found["allocated_size"] == 2 * MIB + 1000 + MIB // 2
    assert found["partition_table"]["type"] == "gpt"
    assert found["copy"] == {
        "read_bytes": 3 * MIB,
        "zero_bytes": 4 * MIB,
        "swap_bytes": MIB,
        "gpt": "GPT: its backup goes to the target's end",
    }
    assert found["contents"][0]["holds"] == [{"type": "ext4", "uuid": ID, "label": "root"}]
    assert found["contents"][1]["partition"] == 2
    assert found["swap"][0]["uuid"] == OTHER
    assert found["swap"][0]["label"] == "paging"


def test_an_empty_disk_is_described() -> None:
    found = contents(bytes(MIB))
    text = render(Image("a.raw", "raw", found, work([Extent(0, MIB, Kind.ZERO)], ())))
    assert "  whole disk: unknown\n" in text
    assert "partition table" not in text
    assert image_json(Image("a", "raw", found, Work(0, 0, 0, 0)))["partition_table"] is None
    assert found.tags == frozenset()


def test_a_file_system_on_the_whole_disk() -> None:
    found = contents(ext4(b"data").ljust(MIB, b"\0"))
    assert found.places[0].holds[0].type == "ext4"
    assert found.tags == {("UUID", ID), ("LABEL", "data")}


def test_tags_are_what_a_guest_names_things_by() -> None:
    assert contents(disk()).tags == {
        *{("UUID", ID), ("LABEL", "root"), ("UUID", OTHER), ("LABEL", "paging")},
        ("PARTUUID", str(UUID(int=0xABC << 64 | 1))),
        ("PARTUUID", str(UUID(int=0xABC << 64 | 2))),
        *{("PARTLABEL", "part 1"), ("PARTLABEL", "part 2")},
    }


def test_names_from_the_image_do_not_steer_the_terminal() -> None:
    text = render(image(b"\x1b[2J\nerror: x\xff"))
    assert "\x1b" not in text
    assert "\nerror" not in text
    assert text.count("\n") == 8


def test_warnings_are_shown() -> None:
    content = bytearray(MIB)
    mbr(content, [(0x83, 64, 5000)])
    found = contents(content)
    text = render(Image("a", "raw", found, Work(0, 0, 0, 0)))
    assert "  warning: partition 1: is not inside of the disk; it does not count\n" in text


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, 8 * MIB - 1) | st.integers(MIB, MIB + 2048), st.integers(0, 255)),
        max_size=20,
    ),
    st.binary(max_size=600),
    st.integers(0, 8 * MIB),
)
def test_no_bytes_make_a_description_fail(
    pokes: list[tuple[int, int]], front: bytes, size: int
) -> None:
    content = disk()
    content[64 << 10 : (64 << 10) + len(front)] = front
    for place, value in pokes:
        content[place] = value
    found = contents(content[:size])
    shown = Image("a", "raw", found, Work(0, 0, 0, 0))
    assert "\x1b" not in render(shown)
    json.dumps(image_json(shown))


FSTAB = f"""# UUID=commented
UUID={ID.upper()} / ext4 defaults 0 1
  UUID="{OTHER}" none swap sw 0 0
LABEL=my\\040data /srv ext4 defaults,x-from=UUID=option 0 2
/dev/disk/by-partuuid/c0ffee01-05 /home ext4 defaults 0 2
PARTLABEL=opt /opt ext4 defaults 0 2
/dev/vda7 /mnt ext4 defaults 0 2
tmpfs /tmp tmpfs defaults 0 0

"""


def named(file: str, content: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.tag, one.value) for one in references(file, content)]


def test_what_fstab_names() -> None:
    assert named("/etc/fstab", FSTAB) == [
        (2, "UUID", ID.upper()),
        (3, "UUID", OTHER),
        (4, "LABEL", "my data"),
        (5, "PARTUUID", "c0ffee01-05"),
        (6, "PARTLABEL", "opt"),
    ]


def test_what_resume_and_kernel_command_lines_name() -> None:
    assert named("/etc/initramfs-tools/conf.d/resume", f"RESUME=UUID={OTHER}\n") == [
        (1, "UUID", OTHER)
    ]
    assert named("/etc/initramfs-tools/conf.d/resume", "RESUME=/dev/vda5\nRESUME=none\n") == []
    default = f'#x UUID=no\nGRUB_CMDLINE_LINUX="quiet resume=UUID={OTHER} root=PARTUUID=c0-01"\n'
    assert named("/etc/default/grub", default) == [(2, "UUID", OTHER), (2, "PARTUUID", "c0-01")]
    grub = f"""set root='hd0,msdos1'
  search --no-floppy --fs-uuid --set=root --hint='hd0,msdos1'  {ID}
linux /boot/vmlinuz root=UUID={OTHER} ro quiet
linux /boot/vmlinuz.old root=UUID={OTHER} ro single
search --label --set=root data
search --fs-uuid --set=root $rootuuid
"""
    assert named("/boot/grub/grub.cfg", grub) == [
        *[(2, "UUID", ID), (3, "UUID", OTHER)],
        (5, "LABEL", "data"),
    ]


def test_what_is_on_no_disk_is_missing() -> None:
    tags = {("UUID", ID), ("LABEL", "MY DATA"), ("PARTUUID", "C0FFEE01-05"), ("PARTLABEL", "opt")}
    found = missing(references("/etc/fstab", FSTAB), tags)
    assert [(one.file, one.line, one.tag) for one in found] == [
        ("/etc/fstab", 3, "UUID"),
        ("/etc/fstab", 4, "LABEL"),
    ]
    assert f'UUID="{OTHER}" none swap' in found[0].text


def given_to(file: str, content: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.interface, one.value) for one in addresses(file, content)]


def test_addresses_of_ifupdown() -> None:
    content = """auto lo eth0
iface lo inet loopback
iface eth0 inet static
    address 203.0.113.5
    gateway 203.0.113.1
    netmask 255.255.255.0
iface eth0 inet6 static
    address 2001:db8::5/64
iface ens3 inet dhcp
iface ens4 inet6 auto
iface ens5 inet static
    address nonsense
"""
    expected = [
        (4, "eth0", "203.0.113.5/24"),
        (8, "eth0", "2001:db8::5/64"),
        (9, "ens3", "dhcp"),
        (10, "ens4", "auto"),
    ]
    assert given_to("/etc/network/interfaces", content) == expected
    assert given_to("/etc/network/interfaces.d/eth0", content) == expected


def test_addresses_of_networkd() -> None:
    content = """[Match]
Name=ens3
[Network]
DHCP=yes
Address=203.0.113.5/24
[Address]
# Address=192.0.2.1/24
Address=2001:db8::5/64
[Network]
DHCP=no
"""
    assert given_to("/etc/systemd/network/10-lan.network", content) == [
        (4, "ens3", "dhcp"),
        (5, "ens3", "203.0.113.5/24"),
        (8, "ens3", "2001:db8::5/64"),
    ]


def test_addresses_of_network_manager() -> None:
    content = """[connection]
id=Wired
interface-name=ens3
[wifi-security]
psk=secret/24
[ipv4]
address1=203.0.113.5/24,203.0.113.1
method=manual
[ipv6]
method=auto
"""
    assert given_to("/etc/NetworkManager/system-connections/Wired.nmconnection", content) == [
        (7, "ens3", "203.0.113.5/24"),
        (10, "ens3", "auto"),
    ]


def test_addresses_of_netplan() -> None:
    content = """# made by cloud-init
network:
  version: 2
  ethernets:
    ens3:
      addresses: [203.0.113.5/24, "2001:db8::5/64"]
      nameservers:
        addresses: [192.0.2.53]
      routes:
        - to: 0.0.0.0/0
          via: 203.0.113.1
    ens4:
      addresses:
      - 203.0.113.6/24  # the other
      dhcp6: true
    ens5:
      dhcp4: no
  bridges:
    br0:
      addresses:
        - "203.0.113.7/24":
            label: br0:1
"""
    assert given_to("/etc/netplan/50-cloud-init.yaml", content) == [
        (6, "ens3", "203.0.113.5/24"),
        (6, "ens3", "2001:db8::5/64"),
        (14, "ens4", "203.0.113.6/24"),
        (15, "ens4", "dhcp6"),
        (21, "br0", "203.0.113.7/24"),
    ]


def test_findings_are_shown() -> None:
    findings = Findings(
        tuple(missing(references("/etc/fstab", FSTAB), {("UUID", ID)})[:1]),
        tuple(addresses("/etc/network/interfaces", "iface eth0 inet dhcp\n")),
        ("x\x1b",),
    )
    assert findings_text(findings) == (
        f"/etc/fstab:3: UUID={OTHER} is on none of the disks given: "
        f'UUID="{OTHER}" none swap sw 0 0\n'
        "/etc/network/interfaces:1: eth0: dhcp\n"
        "warning: x\\x1b\n"
    )
    found = json.loads(json.dumps(findings_json(findings)))
    assert found["missing"][0]["line"] == 3
    assert found["addresses"][0]["interface"] == "eth0"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.sampled_from([*REFERRING, *NETWORK]),
    st.lists(
        st.text(max_size=20)
        | st.sampled_from(
            [
                "iface a inet static",
                "address",
                "netmask 1",
                "[ipv4]",
                "UUID=",
                'UUID="',
                "- :",
                "network:",
                "  ethernets:",
                "    a:",
                "      addresses: 1/99",
                "search --fs-uuid x",
            ]
        ),
        max_size=8,
    ),
)
def test_no_text_makes_the_parsers_fail(file: str, lines: list[str]) -> None:
    content = "\n".join(lines)
    references(file, content)
    addresses(file, content)


def window(*pokes: tuple[int, bytes], size: int = MIB) -> Window:
    content = bytearray(size)
    for place, found in pokes:
        content[place : place + len(found)] = found
    return Window(reader(content), 0, size)


MD = struct.pack("<II", 0xA92B4EFC, 1).ljust(16, b"\0") + UUID(ID).bytes + b"node7:0"


def md(place: int) -> Window:
    # struct mdp_superblock_1 of the kernel's md_p.h: data_offset, data_size, super_offset.
    block = MD.ljust(128, b"\0") + struct.pack("<QQQ", 2048, 8192, place // 512)
    return window((place, block))


@pytest.mark.parametrize("place", [0, 4096, MIB - 8192])
def test_raid_members_of_metadata_1(place: int) -> None:
    assert signatures(md(place)) == [Signature("linux_raid_member", ID, "node7:0")]


@pytest.mark.parametrize("order", ["<", ">"])
def test_raid_members_of_metadata_0_90(order: str) -> None:
    words = struct.unpack(">4I", UUID(ID).bytes)
    block = struct.pack(f"{order}II12xI28xIII", 0xA92B4EFC, 0, *words)
    found = signatures(window((MIB - 0x10000, block)))
    assert found == [Signature("linux_raid_member", ID)]


def test_a_raid_superblock_elsewhere_is_none() -> None:
    assert signatures(window((4096, MD.ljust(152, b"\1")))) == []


def test_cd_images() -> None:
    volume = b"\x01CD001".ljust(40, b"\0") + b"Debian 12".ljust(32)
    created = (32768 + 813, b"2023061008070900")
    assert signatures(window((32768, volume), created)) == [
        Signature("iso9660", "2023-06-10-08-07-09-00", "Debian 12")
    ]
    assert signatures(window((32768, volume))) == [Signature("iso9660", None, "Debian 12")]
