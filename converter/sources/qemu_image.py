"""How QEMU's tools are told of an image. Pure."""

import json
from typing import Any

from converter.formats import foreign
from converter.formats.disksize import Stated

CLIENTS = 16  # maximum connections of qemu-nbd: those of the threads and the first one


def driver_options(
    image_format: str,
    filename: str,
    *,
    is_block: bool = False,
    found: Stated | None = None,
    force_share: bool = False,
) -> str:
    """The image's name for QEMU's tools, which fixes its format and file, and allows no parent.

    It is a `json:` pseudo-protocol name (qemu(1), "Device URL Syntax"), without white space.

    Args:
        image_format: qcow2, raw, or one of `foreign.NAMES`.
        filename: of the image.
        is_block: whether that is a block device.
        found: the result of `check`.
        force_share: whether to read it although another QEMU may write to it.
    """
    file: dict[str, Any] = {
        "driver": "host_device" if is_block else "file",
        "filename": filename,
    }
    if found is not None and found.end is not None:
        file = {"driver": "raw", "offset": 0, "size": found.end, "file": file}
    options: dict[str, Any] = {"driver": image_format, "file": file}
    if image_format in foreign.WITH_PARENT:
        options["backing"] = None
    if force_share:
        options["force-share"] = True
    options |= found.options if found is not None else {}
    return "json:" + json.dumps(options, separators=(",", ":"))
