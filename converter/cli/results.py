"""The results of a run, as a line of text and as JSON fields. Pure."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from converter.extents import Kind
from converter.progress import duration
from converter.results import Comparison, CopyPlan, CopyResult, SwapResult, Zeroing
from node.text import size


def plan_fields(plan: CopyPlan) -> dict[str, Any]:
    """The JSON fields of a plan, as qcow2raw(8) documents them."""
    return {
        "source": plan.source,
        "format": plan.format,
        "target": str(plan.target),
        "size": plan.size,
        "target_size": plan.target_size,
        "extents": {
            kind.name.lower(): count
            for kind, count in plan.extents.items()
            if kind is not Kind.SAME  # only of increments, which this program does not make
        },
        "notes": list(plan.notes),
    }


def copy_fields(result: CopyResult) -> dict[str, Any]:
    """The JSON fields of a copy."""
    return {
        **plan_fields(result.plan),
        "digest": result.digest,
        "zeroing": result.zeroing and asdict(result.zeroing),
        "resumed_at": result.resumed_at,
        "verified": result.verified,
        "seconds": dict(result.seconds),
    }


def comparison_fields(found: Comparison) -> dict[str, Any]:
    """The JSON fields of a comparison."""
    return {
        **plan_fields(found.plan),
        "first_difference": found.first_difference,
        "different_bytes": found.different_bytes,
        "seconds": dict(found.seconds),
    }


def swap_fields(result: SwapResult) -> dict[str, Any]:
    """The JSON fields of a target that was made a swap area."""
    return {
        "target": str(result.target),
        "target_size": result.target_size,
        "uuid": str(result.uuid),
    }


def plan_line(plan: CopyPlan) -> str:
    """One line of text: what a copy would do."""
    return _line(plan, "would be copied")


def copy_line(result: CopyResult) -> str:
    """One line of text: what a copy did."""
    checked = "; read back and verified" if result.verified else ""
    return _line(result.plan, "copied", result.zeroing, result.seconds) + checked


def _line(
    plan: CopyPlan,
    verb: str,
    zeroing: Zeroing | None = None,
    seconds: Mapping[str, float] | None = None,
) -> str:
    data = plan.extents[Kind.DATA] + plan.extents[Kind.COMPRESSED]
    zeros = f"{size(plan.extents[Kind.ZERO])} of zeros"
    if zeroing:
        zeros += f" ({zeroing.strategy})"
    taken = sum(seconds.get(phase, 0.0) for phase in ("copy", "flush")) if seconds else 0.0
    rate = f" in {duration(taken)}, {size(int(data / taken))}/s" if taken else ""
    return f"{plan.target}: {size(data)} of data {verb}{rate}; {zeros}"
