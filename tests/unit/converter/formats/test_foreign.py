"""What is told of foreign images before QEMU sees them."""

import re
import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.formats import foreign
from converter.formats.foreign import ForeignError, NotAloneError
from converter.sources.qemu_image import driver_options
from converter.sources.sandbox import IMAGE, SOCKET, outside

DESCRIPTOR = (
    '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicSparse"\n'
    'RW 2048 SPARSE "image.vmdk"\n'
)


def check(image_format: str, image: bytes) -> None:
    def read(offset: int, length: int) -> bytes:
        assert offset >= 0 and length >= 0 and offset + length <= len(image)
        return image[offset : offset + length]

    foreign.check(image_format, read, len(image))


def vmdk(descriptor: str = DESCRIPTOR, *, capacity: int = 2048, grain: int = 21) -> bytes:
    """A directory at sector 1, a descriptor at 4, a table at 12, and a grain of 8 sectors."""
    header = struct.pack("<4sIIQQQQIQQ", b"KDMV", 1, 3, capacity, 8, 4, 8, 512, 0, 1)
    image = bytearray(29 * 512)
    for sector, data in (
        (0, header),
        (1, struct.pack("<I", 12)),
        (4, descriptor.encode()),
        (12, struct.pack("<I", grain)),
    ):
        image[sector * 512 : sector * 512 + len(data)] = data
    return bytes(image)


def test_a_vmdk_that_stands_alone() -> None:
    check("vmdk", vmdk())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("parentCID=ffffffff", "parentCID=12345678"),
        ("parentCID=ffffffff\n", ""),
        ("CID=1\n", 'CID=1\nparentFileNameHint="/etc/shadow"\n'),
        ("monolithicSparse", "monolithicFlat"),
        ("monolithicSparse", "twoGbMaxExtentSparse"),
        ('RW 2048 SPARSE "image.vmdk"', 'RW 2048 FLAT "/etc/shadow" 0'),
        ("RW 2048", 'RW 2048 SPARSE "/etc/shadow"\nRW 2048'),
    ],
)
def test_vmdks_of_several_files(old: str, new: str) -> None:
    assert old in DESCRIPTOR
    with pytest.raises(NotAloneError):
        check("vmdk", vmdk(DESCRIPTOR.replace(old, new)))


def test_a_vmdk_of_capacity_0_is_a_descriptor() -> None:
    with pytest.raises(NotAloneError, match="another file describes"):
        check("vmdk", vmdk(capacity=0))


def test_a_grain_behind_the_end() -> None:
    with pytest.raises(ForeignError, match="truncated: it has 14848 bytes, but needs 15360"):
        check("vmdk", vmdk(grain=22))
    with pytest.raises(ForeignError, match="truncated"):
        check("vmdk", vmdk()[:-1])


def test_magics() -> None:
    for magic, name in (
        (b"QFI\xfb", "qcow2"),
        (b"KDMV", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"LUKS\xba\xbe", "luks"),
    ):
        with pytest.raises(ForeignError, match=re.escape(f"it is {name}, not vdi")):
            check("vdi", magic.ljust(1024, b"\0"))
    with pytest.raises(ForeignError, match="it is not a vdi image"):
        check("vdi", bytes(1024))
    with pytest.raises(ForeignError, match="it is vpc, not vdi"):
        check("vdi", bytes(1024) + b"conectix".ljust(512, b"\0"))


STARTS = st.sampled_from(
    [b"KDMV", b"COWD", b"# Disk DescriptorFile", b"vhdxfile", b"conectix", b"QED\0",
     b"WithoutFreeSpace", b"WithouFreSpacExt", bytes(64) + struct.pack("<I", 0xBEDA107F), b""]
)  # fmt: skip


@settings(derandomize=True, max_examples=500, deadline=None)
@given(
    image_format=st.sampled_from(foreign.NAMES),
    start=STARTS,
    rest=st.binary(max_size=3000),
    end=st.sampled_from([b"", b"conectix".ljust(512, b"\0")]),
)
def test_whatever_stands_there_is_judged_within_the_file(
    image_format: str, start: bytes, rest: bytes, end: bytes
) -> None:
    with suppress(ForeignError):
        check(image_format, start + rest + end)


@settings(derandomize=True, max_examples=500, deadline=None)
@given(data=st.data())
def test_a_spoilt_vmdk_is_judged_within_the_file(data: st.DataObject) -> None:
    image = bytearray(vmdk())
    for _ in range(data.draw(st.integers(1, 8))):
        image[data.draw(st.integers(4, 80))] = data.draw(st.integers(0, 255))
    with suppress(ForeignError):
        check("vmdk", bytes(image))


def test_what_qemu_is_told() -> None:
    assert driver_options("vmdk", "/image") == (
        'json:{"driver":"vmdk","file":{"driver":"file","filename":"/image"},"backing":null}'
    )
    assert driver_options("vpc", "/dev/fd/3", is_block=True) == (
        'json:{"driver":"vpc","file":{"driver":"host_device","filename":"/dev/fd/3"}}'
    )


def test_the_places_in_the_room() -> None:
    assert (IMAGE, outside(7)) == ("/image", f"/proc/7/root{SOCKET}")


def test_a_raw_disk_may_be_encrypted_and_nothing_else() -> None:
    assert not foreign.contradicts("luks", "raw")
    assert not foreign.contradicts(None, "raw")
    assert not foreign.contradicts("qcow2", "qcow2")
    assert foreign.contradicts("luks", "qcow2")
    assert foreign.contradicts("qcow2", "raw")
