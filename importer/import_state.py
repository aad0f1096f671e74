"""What the journal of an import has: its plan, what it made and changed, how far it is. Pure."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from importer.domains.inventory import State as SourceState

VERSION = 1

# The steps, each when it is complete. After `final copy`, the source stays off or suspended.
Step = Literal[
    "volumes",
    "copy",
    "final copy",
    "add",
    "tag",
    "convert",
    "fail over",
    "renumber",
    "check",
    "start",
    "finish",
]
# A pass overwrites what was written into the guest of a trial instance.
UNDONE_BY_A_PASS: tuple[Step, ...] = ("renumber", "check", "start", "finish")


@dataclass(frozen=True)
class Volume:
    """A logical volume that the import made.

    Attributes:
        target: of its source disk, such as vda.
        vg, lv: its names now; Ganeti renames volumes that it adopts.
        uuid: LVM's, which stays.
        adopted: whether Ganeti has it: `import abort` must not remove it any more.
    """

    target: str
    vg: str
    lv: str
    uuid: str
    adopted: bool = False


@dataclass(frozen=True)
class Pass:
    """A pass of the copy over all disks.

    Attributes:
        number: 1 for the full copy.
        final: whether the source was off or suspended.
        checkpoint: libvirt's name of the one that notes what changes after it; "" for none.
        began: seconds since the epoch.
        complete: whether all disks were copied; the figures are 0 before.
        bytes: that crossed the wire.
        seconds: that it took.
        downtime: seconds for which the source did not run, of a final pass.
        done: targets of disks that are complete and verified, such as vda.
        copy_rate, compare_rate: bytes a second, of disks that were copied and of those whose
            blocks were compared; 0 if there were none.
    """

    number: int
    final: bool
    checkpoint: str
    began: float
    complete: bool = False
    bytes: int = 0
    seconds: float = 0.0
    downtime: float | None = None
    done: tuple[str, ...] = ()
    copy_rate: float = 0.0
    compare_rate: float = 0.0


@dataclass(frozen=True)
class NicAddresses:
    """The addresses of a NIC in the guest's files before and after `import renumber`."""

    nic: int
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class ImportState:
    """An import, as its journal has it.

    Attributes:
        instance: the full name of the instance.
        host, domain, uuid: the source, see `importer.plan.model.ImportPlan`.
        plan: text of the plan's file.
        began: seconds since the epoch.
        steps: those that are complete, with the time of their end, seconds since the epoch.
        volumes: in the order of the plan's disks.
        passes: of the copy; the last one may be incomplete.
        source_directory: a directory of ours on the KVM host, for sockets and scratch files; ""
            without one.
        source_before: the state of the source before the first step; None if unknown.
        stopped_by_us: what the import did to the source: it may be undone; None for nothing.
        addresses: by NIC.
        add_began: whether Ganeti was asked to adopt the volumes: its job goes on without us.
        plan_file: absolute path of the plan's file when `copy` or `adopt` read it last; "" if
            unknown. Only for hints: the file may be gone (`importer.plan.word`).
    """

    instance: str
    host: str
    domain: str
    uuid: str
    plan: str
    began: float
    steps: Mapping[str, float] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()
    passes: tuple[Pass, ...] = ()
    source_directory: str = ""
    source_before: SourceState | None = None
    stopped_by_us: Literal["suspended", "shut down"] | None = None
    addresses: tuple[NicAddresses, ...] = ()
    add_began: bool = False
    plan_file: str = ""
    version: int = VERSION

    def done(self, step: Step) -> bool:
        """Whether a step is complete."""
        return step in self.steps

    def with_step(self, step: Step) -> "ImportState":
        """The state with one more complete step, as of now."""
        return replace(self, steps={**self.steps, step: time.time()})

    def without_step(self, *steps: Step) -> "ImportState":
        """The state in which these steps have to be done (again)."""
        return replace(self, steps={key: at for key, at in self.steps.items() if key not in steps})

    def volume(self, target: str) -> Volume | None:
        """The volume of a source disk, such as vda."""
        return next((each for each in self.volumes if each.target == target), None)
