"""Which way of zeroing a target begins with."""

import pytest

from converter.target.zeroing import Strategy, first_strategy
from node.devices.lvm import LogicalVolume

THICK = LogicalVolume("vg", "lv", "u", 1, attr="-wi-a-----")
THIN = LogicalVolume("vg", "lv", "u", 1, pool="pool", attr="Vwi-a-tz--")
STALE = LogicalVolume("vg", "lv", "u", 1, pool="pool", attr="Vwi-a-t---")


@pytest.mark.parametrize(
    ("volume", "created", "known_zero", "expected"),
    [
        (None, False, False, Strategy.PUNCH),
        (None, True, False, Strategy.SKIP),
        (THICK, False, False, Strategy.PUNCH),
        (THICK, False, True, Strategy.PUNCH),  # a new one holds what was there before it
        (THIN, False, False, Strategy.DISCARD),
        (THIN, False, True, Strategy.SKIP),
        (STALE, False, False, Strategy.WRITE),
        (STALE, False, True, Strategy.WRITE),
    ],
)
def test_first_strategy(
    volume: LogicalVolume | None, created: bool, known_zero: bool, expected: Strategy
) -> None:
    assert first_strategy(volume, created=created, known_zero=known_zero) is expected
