"""Whether an image is of the format that it is said to be, wherever it stands."""

from converter.formats import foreign
from converter.reading import Read
from node.errors import KitError


def check_format(name: str, image_format: str, read: Read, size: int, *, is_block: bool) -> None:
    """Refuses an image whose first bytes (a fixed VHD: its last ones) are another format's.

    Args:
        name: of the source, for people.
        image_format: qcow2 or raw.
        read: reads the file or device.
        size: of it, bytes.
        is_block: whether it is a block device: these are raw by default, files are qcow2.

    Raises:
        KitError: it contradicts; the hint names an option that will do.
    """
    found = foreign.recognised(read, size)
    if foreign.contradicts(found, image_format):
        # A disk that its guest has encrypted is raw to us.
        wanted = "raw" if found == "luks" else found
        option = f"--format {wanted}"
        if wanted == ("raw" if is_block else "qcow2"):
            option = "leave --format out"
        raise KitError(
            f"source {name}: by its magic it is a {found} image, not {image_format}",
            hint=f"{option}, if that is what it should be",
        )
    if image_format == "qcow2" and found is None:
        begins = read(0, min(4, size)).hex(" ") or "nothing"
        raise KitError(
            f"source {name}: not a qcow2 image: it begins with {begins}",
            hint="if it is a raw disk, say --format raw",
        )
