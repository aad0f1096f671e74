"""Escaping of foreign text for terminals and logs; sizes as text."""

import os
from math import ceil, floor

import pytest

from node.text import on_one_line, printable, size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/büro 1.qcow2", "/srv/büro 1.qcow2"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nerror: b\r", "a\\nerror: b\\r"),
        ("tab\there", "tab\\there"),
        ("\x9b2J", "\\x9b2J"),  # CSI as one character (C1)
        ("gpj.\u202etxt", "gpj.\\u202etxt"),  # turns what follows around
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028separator", "line\\u2028separator"),
        (os.fsdecode(b"b\xfcro \x9b\xff"), "b\\xfcro \\x9b\\xff"),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_nothing_from_outside_steers_a_terminal(text: str, shown: str):
    assert printable(text) == shown
    assert shown.isprintable()
    shown.encode()  # and every stream takes it


def test_a_log_has_blanks_for_tabs() -> None:
    assert on_one_line("E:\ta\nb\x1b") == "E:      a\\nb\\x1b"


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1024 * 1024 - 1, "1 MiB"),
        (512 << 20, "512 MiB"),
        (20 << 30, "20 GiB"),
        ((3 << 40) - (1 << 30), "3 TiB"),
        (3 << 50, "3 PiB"),
        ((1 << 63) - 1, "8 EiB"),
        (5 << 70, "5120 EiB"),
    ],
)
def test_sizes_have_the_unit_that_suits(count: int, said: str):
    assert size(count) == said


@pytest.mark.parametrize("needs", [1 << 20, 1913 << 20, 1 << 30, (4 << 30) + 1])
def test_what_suffices_never_reads_like_what_is_too_little(needs: int):
    assert size(needs - 1, floor) != size(needs, ceil)
    assert (size((1 << 30) - 1, floor), size((1 << 30) - 1, ceil)) == ("1023.9 MiB", "1 GiB")
    assert size(1913 << 20, ceil) == "1.9 GiB" and size(1900 << 20, ceil) == "1.9 GiB"
