from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.disks.partitions import GPT_BACKUP, SECTOR, Use, plan_partitions, sfdisk_script
from installer.settings import MIB

GOLDEN = Path(__file__).parents[3] / "data/golden/disks"


@pytest.mark.parametrize("style", ["msdos", "gpt"])
@given(size=st.integers(min_value=2048 * MIB, max_value=1 << 40), factor=st.integers(1, 8))
def test_partitions_are_aligned_and_fit(style: str, size: int, factor: int) -> None:
    parts = plan_partitions(style, size, 2048 * factor)
    end = 0
    for part in parts:
        assert part.offset % MIB == 0 and part.size % MIB == 0 and part.size > 0
        assert part.offset >= max(end, MIB)
        end = part.offset + part.size
    assert parts[-1].use is Use.ROOT
    limit = size - GPT_BACKUP if style == "gpt" else size
    assert limit - MIB < end <= limit


@pytest.mark.parametrize("style", ["msdos", "gpt"])
def test_sfdisk_script(style: str) -> None:
    parts = plan_partitions(style, 4096 * MIB, 2048)
    script = sfdisk_script(style, "01234567-89ab-cdef-0123-456789abcdef", parts)
    assert script == (GOLDEN / f"sfdisk-{style}").read_text()
    assert f"start={parts[-1].offset // SECTOR}," in script
