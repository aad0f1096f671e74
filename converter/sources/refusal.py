"""Why QEMU does not read an image, from what its tools print, and what is to be done. Pure."""

import re
import shlex
from collections.abc import Iterable

from converter.errors import ImageRefused

# Formats whose images `qemu-img check` repairs (QEMU's bdrv_co_check of each driver).
REPAIRABLE = ("vhdx", "qed", "parallels")
# What it prints, and what that means.
_KNOWN = (
    (
        "log that needs to be replayed",
        "its log holds changes that are not in place yet: what wrote to it did not end properly",
    ),
    ("not closed correctly", "it was not closed: what wrote to it did not end properly"),
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
        name: the source, as the user called it.
        image_format: of the image.
        said: the lines that qemu-img or qemu-nbd printed.
        internal: the name by which it was given the image: of no use to the user.
        path: of the image, where the user can give it to qemu-img.
        host: where that is; None for this one.
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
    # Space that is not used is no damage.
    if grave := [line for line in errors if "leaked" not in line]:
        more = f" (and {len(grave) - 1} more errors)" if len(grave) > 1 else ""
        return f"{grave[0]}{more}"
    told = [_BEGIN.sub("", line) for line in lines if line.startswith("qemu-")]
    return [*told, *lines[-1:], "it ended without a message"][0]
