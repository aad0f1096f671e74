"""Carries a disk's changes into a volume that holds an earlier copy, where no bitmap names them.

Both hosts compute digests of their blocks; only these cross the wire, and the blocks that differ:

    agent: map --> holes --> are they zeros here? --+
                   data --> digests == ours? -------+--> Blocks --> AgentSource --> a copy

The disk must not change meanwhile: its machine is off or suspended, or a backup job of libvirt
exports a point in time. If it does, the volume is no copy of it, and another comparison has to
follow. After an interruption, another comparison finds what is still to be done.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from secrets import token_hex

from converter.convert import SILENT, copy
from converter.options import CopyOptions
from converter.paths import Name
from converter.progress import Progress
from converter.results import CopyResult
from converter.sources.base import Source
from importer.copying.comparison.agent_disk import AgentDisk
from importer.copying.comparison.agent_source import AgentSource
from importer.copying.comparison.compare import Compared, compare
from importer.copying.moving import MovingSource


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
    # No later comparison finds the same, so no copy goes on with this one's journal.
    known = {"comparison": token_hex(16)}
    source: Source = AgentSource(disk, compared.blocks, known, throttle)
    if moves:
        source = MovingSource(source)
    copied = copy(source, target, options, progress)
    return Updated(compared, copied, disk.on_the_wire - before)
