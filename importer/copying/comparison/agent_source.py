"""Sources whose disk an agent on the KVM host reads: its zeros do not cross the wire."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import stat_result

from converter.engine.workers import COMPARERS
from converter.errors import SourceChanged
from converter.extents import Extent, Kind
from converter.sources.served import HEAD, Origin, head_digest, identity
from importer.copying.comparison.agent import BLOCK
from importer.copying.comparison.agent_disk import AgentDisk
from importer.copying.comparison.blocks import Blocks, to_compare

READERS = COMPARERS

# Is called with the bytes that crossed the wire; it may sleep.
Throttle = Callable[[int], None]


class AgentSource:
    """A `converter.sources.base.Source`: a disk whose blocks are known to be data, zero or same.

    Args:
        disk: as `agent_disk` opened it.
        blocks: the kind of each block.
        known: identifies the disk for the journal of its copy.
        throttle: is called after each read.
        readers: the maximum number of useful concurrent readers.
    """

    def __init__(
        self,
        disk: AgentDisk,
        blocks: Blocks,
        known: Origin,
        throttle: Throttle,
        readers: int = READERS,
    ) -> None:
        self.name = disk.name
        self.size = disk.size
        self.format = "raw"
        self.sizes: Mapping[Kind, int] | None = None
        self.features: Mapping[str, str] = {}
        self.status: stat_result | None = None
        self.identity = known
        self.readers = readers
        self._disk = disk
        self._blocks = blocks
        self._throttle = throttle
        self._head = self._digests()

    def _digests(self) -> bytes:
        return bytes(self._disk.digests(0, min(HEAD, self.size)).wait()) if self.size else b""

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """See `Source`."""
        return self._blocks.extents(start)

    def reader(self) -> "_Reader":
        """See `Source`."""
        return _Reader(self._disk, self._throttle)

    def check_unchanged(self) -> None:
        """See `Source`. Only the first bytes are compared again."""
        if self._digests() != self._head:
            raise SourceChanged(
                f"source {self.name}: it changed while it was copied",
                hint="stop what writes to it, and copy again",
            )


def all_of(
    disk: AgentDisk,
    origin: Origin,
    throttle: Throttle = lambda _: None,
    readers: int = READERS,
) -> AgentSource:
    """A source of all of a disk, to be copied as if it was read over NBD.

    For a block device, the map of its NBD server says that all is data, since nothing there knows
    of holes in it. So all of it is read on the KVM host; only the zeros are left out then.

    Args:
        disk: as `agent_disk` opened it; its size is that of the plan.
        origin: what identifies the disk, as for `converter.nbd_source`: either of them goes on with
            a copy that the other one began.
        throttle, readers: see `AgentSource`.

    Raises:
        KitError: it cannot be read.
    """
    blocks = Blocks(disk.size)
    for extent in to_compare(disk.all_runs(), (), disk.size):
        if extent.kind is Kind.ZERO:
            blocks.mark(extent.guest_offset, extent.end, Kind.ZERO)
    head = disk.read(0, min(HEAD, disk.size))
    known = identity(origin, disk.size, head_digest(head))
    return AgentSource(disk, blocks, known, throttle, readers)


class _Reader:
    def __init__(self, disk: AgentDisk, throttle: Throttle) -> None:
        self._disk = disk
        self._throttle = throttle

    def read(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        for extent in extents:
            part = view[extent.guest_offset - start : extent.end - start]
            if extent.length <= BLOCK:
                part[:] = self._disk.read(extent.guest_offset, extent.length)
                self._throttle(extent.length)
            else:
                self._throttle(self._disk.read_into(extent.guest_offset, part))

    def close(self) -> None:
        """Nothing: all readers share the connection."""
