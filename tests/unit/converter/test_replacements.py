import logging
from uuid import UUID

import pytest

from converter import replacements
from converter.contents.gpt import Repair
from converter.contents.swap_header import Found, SwapArea
from converter.extents import Extent, Kind
from node.errors import KitError

MIB = 1 << 20
AREA = SwapArea(4 * MIB, MIB, 4096, "little", UUID(int=5), bytes(16), b"")
HEADER = Extent(4 * MIB, 4096, Kind.LITERAL, literal=b"s" * 4096)
MBR = Extent(0, 512, Kind.LITERAL, literal=b"m" * 512)
BACKUP = Extent(15 * MIB, 512, Kind.LITERAL, literal=b"b" * 512)


def unread(_offset: int, _length: int) -> bytes:
    raise AssertionError("it must not be read")


def found(
    monkeypatch: pytest.MonkeyPatch, *areas: SwapArea, warnings: tuple[str, ...] = ()
) -> None:
    monkeypatch.setattr(
        replacements.swap_header, "find_areas", lambda _read, _size: Found(areas, warnings)
    )


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        replacements.swap,
        "replacements",
        lambda areas, _target, _size, **_more: [HEADER] * len(areas),
    )
    repair = Repair((MBR, BACKUP), "GPT: moved")
    monkeypatch.setattr(replacements.gpt, "repaired", lambda _read, _size, _target: repair)


def test_swap_that_is_copied_is_not_looked_for() -> None:
    assert replacements.swap_areas(unread, MIB, "disk", mode="copy") == ()


def test_what_only_looks_like_swap_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found(monkeypatch, AREA, warnings=("partition 2: odd",))
    monkeypatch.setattr(replacements.log, "propagate", True)
    with caplog.at_level(logging.WARNING):
        assert replacements.swap_areas(unread, MIB, "disk", mode="recreate") == (AREA,)
    assert caplog.messages == ["partition 2: odd"]


def test_swap_in_which_a_machine_hibernates_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = SwapArea(0, MIB, 4096, "little", UUID(int=5), bytes(16), b"", hibernated="S1SUSPEND")
    found(monkeypatch, AREA, asleep)
    with pytest.raises(KitError, match="disk"):
        replacements.swap_areas(unread, MIB, "disk", mode="recreate")


def test_a_read_that_is_short_is_an_error_of_the_source() -> None:
    with pytest.raises(KitError, match="source disk: "):
        replacements.swap_areas(lambda _offset, _length: b"", MIB, "disk", mode="recreate")


@pytest.mark.usefixtures("parts")
def test_all_replacements_are_in_order_and_told() -> None:
    planned = replacements.plan_replacements([AREA], unread, 8 * MIB, 16 * MIB, fix_gpt=True)
    assert planned.extents == (MBR, HEADER, BACKUP)
    swap, gpt = planned.notes
    assert str(AREA.uuid) in swap and str(AREA.start) in swap and gpt == "GPT: moved"


@pytest.mark.usefixtures("parts")
def test_a_gpt_stays_where_that_is_wished() -> None:
    planned = replacements.plan_replacements([AREA], unread, 8 * MIB, 16 * MIB, fix_gpt=False)
    assert planned.extents == (HEADER,) and len(planned.notes) == 1


@pytest.mark.usefixtures("parts")
def test_a_disk_that_is_all_swap_has_no_gpt() -> None:
    """Behind the new header all is dropped, so what looked like a table there is, too."""
    whole = SwapArea(0, 8 * MIB, 4096, "little", UUID(int=5), bytes(16), b"")
    planned = replacements.plan_replacements([whole], unread, 8 * MIB, 16 * MIB, fix_gpt=True)
    assert planned.extents == (HEADER,)
