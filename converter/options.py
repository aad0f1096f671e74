"""The options of a copy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from node.devices.lvm import LogicalVolume

SwapMode = Literal["recreate", "copy"]
Algorithm = Literal["sha256", "blake2b", "xxh3"]


@dataclass(frozen=True)
class CopyOptions:
    """How a copy is made or compared; qcow2raw(8) explains each option in detail.

    Attributes:
        force: the target's content may be overwritten.
        allow_file: the target may be a file.
        swap: make the disk's swap anew, empty and with its UUID and label, or copy it as it is.
        fix_gpt: move the backup of a GPT to the end of a larger target.
        verify: read the target back, and compare.
        digest: compute a digest of the disk's content.
        update: write only what differs from the target's content.
        increment: the target holds an earlier copy of the source, which gives only what has
            changed since (`Kind.SAME`); `force` is implied.
        compared: what has changed was found by a comparison with the target: an increment, too, but
            the earlier copy may be incomplete.
        readers_allowed: programs that only read the target do not count as its users.
        resume: go on with an interrupted copy to this target, if there is one.
        new_volume: the target is this volume, made for this copy: if it fails, the caller
            removes it.
        confirm: asks the user a yes/no question; None if there is nobody to ask.

    Raises:
        ValueError: there is no such swap mode or digest; or what has not changed would be needed
            for a digest or an update.
    """

    force: bool = False
    allow_file: bool = False
    swap: SwapMode = "recreate"
    fix_gpt: bool = True
    verify: bool = False
    digest: Algorithm | None = None
    update: bool = False
    increment: bool = False
    compared: bool = False
    readers_allowed: bool = False
    resume: bool = False
    new_volume: LogicalVolume | None = None
    confirm: Callable[[str], bool] | None = None

    def __post_init__(self) -> None:
        if self.swap not in get_args(SwapMode):
            raise ValueError(f"swap {self.swap!r}: not one of {get_args(SwapMode)}")
        if self.digest is not None and self.digest not in get_args(Algorithm):
            raise ValueError(f"digest {self.digest!r}: not one of {get_args(Algorithm)}")
        if self.increment and (self.digest is not None or self.update):
            raise ValueError("an increment has no digest, and is no update")
        if self.compared and not self.increment:
            raise ValueError("only an increment is found by a comparison")
