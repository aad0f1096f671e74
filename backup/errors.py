"""The errors to which a command line adds its own remedy; their hints hold for every caller."""

from node.errors import KitError
from node.text import size as in_words


class StreamUnreadableError(KitError):
    """The stream cannot be read, whatever is in it."""


class StreamRefusedError(KitError):
    """The stream is damaged, ends early, or is no backup that is known."""

    def __init__(self, what: str, stream: str, why: object) -> None:
        super().__init__(f"{what}: {stream}: {why}", hint="take another backup, or export again")


class DiskTooSmallError(KitError):
    """The disk has `size` bytes, and the backup needs `needed`."""

    def __init__(self, what: str, size: int, needed: int) -> None:
        super().__init__(
            f"{what}: the disk has {size} bytes ({in_words(size)}), and this backup needs {needed}",
            hint=f"a disk of at least {needed} bytes is needed",
        )
        self.needed = needed
