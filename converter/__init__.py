"""Copies disk images into block devices: the public API.

    with open_source("ssh://root@host/var/lib/libvirt/images/web1.qcow2") as source:
        try:
            result = copy(source, "/dev/xenvg/web1.disk0", CopyOptions(resume=True))
        except CopyFailed as failed:
            print(failed, failed.left.resumable_at)

Each name is loaded when it is first used, so a caller that needs one part does not wait for all.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from converter.contents.describe import DiskReport, Image
    from converter.contents.inspect import Findings, describe, guest_config
    from converter.contents.swap_header import SwapArea
    from converter.convert import compare, copy, make_swap, new_swap, plan
    from converter.engine.content import TargetContent
    from converter.errors import (
        BaseIncomplete,
        ContextMissing,
        CopyFailed,
        CopyStopped,
        FormatConflict,
        FormatMismatch,
        FormatUnknown,
        HibernatedSwap,
        ImageRefused,
        NotInspectable,
        NotOneSwapArea,
        ResumeMismatch,
        SourceChanged,
        SourceInUse,
        SourceLost,
        SwapNotMade,
        TargetFailed,
        TargetInUse,
        TargetIsFile,
        TargetIsSource,
        TargetLost,
        TargetMissing,
        TargetNotEmpty,
        TargetState,
        TargetTooSmall,
        VerificationFailed,
    )
    from converter.extents import Extent, Kind
    from converter.options import Algorithm, CopyOptions, SwapMode
    from converter.progress import PartedProgress, Progress, Silent
    from converter.replacements import plan_replacements, swap_areas
    from converter.results import Comparison, CopyPlan, CopyResult, SwapResult, Zeroing
    from converter.sources import open_source
    from converter.sources.base import Disk, Reader, Source
    from converter.sources.nbd import NbdSource, nbd_source, unix_uri
    from converter.target.device import Target, open_target
    from converter.target.zeroing import Zeroer
    from node.cleanup import Terminated, signals_raise
    from node.devices.lvm import LogicalVolume
    from node.errors import KitError

__all__ = [
    "Algorithm",
    "BaseIncomplete",
    "Comparison",
    "ContextMissing",
    "CopyFailed",
    "CopyOptions",
    "CopyPlan",
    "CopyResult",
    "CopyStopped",
    "Disk",
    "DiskReport",
    "Extent",
    "Findings",
    "FormatConflict",
    "FormatMismatch",
    "FormatUnknown",
    "HibernatedSwap",
    "Image",
    "ImageRefused",
    "Kind",
    "KitError",
    "LogicalVolume",
    "NbdSource",
    "NotInspectable",
    "NotOneSwapArea",
    "PartedProgress",
    "Progress",
    "Reader",
    "ResumeMismatch",
    "Silent",
    "Source",
    "SourceChanged",
    "SourceInUse",
    "SourceLost",
    "SwapArea",
    "SwapMode",
    "SwapNotMade",
    "SwapResult",
    "Target",
    "TargetContent",
    "TargetFailed",
    "TargetInUse",
    "TargetIsFile",
    "TargetIsSource",
    "TargetLost",
    "TargetMissing",
    "TargetNotEmpty",
    "TargetState",
    "TargetTooSmall",
    "Terminated",
    "VerificationFailed",
    "Zeroer",
    "Zeroing",
    "compare",
    "copy",
    "describe",
    "guest_config",
    "make_swap",
    "nbd_source",
    "new_swap",
    "open_source",
    "open_target",
    "plan",
    "plan_replacements",
    "signals_raise",
    "swap_areas",
    "unix_uri",
]

# The modules that define these; all others are in the one for errors.
_HOMES = {
    "converter.contents.describe": ("DiskReport", "Image"),
    "converter.contents.inspect": ("Findings", "describe", "guest_config"),
    "converter.contents.swap_header": ("SwapArea",),
    "converter.convert": ("compare", "copy", "make_swap", "new_swap", "plan"),
    "converter.engine.content": ("TargetContent",),
    "converter.extents": ("Extent", "Kind"),
    "converter.options": ("Algorithm", "CopyOptions", "SwapMode"),
    "converter.progress": ("PartedProgress", "Progress", "Silent"),
    "converter.replacements": ("plan_replacements", "swap_areas"),
    "converter.results": ("Comparison", "CopyPlan", "CopyResult", "SwapResult", "Zeroing"),
    "converter.sources": ("open_source",),
    "converter.sources.base": ("Disk", "Reader", "Source"),
    "converter.sources.nbd": ("NbdSource", "nbd_source", "unix_uri"),
    "converter.target.device": ("Target", "open_target"),
    "converter.target.zeroing": ("Zeroer",),
    "node.cleanup": ("Terminated", "signals_raise"),
    "node.devices.lvm": ("LogicalVolume",),
    "node.errors": ("KitError",),
}


def home(name: str) -> str:
    """The module that defines a name of the public API."""
    return next((home for home, names in _HOMES.items() if name in names), "converter.errors")


def __getattr__(name: str) -> object:
    """Loads a name of the public API when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(home(name)), name)
