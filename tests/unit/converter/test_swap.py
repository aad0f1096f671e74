import os
import struct
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from converter import swap
from converter.contents.swap_header import parsed
from converter.extents import Kind
from converter.swap import replacements
from node.errors import KitError
from tests.unit.converter.swap_pages import GOLDEN, MIB, UUID_, disk, look, only, page
from tests.unit.converter.tables import mbr


class Mkswap:
    """Stands in for mkswap; what it gets wrong is set by `wrong`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.wrong: dict[str, int | bytes] = {}
        monkeypatch.setattr(swap, "run", self)

    def __call__(self, argv: Sequence[str], *, what: str) -> None:
        assert what.startswith("mkswap")
        self.calls.append([*argv])
        path, size = Path(argv[-1]), int(argv[4])
        made = bytes(1024) + struct.pack("=III", 1, path.stat().st_size // size - 1, 0)
        made += UUID(argv[2]).bytes
        content = bytearray(made.ljust(size - 10, b"\0") + b"SWAPSPACE2")
        for place, wrong in self.wrong.items():
            at = int(place)
            content[at : at + 1] = bytes([wrong]) if isinstance(wrong, int) else wrong
        with path.open("r+b") as file:
            file.write(content)


@pytest.fixture
def mkswap(monkeypatch: pytest.MonkeyPatch) -> Mkswap:
    return Mkswap(monkeypatch)


@pytest.mark.parametrize(("size", "order"), GOLDEN)
def test_an_area_is_made_anew_as_it_was(size: int, order: str, mkswap: Mkswap) -> None:
    area = only(disk(page(size, order)))
    header, zeros = replacements([area], MIB, MIB)
    assert header.literal == page(size, order)
    assert (header.guest_offset, header.length, header.kind) == (0, size, Kind.LITERAL)
    assert (zeros.guest_offset, zeros.end, zeros.kind) == (size, MIB, Kind.ZERO)
    (argv,) = mkswap.calls
    assert argv[:-1] == ["mkswap", "--uuid", str(UUID_), "--pagesize", str(size)]
    assert argv[-1].startswith(f"/proc/{os.getpid()}/fd/")


@pytest.mark.parametrize("label", [bytes(16), b"sixteen bytes ..", b"\xff\xfe\0after".ljust(16)])
def test_labels_keep_their_bytes(label: bytes, mkswap: Mkswap) -> None:
    content = disk(page(label=label))
    assert replacements([only(content)], MIB, MIB)[0].literal == bytes(content[:4096])
    assert len(mkswap.calls) == 1


def test_no_uuid_stays_none_and_boot_code_stays(mkswap: Mkswap) -> None:
    content = disk(page(uuid=UUID(int=0)))
    content[:3] = b"LIL"
    assert replacements([only(content)], MIB, MIB)[0].literal == bytes(content[:4096])
    assert mkswap.calls[0][2] == "00000000-0000-0000-0000-000000000000"


@pytest.mark.usefixtures("mkswap")
def test_a_whole_disk_is_sized_to_the_target() -> None:
    header, zeros = replacements([only(disk(page()))], 3 * MIB, MIB)
    assert zeros.end == 3 * MIB
    found = only(disk(header.literal, 3 * MIB))
    assert found.uuid == UUID_
    told = parsed(header.literal)
    assert told is not None and told.last_page == 3 * 256 - 1


@pytest.mark.usefixtures("mkswap")
def test_an_area_in_a_partition_keeps_its_size_and_areas_come_in_order() -> None:
    content = bytearray(4 * MIB)
    mbr(content, [(0x82, 4096, 2048), (0x82, 64, 2100)])
    content[2 * MIB : 2 * MIB + 4096] = page()
    content[64 * 512 : 64 * 512 + 4096] = page()
    areas = look(content).areas
    made = replacements(reversed(areas), 9 * MIB, 4 * MIB)
    assert [(one.guest_offset, one.end) for one in made] == [
        (64 * 512, 64 * 512 + 4096),
        (64 * 512 + 4096, 64 * 512 + MIB),
        (2 * MIB, 2 * MIB + 4096),
        (2 * MIB + 4096, 3 * MIB),
    ]
    assert made[2].literal == page()


# The version, the last page (more than fit, too few), bad pages, the UUID, the signature.
@pytest.mark.parametrize(
    "wrong", [{"1024": 2}, {"1029": 9}, {"1028": 4}, {"1032": 1}, {"1036": 9}, {"4090": 0}]
)
def test_a_mkswap_that_does_other_than_told_is_found_out(
    wrong: dict[str, int | bytes], mkswap: Mkswap
) -> None:
    mkswap.wrong = wrong
    if "1028" in wrong:
        mkswap.wrong = {"1028": 4, "1029": 0}
    with pytest.raises(KitError, match="not what was asked for"):
        replacements([only(disk(page()))], MIB, MIB)


@pytest.mark.usefixtures("mkswap")
@pytest.mark.parametrize(
    ("kept_until", "rest"),
    [
        (MIB, [(Kind.SAME, 4096, MIB), (Kind.ZERO, MIB, 3 * MIB)]),
        (9 * MIB, [(Kind.SAME, 4096, 3 * MIB)]),
        (8192, [(Kind.SAME, 4096, 8192), (Kind.ZERO, 8192, 3 * MIB)]),
        (4096, [(Kind.ZERO, 4096, 3 * MIB)]),
        (0, [(Kind.ZERO, 4096, 3 * MIB)]),
    ],
)
def test_what_an_earlier_copy_made_stays(
    kept_until: int, rest: list[tuple[Kind, int, int]]
) -> None:
    """Only the header is written again."""
    header, *made = replacements([only(disk(page()))], 3 * MIB, MIB, kept_until=kept_until)
    assert header.kind is Kind.LITERAL
    assert [(each.kind, each.guest_offset, each.end) for each in made] == rest
    assert all(each.host_offset == each.guest_offset for each in made if each.kind is Kind.SAME)
