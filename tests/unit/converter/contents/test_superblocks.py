import struct
from uuid import UUID

import pytest

from converter.contents.superblocks import Signature, signatures
from converter.reading import Window
from tests.unit.converter.tables import reader

MIB = 1 << 20
ID = "0e5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a11"


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
