"""The commands of Ganeti that an import runs on the master. Pure."""

import re

from importer.plan.model import ImportPlan, NicPlan

MIB = 1 << 20
# Ganeti's objects.py, TaggableObject: valid characters, and how many.
_NO_TAG = re.compile(r"[^\w.+*/:@-]", re.ASCII)
_TAG_MAX = 128
ORIGIN_TAG = "imported-from"  # Ganeti keeps no other notes of an instance


def add(plan: ImportPlan) -> list[str]:
    """`gnt-instance add` that adopts the volumes, disks in the order of the plan.

    The name is not checked in DNS, where it still leads to the source, which answers pings.
    """
    backend = f"memory={plan.memory // MIB}m,vcpus={plan.vcpus}"
    parameters = ",".join(
        f"{name}={_escaped(value)}" for name, value in sorted(plan.hypervisor.items())
    )
    return [
        *("gnt-instance", "add", "--disk-template=plain", f"--node={plan.node}"),
        *(
            f"--disk={number}:adopt={disk.lv},vg={disk.vg}"
            for number, disk in enumerate(plan.disks)
        ),
        *([f"--net={number}:{_net(nic)}" for number, nic in enumerate(plan.nics)] or ["--no-nics"]),
        f"--backend-parameters={backend}",
        f"--hypervisor-parameters=kvm:{parameters}"
        if parameters
        else "--hypervisor-parameters=kvm",
        f"--os-type={plan.os}",
        f"--tags={','.join(tags(plan))}",
        *("--no-start", "--no-name-check", "--no-ip-check"),
        *(["--ignore-ipolicy"] if plan.ignore_ipolicy else []),
        plan.instance,
    ]


def rehearse(plan: ImportPlan) -> list[str]:
    """The same, but Ganeti only makes its checks."""
    words = add(plan)
    return [*words[:2], "--dry-run", *words[2:]]  # options come before the name


def tags(plan: ImportPlan) -> list[str]:
    """The instance's tags: where it came from, and libvirt's UUID of it there."""
    host = plan.host.rpartition("@")[2]
    return [_tag(f"{ORIGIN_TAG}:{host}/{plan.domain}"), _tag(f"{ORIGIN_TAG}:{plan.uuid}")]


def convert(instance: str, secondary: str | None) -> list[str]:
    """`gnt-instance modify` that mirrors the disks by DRBD.

    Args:
        instance: a stopped one.
        secondary: the other node; None lets Ganeti's allocator choose it.
    """
    node = [] if secondary is None else [f"--node={secondary}"]
    return ["gnt-instance", "modify", "--disk-template=drbd", *node, instance]


def fail_over(instance: str) -> list[str]:
    """`gnt-instance failover` to its secondary node."""
    return ["gnt-instance", "failover", "--force", instance]


def start(instance: str) -> list[str]:
    """`gnt-instance startup`."""
    return ["gnt-instance", "startup", instance]


def _net(nic: NicPlan) -> str:
    given = {"mac": nic.mac, "network": nic.network, "link": nic.link, "ip": nic.ip}
    return ",".join(f"{key}={value}" for key, value in given.items() if value is not None)


def _escaped(value: str) -> str:
    """A value in a list of Ganeti's options (utils/text.py, UnescapeAndSplit())."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _tag(text: str) -> str:
    return _NO_TAG.sub("_", text)[:_TAG_MAX]
