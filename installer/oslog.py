"""The lines of Ganeti's OS log: users search it, so only the lines that they want may match."""

import re
from collections.abc import Mapping, Sequence

from node import log
from node.errors import KitError
from node.text import on_one_line

LIMIT = 2000  # characters per line
_KEYWORDS = re.compile(r"(root)( password)|(configured)( eth\d+ with)|(SHA)(256)")


def mask_log_keywords(text: str) -> str:
    """Prepares text from outside for the log and for errors.

    The result is on one line, has no control characters, and is cut at LIMIT. A hyphen is inserted
    into each keyword by which users find root's password, the addresses and the fingerprints
    (README, "Quick start"). The insertion cannot produce another keyword.
    """
    text = on_one_line(text)
    text = text if len(text) <= LIMIT else f"{text[:LIMIT]}... ({len(text)} characters)"
    return _KEYWORDS.sub(r"\1\3\5-\2\4\6", text)


def is_masked_by_grep(text: str, hostname: str) -> bool:
    """Whether `grep -v $(hostname)`, with which users search the log, drops a line of this text."""
    return hostname != "" and hostname in text


def log_facts(facts: Sequence[str]) -> None:
    """Logs the lines that users search for, without changes.

    Raises:
        KitError: the log cannot be written, so these lines may be lost.
    """
    for fact in facts:
        log.log.info("%s", fact, extra={"fact": True})
    if error := log.failure():
        raise KitError(
            f"OS log: cannot be written: {error.strerror}",
            hint="the guest is complete, but nobody knows its password: free space for the log, and"
            " reinstall the guest",
        )


def is_debugged(environ: Mapping[str, str]) -> bool:
    """Whether Ganeti's user wants to see more (gnt-instance --debug-level)."""
    return environ.get("DEBUG_LEVEL", "0") not in ("", "0")
