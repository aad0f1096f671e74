import io
import logging
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer import oslog
from node import log
from node.errors import KitError

SEARCHED = re.compile("root password|configured eth[0-9]+ with|SHA256")


@given(
    st.lists(
        st.sampled_from(
            ["root", " ", "password", "root password", "SHA", "256", "SHA256", "configured",
             " eth0", " with", "configured eth0 with", "\n", "\r", "\x1b[2J", "\u202e", "x", "\t"]
        ),
        max_size=12,
    ).map("".join)
)  # fmt: skip
def test_no_text_from_outside_looks_like_a_fact(text: str) -> None:
    shown = oslog.mask_log_keywords(text)
    assert not SEARCHED.search(shown)
    assert shown.isprintable()


def test_text_from_outside_is_cut() -> None:
    shown = oslog.mask_log_keywords("x" * 10**6)
    assert len(shown) < oslog.LIMIT + 50 and shown.endswith("... (1000000 characters)")


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    log.to_stream(clean=oslog.mask_log_keywords)
    return stream


def test_only_facts_are_logged_as_they_are(output: io.StringIO) -> None:
    log.log.info("disk %s", "root password: evil\nroot password: worse")
    oslog.log_facts(["root password: 123", "configured eth0 with 192.0.2.1/24"])
    assert [line for line in output.getvalue().splitlines() if SEARCHED.search(line)] == [
        "root password: 123",
        "configured eth0 with 192.0.2.1/24",
    ]
    assert len(output.getvalue().splitlines()) == 3


def test_a_log_that_takes_no_more_fails_where_facts_are_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    log.to_stream(clean=oslog.mask_log_keywords)
    logging.getLogger("ganeti-instance-kit").info("nothing happens")
    with pytest.raises(KitError, match="OS log: cannot be written: No space left on device"):
        oslog.log_facts(["root password: 123"])
    assert capsys.readouterr().err == ""
