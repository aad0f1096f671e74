"""What has changed on a disk since a checkpoint: a source that gives the rest as SAME.

QEMU exports a dirty bitmap as the meta context `qemu:dirty-bitmap:NAME` (docs/interop/nbd.txt of
QEMU): of a pull backup's bitmap, the name is `backup-` and that of the disk; of a bitmap in a
qcow2 image that qemu-nbd serves, it is the bitmap's own.

How many bytes a pass will copy, `converter.plan` tells beforehand: `CopyPlan.extents[Kind.DATA]`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from converter import Extent, Kind, NbdSource, Reader, nbd_source
from converter.extents import merged

# Of a changed region shorter than this (bytes), the server is not asked whether it is a hole: the
# question takes as long as reading it, and zeros that were read are not written either.
WORTH_ASKING = 1 << 20


class ChangedSource:
    """A `converter.Source`: an export of which only what a dirty bitmap marks is new.

    Copy it with `CopyOptions(increment=True)` over what an earlier copy wrote.

    Args:
        disk: opened with the bitmap's meta context.
        whole_from: from this byte on all counts as changed: the earlier copy did not get further
            (`CopyOptions.base_until`).
    """

    def __init__(self, disk: NbdSource, whole_from: int | None = None) -> None:
        self.name = disk.name
        self.size = disk.size
        self.format = disk.format
        self.sizes: Mapping[Kind, int] | None = None
        self.features = disk.features
        self.identity = disk.identity
        self.status = disk.status
        self._disk = disk
        self._whole_from = disk.size if whole_from is None else min(whole_from, disk.size)

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """See `converter.Source`. A changed region that is a hole by now is ZERO."""
        return merged(self._extents(start))

    def _extents(self, start: int) -> Iterator[Extent]:
        place = start
        for run in self._disk.runs(start):
            if run.start >= self._whole_from:
                break
            end = min(run.end, self._whole_from)
            yield from self._region(run.start, end, is_changed=bool(run.flags))
            place = end
        if place < self.size:
            yield from self._disk.extents_within(place, self.size)

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
    whole_from: int | None = None,
) -> Iterator[ChangedSource]:
    """Opens what a dirty bitmap marks on an export of QEMU.

    Args:
        uri: of the export, see `converter.unix_uri`.
        bitmap: its name as QEMU exports it.
        name: of the disk in messages.
        origin: what identifies the disk and its state, whatever the URI is: host, domain, disk,
            and the checkpoint that this pass makes.
        whole_from: see `ChangedSource`.

    Raises:
        converter.SourceLost: the server cannot be reached.
        converter.ContextMissing: it does not export that bitmap.
    """
    context = f"qemu:dirty-bitmap:{bitmap}"
    known = {**origin, "bitmap": bitmap}
    with nbd_source(uri, name=name, origin=known, context=context) as disk:
        yield ChangedSource(disk, whole_from)
