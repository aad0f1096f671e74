"""Gathers the facts about node, cluster and KVM host that plans and their checks need."""

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from importer.ganeti import Ganeti
from importer.host.connection import KvmHost
from importer.plan.cluster_answers import (
    cluster_info,
    help_names,
    node_bridges,
    node_groups,
    reserved_addresses,
)
from importer.plan.cluster_checks import ClusterFacts, GanetiNetwork, NodeState
from importer.plan.hypervisor import FIRMWARE, FIRMWARE_WITHOUT_VARIABLES, Qemu
from importer.plan.model import ImportPlan
from importer.plan.preflight import Facts
from importer.plan.rules import VolumeGroup
from node import cluster
from node.devices import lvm
from node.errors import KitError
from node.run import run

DNS_SECONDS = 10
_NET_DEVICES = Path("/sys/class/net")
_NO_VALUE = ("?", "-", "")  # in lists of Ganeti: the node does not answer, or there is none


_NETWORK = (
    *("name", "network", "network6", "free_count", "group_list"),
    *("external_reservations", "gateway", "gateway6"),
)


def volume_groups() -> dict[str, VolumeGroup]:
    """The volume groups of this node.

    Raises:
        KitError: LVM fails.
    """
    return {
        name: VolumeGroup(name, group.extent, group.free) for name, group in lvm.groups().items()
    }


def qemu() -> Qemu:
    """What the node's QEMU offers, of the path that the cluster has; nothing if it does not run.

    Whether the cluster has no QEMU is Ganeti's to say.
    """
    pairs = (line.partition("=") for line in cluster.ssconf("hvparams_kvm"))
    parameters = {key: text for key, equals, text in pairs if equals}
    program = parameters.get("kvm_path") or "/usr/bin/kvm"

    def names(option: str) -> frozenset[str]:
        try:
            return help_names(run([program, option, "help"], what=f"{program} {option}").stdout)
        except KitError:
            return frozenset()

    return Qemu(names("-machine"), names("-cpu"), parameters)


def cluster_facts(ganeti: Ganeti) -> ClusterFacts:
    """What the master tells.

    Raises:
        KitError: it cannot be reached, or Ganeti does not answer.
    """
    info = cluster_info(ganeti.run(["gnt-cluster", "info"]).stdout)
    instances = ganeti.listed("instance", ("name", "nic.ips"))
    fields = ("name", "group", "mfree", "offline", "drained", "vm_capable", "pip", "sip")
    listed = ganeti.listed("node", fields)
    nodes = {
        name: NodeState(
            int(free) if free.isdecimal() else None, group, (offline, drained, capable) == _USABLE
        )
        for name, group, free, offline, drained, capable, *_ in listed
    }
    machines = {
        ip: f"the address of node {name}" for name, *_, pip, sip in listed for ip in (pip, sip)
    }
    machines |= {ip: "the address of the master" for ip in cluster.ssconf("master_ip") if ip}
    networks = {
        name: GanetiNetwork(
            _value(subnet),
            _value(subnet6),
            int(free) if free.isdecimal() else None,
            node_groups(of),
            reserved_addresses(reserved),
            node_bridges(of),
            frozenset(each for each in gateways if each not in _NO_VALUE),
        )
        for name, subnet, subnet6, free, of, reserved, *gateways in ganeti.listed(
            "network", _NETWORK
        )
    }
    oses = ganeti.run(["gnt-os", "list", "--no-headers"]).stdout.split()
    return ClusterFacts(
        info,
        frozenset(name for name, _ in instances),
        frozenset(ip for _, ips in instances for ip in ips.split(",") if ip not in _NO_VALUE),
        nodes,
        networks,
        frozenset(oses),
        machines,
    )


_USABLE = ("N", "N", "Y")


def facts(
    plan: ImportPlan,
    host: KvmHost,
    ganeti: Ganeti,
    qemu_: Qemu,
    groups: Mapping[str, VolumeGroup],
    ours: Iterable[str] = (),
) -> Facts:
    """The facts for the checks of a plan.

    Args:
        plan: the plan.
        host: its KVM host.
        ganeti: the cluster.
        qemu_: of this node.
        groups: of this node.
        ours: see `importer.plan.preflight.Facts`.

    Raises:
        KitError: LVM fails, or the KVM host is lost. If the master fails, that is among the facts.
    """
    known: ClusterFacts | KitError
    try:
        known = cluster_facts(ganeti)
    except KitError as error:
        known = error
    return Facts(
        node=ganeti.here,
        groups=groups,
        volumes=frozenset(f"{each.vg}/{each.name}" for each in lvm.volumes()),
        qemu=qemu_,
        missing=_missing(plan),
        cluster=known,
        names=addresses_of(plan.instance),
        clock=clock_difference(host),
        ours=frozenset(ours),
        links=frozenset(each.name for each in _NET_DEVICES.iterdir()),
    )


def addresses_of(name: str) -> tuple[str, ...]:
    """The addresses of a name, from /etc/hosts or DNS; none if it is unknown or DNS is slow."""
    argv = ["timeout", str(DNS_SECONDS), "getent", "ahosts", name]
    lines = run(argv, check=False).stdout.splitlines()
    return tuple(dict.fromkeys(line.split()[0] for line in lines if line.split()))


def clock_difference(host: KvmHost) -> float | None:
    """Seconds that the clock of a KVM host is ahead of ours; None if it does not say."""
    before = time.time()
    said = host.run(["date", "+%s.%N"]).stdout.strip()
    after = time.time()
    try:
        return float(said) - (before + after) / 2
    except ValueError:
        return None


def file_size(host: KvmHost, path: str) -> int:
    """The size of a file on a KVM host, 0 if it is missing.

    Raises:
        HostLost: the connection is lost.
    """
    said = host.run(["stat", "-L", "--format=%s", "--", path], check=False).stdout.strip()
    return int(said) if said.isdecimal() else 0


def _missing(plan: ImportPlan) -> tuple[str, ...]:
    words = re.split("[ ,=]", plan.hypervisor.get("kvm_extra", ""))
    needed = (*FIRMWARE.values(), FIRMWARE_WITHOUT_VARIABLES)
    return tuple(str(path) for path in needed if str(path) in words and not Path(path).exists())


def _value(text: str) -> str:
    return "" if text in _NO_VALUE else text
