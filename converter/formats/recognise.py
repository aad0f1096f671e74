"""Checks that an image has the format that it is opened as, on this node or another host."""

from converter.errors import FormatMismatch
from converter.formats import foreign
from converter.reading import Read


def check_format(name: str, image_format: str, read: Read, size: int, *, is_block: bool) -> None:
    """Refuses an image whose first bytes (a fixed VHD: its last ones) belong to another format.

    Args:
        name: of the source, for messages.
        image_format: qcow2 or raw.
        read: reads the file or device.
        size: of it, bytes.
        is_block: whether it is a block device: the default format of these is raw, else qcow2.

    Raises:
        FormatMismatch: the bytes contradict the format.
    """
    found = foreign.recognised(read, size)
    if foreign.contradicts(found, image_format):
        # A disk that its guest has encrypted is copied as raw.
        fits = "raw" if found == "luks" else str(found)
        raise FormatMismatch(
            name,
            f"by its magic it is a {found} image, not {image_format}",
            fits=fits,
            is_default=fits == ("raw" if is_block else "qcow2"),
            is_certain=True,
        )
    if image_format == "qcow2" and found is None:
        begins = read(0, min(4, size)).hex(" ") or "nothing"
        raise FormatMismatch(
            name,
            f"not a qcow2 image: it begins with {begins}",
            fits="raw",
            is_default=is_block,
            is_certain=False,
        )
