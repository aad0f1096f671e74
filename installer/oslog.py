"""What Ganeti's OS log may say: users search it for facts, so nothing else may look like one."""

import re
from collections.abc import Sequence

from node import log
from node.errors import KitError
from node.text import on_one_line

LIMIT = 2000  # characters of a line
_KEYWORDS = re.compile(r"(root)( password)|(configured)( eth\d+ with)|(SHA)(256)")


def mask_log_keywords(text: str) -> str:
    """Text from outside as the log and errors may have it.

    On one line, without control characters, cut at LIMIT, and without the words that the search
    for root's password, the addresses and the fingerprints looks for (README, "Who is the new
    guest?"). A character put into each of these words leaves nothing that could make a new one.
    """
    text = on_one_line(text)
    text = text if len(text) <= LIMIT else f"{text[:LIMIT]}... ({len(text)} characters)"
    return _KEYWORDS.sub(r"\1\3\5-\2\4\6", text)


def is_masked_by_grep(text: str, hostname: str) -> bool:
    """Whether users who search the OS log with `grep -v $(hostname)` miss a line with this text."""
    return hostname != "" and hostname in text


def log_facts(facts: Sequence[str]) -> None:
    """Logs the lines that users search for, as they are.

    Raises:
        KitError: the log takes no more, so nobody would learn of them.
    """
    for fact in facts:
        log.log.info("%s", fact, extra={"fact": True})
    if error := log.failure():
        raise KitError(
            f"OS log: cannot be written: {error.strerror}",
            hint="the guest is whole, but nobody knows its password: make room for the log, and"
            " reinstall it",
        )
