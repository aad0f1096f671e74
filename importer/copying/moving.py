"""Images that a running QEMU changes while they are read."""

from collections.abc import Iterator, Mapping

from converter import Extent, Kind, Reader, Source


class MovingSource:
    """A `converter.Source`: another one, of which it is known that it changes meanwhile.

    A copy of it is of different moments. So another pass has to follow, when it does not change.
    """

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.size = source.size
        self.format = source.format
        self.sizes: Mapping[Kind, int] | None = None
        self.features = source.features
        self.identity = source.identity
        self.status = source.status
        self._source = source

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """See `converter.Source`."""
        return self._source.extents(start)

    @property
    def readers(self) -> int:
        """See `converter.Source`."""
        return self._source.readers

    def reader(self) -> Reader:
        """See `converter.Source`."""
        return self._source.reader()

    def check_unchanged(self) -> None:
        """Nothing: it has changed."""
