import json
import struct
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from converter.cli.report import findings_json, findings_text, image_json, render
from converter.contents.describe import DiskReport, Image, Work, describe, work
from converter.contents.guest_config import addresses, missing, references
from converter.contents.inspect import Findings
from converter.extents import Extent, Kind
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


def contents(content: bytes | bytearray) -> DiskReport:
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
    assert "  warning: partition 1: is not inside of the disk; it is ignored\n" in text


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
"""


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
