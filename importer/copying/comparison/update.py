"""Carries a disk's changes into a volume that holds an earlier copy, where no bitmap names them.

Both hosts compute digests of their blocks; only these cross the wire, and the blocks that differ:

    agent: map --> holes --> are they zeros here? --+
                   data --> digests == ours? -------+--> Blocks --> ComparedSource --> a copy

The disk must not change meanwhile: its machine is off or suspended, or a backup job of libvirt
exports a point in time. If it does, the volume is no copy of it, and another comparison has to
follow. After an interruption, another comparison finds what is still to be done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import stat_result
from secrets import token_hex

from converter.convert import SILENT, copy
from converter.engine.workers import COMPARERS
from converter.errors import SourceChanged
from converter.extents import Extent, Kind
from converter.options import CopyOptions
from converter.paths import Name
from converter.progress import Progress
from converter.results import CopyResult
from converter.sources.base import Source
from importer.copying.comparison.agent import BLOCK
from importer.copying.comparison.agent_disk import AgentDisk
from importer.copying.comparison.compare import Compared, compare
from importer.copying.moving import MovingSource

HEAD = 1 << 20  # bytes of the disk whose digests are compared again, to notice changes


class ComparedSource:
    """A `converter.sources.base.Source`: a disk whose blocks were compared with the target."""

    def __init__(
        self,
        disk: AgentDisk,
        compared: Compared,
        throttle: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name = disk.name
        self.size = disk.size
        self.format = "raw"
        self.sizes: Mapping[Kind, int] | None = None
        self.features: Mapping[str, str] = {}
        self.status: stat_result | None = None
        # No later comparison finds the same, so no copy goes on with this one's journal.
        self.identity: Mapping[str, str | int] = {"comparison": token_hex(16)}
        self.readers = COMPARERS
        self._disk = disk
        self._blocks = compared.blocks
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


class _Reader:
    def __init__(self, disk: AgentDisk, throttle: Callable[[int], None]) -> None:
        self._disk = disk
        self._throttle = throttle

    def read(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        for extent in extents:
            self._throttle(extent.length)
            part = view[extent.guest_offset - start : extent.end - start]
            if extent.length <= BLOCK:
                part[:] = self._disk.read(extent.guest_offset, extent.length)
            else:
                self._disk.read_into(extent.guest_offset, part)

    def close(self) -> None:
        """Nothing: all readers share the connection."""


@dataclass(frozen=True)
class Updated:
    """A volume that is like the disk now.

    Attributes:
        compared: the comparison.
        copied: the copy of what differed: its `plan.extents` has the bytes by kind.
        wire: bytes sent and received, by both.
    """

    compared: Compared
    copied: CopyResult
    wire: int


def update(
    disk: AgentDisk,
    target: Name,
    options: CopyOptions,
    progress: Progress = SILENT,
    throttle: Callable[[int], None] = lambda _: None,
    *,
    moves: bool = False,
) -> Updated:
    """Makes a volume like the disk: compares both, copies what differs, and reads that back.

    So in the end, each block of the volume either had the disk's digest, or was written and
    read back from the volume's own disk.

    Args:
        disk, target, options, progress, throttle: see `compare`.
        moves: whether a running guest may change the disk meanwhile, see `MovingSource`.

    Raises:
        CopyFailed: it failed after the volume was touched; another call goes on.
        KitError: it failed before.
    """
    before = disk.on_the_wire
    compared = compare(disk, target, options, progress, throttle)
    options = replace(options, increment=True, compared=True, verify=True)
    source: Source = ComparedSource(disk, compared, throttle)
    if moves:
        source = MovingSource(source)
    copied = copy(source, target, options, progress)
    return Updated(compared, copied, disk.on_the_wire - before)
