"""What a caller may ask of a copy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from node.devices.lvm import LogicalVolume

SwapMode = Literal["recreate", "copy"]
Algorithm = Literal["sha256", "blake2b", "xxh3"]


@dataclass(frozen=True)
class CopyOptions:
    """How a copy is made, or compared; qcow2raw(8) explains each at length.

    Attributes:
        force: what the target holds may be overwritten.
        allow_file: the target may be a file.
        swap: make the disk's swap anew, empty and with its UUID and label, or copy it as it is.
        fix_gpt: move the second half of a GPT to the end of a larger target.
        verify: read the target back, and compare.
        digest: take a digest of the disk's content.
        update: write only what differs from what the target holds.
        resume: go on with the copy to this target that was interrupted, if one was.
        new_volume: the target is this volume, made for this copy: if it fails, the caller
            removes it.
        confirm: asks a person whether what it is told may be done; None where there is nobody.
    """

    force: bool = False
    allow_file: bool = False
    swap: SwapMode = "recreate"
    fix_gpt: bool = True
    verify: bool = False
    digest: Algorithm | None = None
    update: bool = False
    resume: bool = False
    new_volume: LogicalVolume | None = None
    confirm: Callable[[str], bool] | None = None
