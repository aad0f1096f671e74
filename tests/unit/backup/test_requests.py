"""What Ganeti asks for, by environments that are right and odd."""

from pathlib import Path

import pytest

from backup.requests import read_request
from node.errors import KitError

LINES = (Path(__file__).parents[2] / "data/create.env").read_text().splitlines()
ENVIRON = dict(line.split("=", 1) for line in LINES) | {"EXPORT_DEVICE": "/d", "EXPORT_INDEX": "1"}


@pytest.mark.parametrize("index", ["", "-1", "x", "1x", "²", "\u0663", "9" * 5000])
def test_an_index_that_is_none(index: str) -> None:
    with pytest.raises(KitError, match="EXPORT_INDEX="):
        read_request(ENVIRON | {"EXPORT_INDEX": index}, "export")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("11", 11), ("", None), ("x", None), ("²", None), ("9" * 30, None)]
    + [(str(number), None) for number in range(3)],
)
def test_the_size_goes_to_no_standard_stream(given: str, expected: int | None) -> None:
    assert read_request(ENVIRON | {"EXP_SIZE_FD": given}, "export").size_fd == expected
