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
    """The disk has `size` bytes, and the backup needs `needed`, or cannot be made to fit: `why`.

    Attributes:
        smallest: the smallest disk that works, bytes.
        works: in words: whether that is certain.
    """

    def __init__(
        self,
        what: str,
        size: int,
        needed: int,
        *,
        why: str = "",
        smallest: int | None = None,
        likely: bool = False,
    ) -> None:
        self.smallest = needed if smallest is None else smallest
        self.works = "is likely to work" if likely else "works"
        super().__init__(
            f"{what}: the disk has {size} bytes ({in_words(size)}), and this backup needs {needed}"
            + (f" as it is; {why}" if why else ""),
            hint=f"the smallest disk that {self.works} has {self.smallest} bytes",
        )
