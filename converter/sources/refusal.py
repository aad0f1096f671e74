"""Why QEMU refuses an image, by the output of its tools, and the remedy. Pure."""

import re
import shlex
from collections.abc import Iterable

from converter.errors import ImageRefused

# Formats whose images `qemu-img check` repairs (QEMU's bdrv_co_check of each driver).
REPAIRABLE = ("vhdx", "qed", "parallels")
# Parts of its messages, and what they mean.
_KNOWN = (
    (
        "log that needs to be replayed",
        "its log has changes that are not applied yet: its last writer did not end properly",
    ),
    ("not closed correctly", "it was not closed: its last writer did not end properly"),
)
_BEGIN = re.compile(r"^qemu-(img|nbd): (?:(?:Could not|Failed to \w+) ?\w* '(?:json:.*|[^']*)': )?")


def refusal(
    name: str,
    image_format: str,
    said: Iterable[str],
    *,
    internal: str,
    path: str,
    host: str | None = None,
) -> ImageRefused:
    """The error for an image that QEMU refuses.

    Args:
        name: the source, as the user gave it.
        image_format: of the image.
        said: the lines that qemu-img or qemu-nbd printed.
        internal: the image's name in these lines; the user does not know it.
        path: the image's path, for the user's call of qemu-img.
        host: of the image; None for this one.
    """
    lines = [line.strip() for line in said if line.strip()]
    why = _reason(lines).replace(f"'{internal}'", f"'{path}'")
    hint = "restore it from a good copy, or flatten it where it comes from"
    if image_format in REPAIRABLE:
        command = shlex.join(["qemu-img", "check", "-r", "all", "-f", image_format, path])
        there = f"on {host}: " if host else ""
        hint = f"repair it, or better a copy of it, while nothing uses it: {there}{command}"
    return ImageRefused(f"source {name}: QEMU refuses it: {why}", hint=hint)


def _reason(lines: list[str]) -> str:
    for words, meaning in _KNOWN:
        if any(words in line for line in lines):
            return meaning
    errors = [line.removeprefix("ERROR ") for line in lines if line.startswith("ERROR")]
    # Leaked clusters waste space, but are no damage.
    if grave := [line for line in errors if "leaked" not in line]:
        more = f" (and {len(grave) - 1} more errors)" if len(grave) > 1 else ""
        return f"{grave[0]}{more}"
    told = [_BEGIN.sub("", line) for line in lines if line.startswith("qemu-")]
    return [*told, *lines[-1:], "it ended without a message"][0]
