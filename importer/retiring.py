"""What to do with the domain of the KVM host, before and after the switch. Pure."""

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from importer.import_state import ImportState
from importer.plan.model import ImportPlan

VIRSH = "virsh -c qemu:///system"
STOPPED = ("paused", "shut off")  # virsh's words


class Source(NamedTuple):
    """The domain as the KVM host has it now.

    Attributes:
        state: virsh's word; "" if it is not known.
        checkpoints: names of libvirt's, of ours that are left.
    """

    state: str = ""
    checkpoints: Sequence[str] = ()


def lines(
    plan: ImportPlan, state: ImportState, source: Source, file: str, *, complete: bool
) -> Iterator[str]:
    """What to do with the domain: how to retire it only when the instance has taken its place.

    Args:
        plan: of the import.
        state: its journal.
        source: is used only if the import is complete.
        file: of the plan, as a word of a command (`importer.plan.word`).
        complete: whether the instance was started after the last copy.
    """
    domain = f"The domain {plan.domain} on {plan.host}"
    if not state.done("final copy"):
        yield f"{domain} stays as it is until the last copy: leave it alone."
        yield "When the instance has been started after that, this says how to retire it."
        return
    if not complete:
        yield f"{domain} stays stopped for the instance. To let it run again, and undo the import:"
        yield from block([f"instance-kit import abort {plan.instance}"])
        yield "When the instance has been started, this says how to retire the domain."
        return
    if not source.state:
        yield f"{domain}: its state is not known. How to retire it, as soon as that host answers:"
        yield from block([f"instance-kit import finish {file}"])
        return
    if source.state not in STOPPED:
        yield (
            f"{domain} is {source.state}. It must never run beside the instance: end the one of"
            " them that is not to stay."
        )
        yield "When the domain is off, this says how to retire it."
        return
    yield from _retirement(plan, state, source)


def _retirement(plan: ImportPlan, state: ImportState, source: Source) -> Iterator[str]:
    """How to retire a domain that is suspended or off."""
    name = shlex.quote(plan.domain)
    yield f"The domain {plan.domain} is still on {plan.host}, and nothing of it is deleted."
    if source.state == "paused":
        yield "It is suspended. End it: it must never run beside the instance."
        yield from block([_virsh(plan, f"destroy {name}")])
    yield "It must not start with its host:"
    yield from block(
        [_virsh(plan, f"autostart --disable {name}"), _virsh(plan, f"domstate {name}")]
    )
    if source.checkpoints:
        yield (
            "Checkpoints of the copy are left, as libvirt deletes none of a domain that is off."
            " To keep the domain, start it paused, delete them, and end it. This does nothing"
            " unless the domain is off:"
        )
        deletions = [f"checkpoint-delete {name} {shlex.quote(each)}" for each in source.checkpoints]
        inner = "; ".join(f"{VIRSH} {each}" for each in (*deletions, f"destroy {name}"))
        yield from block([_there(plan, f"{VIRSH} start --paused {name} && {{ {inner}; }}")])
    if state.source_directory:
        yield "Something of the copy is left there. To remove it, and to forget the import:"
        yield from block([f"instance-kit import abort {plan.instance}"])
    yield "When a backup of the instance has been made and tried, retire the source:"
    steps = [
        _virsh(plan, f"checkpoint-delete --metadata {name} {shlex.quote(each)}")
        for each in source.checkpoints
    ]
    steps.append(_virsh(plan, f"undefine --nvram {name}" if plan.variables else f"undefine {name}"))
    yield from block(steps)
    yield "Its disks stay until somebody removes them:"
    yield from block([f"{plan.host}:{disk.path}" for disk in plan.disks])


def way_back(plan: ImportPlan, source: Source) -> Iterator[str]:
    """How to go back by hand from a complete import: `abort` does not do that any more.

    Args:
        plan: of the import.
        source: the domain now; nothing is said if its state is not known, or if it runs.
    """
    if source.state not in STOPPED:
        return
    name = shlex.quote(plan.domain)
    yield (
        f"To go back to {plan.domain}, which `import abort` does not do any more, first stop the"
        " instance: only one of them may run. What was written since the switch is on the disks of"
        " the instance only:"
    )
    yield from block([f"gnt-instance shutdown {plan.instance}"])
    if source.state == "paused":
        yield (
            "While the domain is suspended, let it go on, and thaw its file systems. Its agent has"
            " frozen them, if it has one: what writes to them would hang."
        )
        yield from block([_virsh(plan, f"resume {name}"), _virsh(plan, f"domfsthaw {name}")])
        yield "When the domain is off, start it:"
    else:
        yield "Then start the domain:"
    yield from block([_virsh(plan, f"start {name}")])
    yield "If it has been told not to start with its host, and is to do so again:"
    yield from block([_virsh(plan, f"autostart {name}")])


def _virsh(plan: ImportPlan, words: str) -> str:
    return _there(plan, f"{VIRSH} {words}")


def _there(plan: ImportPlan, command: str) -> str:
    """A command line of the KVM host, as one of this node."""
    return f"ssh {shlex.quote(plan.host)} {shlex.quote(command)}"


def block(lines: Sequence[str]) -> Iterator[str]:
    """Lines of a literal block, between empty lines."""
    yield ""
    yield from (f"    {line}".rstrip() for line in lines)
    yield ""
