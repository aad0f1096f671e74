"""What has changed on a disk since a checkpoint: a source that gives the rest as SAME.

QEMU exports a dirty bitmap as the meta context `qemu:dirty-bitmap:NAME` (docs/interop/nbd.txt of
QEMU): of a pull backup's bitmap, the name is `backup-` and that of the disk; of a bitmap in a
qcow2 image that qemu-nbd serves, it is the bitmap's own.

How many bytes a pass will copy, `converter.plan` tells beforehand: `CopyPlan.extents[Kind.DATA]`.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from converter import Extent, Kind, Reader
from converter.engine.chunks import SMALL

if TYPE_CHECKING:
    from converter import NbdSource

# Of a changed region shorter than this (bytes), the server is not asked whether it is a hole: the
# question takes as long as reading it, and zeros that were read are not written either.
WORTH_ASKING = 1 << 20


class _Known(NamedTuple):
    """The end and the kind of each extent: nine bytes for each."""

    ends: "array[int]"
    kinds: bytearray


class ChangedSource:
    """A `converter.Source`: an export of which only what a dirty bitmap marks is new.

    Copy it with `CopyOptions(increment=True)` over what an earlier copy wrote. The server is asked
    once, as it takes a round trip for each few GiB of the disk, and a machine may be suspended
    meanwhile. What it answers takes little memory, even if each answer is short: runs that are not
    data count as data if they are shorter than SMALL, as in `converter.engine.chunks`.

    Args:
        disk: opened with the bitmap's meta context.
    """

    def __init__(self, disk: "NbdSource") -> None:
        self.name = disk.name
        self.size = disk.size
        self.format = disk.format
        self.sizes: Mapping[Kind, int] | None = None
        self.features = disk.features
        self.identity = disk.identity
        self.status = disk.status
        self._disk = disk

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """See `converter.Source`. A changed region that is a hole by now is ZERO."""
        known = self._known
        number = bisect_right(known.ends, start)
        for end, value in zip(known.ends[number:], known.kinds[number:], strict=True):
            kind = Kind(value)
            yield Extent(start, end - start, kind, 0 if kind is Kind.ZERO else start)
            start = end

    @cached_property
    def _known(self) -> "_Known":
        known = _Known(array("Q"), bytearray())
        for extent in self._asked():
            kind = extent.kind if extent.length >= SMALL else Kind.DATA
            if known.kinds and known.kinds[-1] == kind.value:
                known.ends[-1] = extent.end
            else:
                known.ends.append(extent.end)
                known.kinds.append(kind.value)
        return known

    def _asked(self) -> Iterator[Extent]:
        for run in self._disk.runs():
            yield from self._region(run.start, run.end, is_changed=bool(run.flags))

    def _region(self, start: int, end: int, *, is_changed: bool) -> Iterator[Extent]:
        if not is_changed:
            yield Extent(start, end - start, Kind.SAME, start)
        elif end - start < WORTH_ASKING:
            yield Extent(start, end - start, Kind.DATA, start)
        else:
            yield from self._disk.extents_within(start, end)

    @property
    def readers(self) -> int:
        """See `converter.Source`."""
        return self._disk.readers

    def reader(self) -> Reader:
        """See `converter.Source`."""
        return self._disk.reader()

    def check_unchanged(self) -> None:
        """See `converter.Source`."""
        self._disk.check_unchanged()


@contextmanager
def changed_source(
    uri: str,
    bitmap: str,
    *,
    name: str,
    origin: Mapping[str, str | int],
) -> Iterator[ChangedSource]:
    """Opens what a dirty bitmap marks on an export of QEMU.

    Args:
        uri: of the export, see `converter.unix_uri`.
        bitmap: its name as QEMU exports it.
        name: of the disk in messages.
        origin: what identifies the disk and its state, whatever the URI is: host, domain, disk,
            and the checkpoint that this pass makes.

    Raises:
        converter.SourceLost: the server cannot be reached.
        converter.ContextMissing: it does not export that bitmap.
    """
    context = f"qemu:dirty-bitmap:{bitmap}"
    known = {**origin, "bitmap": bitmap}
    from converter import nbd_source  # it loads libnbd

    with nbd_source(uri, name=name, origin=known, context=context) as disk:
        yield ChangedSource(disk)
