"""Mirrors the disks of an adopted instance by DRBD, and moves it to the other node.

Ganeti goes on with a job when we are killed, or cut off from the master. So each step first waits
for that of an earlier run, and then looks what is left to do: a second failover would go back.
"""

import shlex

from importer.adoption import nvram
from importer.ganeti import Ganeti, await_job
from importer.plan import command
from importer.plan.model import ImportPlan
from node.errors import KitError
from node.log import log


def convert(plan: ImportPlan, ganeti: Ganeti, secondary: str | None) -> None:
    """Mirrors the disks, unless they are, and copies the UEFI variables to the other node.

    Args:
        plan: of the import.
        ganeti: the cluster.
        secondary: the other node; None lets Ganeti choose it.

    Raises:
        KitError: Ganeti fails, or has no such instance.
    """
    await_job(ganeti, f"INSTANCE_SET_PARAMS({plan.instance})")
    if _told(plan, ganeti, "disk_template") != "drbd":
        argv = command.convert(plan.instance, secondary)
        log.info("+ %s", shlex.join(argv))
        ganeti.run(argv)
    if plan.variables is not None:
        for node in _told(plan, ganeti, "snodes").split(","):
            nvram.distribute(ganeti, plan.variables, node)


def fail_over(plan: ImportPlan, ganeti: Ganeti) -> None:
    """Moves the instance from the plan's node to the other one, unless it is there.

    Raises:
        KitError: Ganeti fails, or has no such instance.
    """
    await_job(ganeti, f"INSTANCE_FAILOVER({plan.instance})")
    if _told(plan, ganeti, "pnode") == plan.node:
        ganeti.run(command.fail_over(plan.instance))


def _told(plan: ImportPlan, ganeti: Ganeti, field: str) -> str:
    for name, value in ganeti.listed("instance", ("name", field)):
        if name == plan.instance:
            return value
    raise KitError(
        f"instance {plan.instance}: Ganeti has none of that name",
        hint="was it renamed? gnt-instance list",
    )
