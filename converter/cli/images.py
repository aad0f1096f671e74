"""What `--info` and `--inspect` print."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from converter.cli.report import findings_json, findings_text, image_json, render
from converter.contents.inspect import describe, guest_config
from converter.sources import open_source


def report(names: Sequence[str], image_format: str | None, *, deep: bool, as_json: bool) -> str:
    """The text that `--info`, or `--inspect` (`deep`), prints.

    Args:
        names: the sources; with `deep`, all disks of one guest.
        image_format: of all of them.
        deep: whether to look into the guest's file systems.
        as_json: as JSON: {"images": [...]}, and "guest" with `deep`.

    Raises:
        KitError: a source cannot be opened or is not sound; the appliance does not start.
    """
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(name, image_format)) for name in names]
        images = [describe(source) for source in sources]
        findings = guest_config(sources, images) if deep else None
    if as_json:
        shown: dict[str, Any] = {"images": [image_json(image) for image in images]}
        if findings is not None:
            shown["guest"] = findings_json(findings)
        return json.dumps(shown, indent=2)
    parts = [*map(render, images), *([findings_text(findings)] if findings else [])]
    return "\n".join(parts).rstrip("\n")
