"""Images of formats that QEMU reads for us: checked, then served by qemu-nbd in a sandbox."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from converter import paths
from converter.errors import FormatUnknown, ImageRefused
from converter.formats import blocks, disksize, ends, foreign
from converter.formats.disksize import Stated
from converter.reading import Read
from converter.sources import sized
from converter.sources.base import Source
from converter.sources.image_file import LocalFile
from converter.sources.nbd import NbdSource, unix_uri
from converter.sources.qemu_image import CLIENTS, driver_options
from converter.sources.refusal import refusal
from converter.sources.sandbox import IMAGE, SOCKET, confined, outside
from node.run import run
from node.service import serving

CHECK_SECONDS = 600  # limit of processor time
START_SECONDS = 30.0
SLOWEST = 4 << 20  # bytes that qemu-nbd reads in a second of processor time, at least
# Accepted exit codes of `qemu-img check` (qemu-img(1)): no errors; only leaks; no checks available.
SOUND = (0, 3, 63)


@contextmanager
def format_source(name: str, image_format: str) -> Iterator[Source]:
    """Opens an image file of a format that QEMU reads for us.

    Args:
        name: of the file, as the user gave it.
        image_format: one of `foreign.NAMES`.

    Raises:
        KitError: the format is unknown; or the image is in use, of another format, damaged,
            truncated, or needs another file.
    """
    if image_format not in foreign.NAMES:
        raise FormatUnknown(name, image_format, ("qcow2", "raw", *foreign.NAMES))
    with paths.open_source_file(name, name) as fd:
        file = LocalFile(fd, name)
        found = check(name, image_format, file.pread, file.size)
        with _served(Path(name).resolve(), file, image_format, found) as source:
            yield source


def check(name: str, image_format: str, read: Read, size: int) -> Stated:
    """Checks an image before QEMU may read it; returns the disk size that it states.

    Raises:
        KitError: the image is of another format, damaged, truncated, or needs another file.
    """
    try:
        end = ends.end(image_format, read, size)
        foreign.check(image_format, read, end)
        blocks.check(image_format, read, end)
        found = disksize.stated(image_format, read, end)
        return found._replace(end=end) if end < size else found
    except foreign.NotAloneError as error:
        raise ImageRefused(
            f"source {name}: {error}",
            hint="flatten it where it comes from: qemu-img convert -O qcow2 IMAGE FLAT.qcow2",
        ) from error
    except foreign.ForeignError as error:
        raise ImageRefused(
            f"source {name}: {error}",
            hint="check that the format is right; if it is damaged, restore it from a good copy",
        ) from error


@contextmanager
def _served(path: Path, file: LocalFile, image_format: str, found: Stated) -> Iterator[Source]:
    status = os.fstat(file.fd)
    image = driver_options(image_format, IMAGE, is_block=file.is_block, found=found)

    def qemu_img(*words: str) -> Any:
        command = ["qemu-img", *words, image]
        return run(
            confined(command, path, status, CHECK_SECONDS),
            what=f"qemu-img {words[0]}",
            check=False,
            ends_with_us=True,
        )

    told = qemu_img("info", "--output=json")
    checked = qemu_img("check")
    for result, good in ((told, (0,)), (checked, SOUND)):
        if result.exit_code not in good:
            said = (result.stdout + result.stderr).splitlines()
            raise refusal(file.name, image_format, said, internal=IMAGE, path=file.name)
    info = json.loads(told.stdout)
    seconds = CHECK_SECONDS + int(info["virtual-size"]) // SLOWEST
    command = ["qemu-nbd", "--read-only", "--persistent", f"--shared={CLIENTS}"]
    command += [f"--socket={SOCKET}", image]
    with serving(confined(command, path, status, seconds), what="qemu-nbd") as server:
        socket = outside(server.pid)
        server.wait_for(lambda: os.path.exists(socket), START_SECONDS)  # noqa: PTH110
        source = NbdSource(
            unix_uri(socket),
            file.name,
            image_format,
            file.identity,
            status=status,
            check_origin=file.check_unchanged,
            last_words=lambda: None if server.running else server.last_words,
        )
        try:
            yield sized.exactly(source, found.size)
        finally:
            source.close()
