"""What stands in the way of a plan in the cluster, as far as the master tells. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from importer.plan import names
from importer.plan.cluster_answers import ClusterInfo
from importer.plan.model import ImportPlan, NicPlan
from importer.plan.rules import MIB
from node.finding import Finding, note, ok, problem


@dataclass(frozen=True)
class NodeState:
    """A node as Ganeti sees it: free memory in MiB (None if it does not say), and its group."""

    free_memory: int | None
    group: str
    usable: bool


@dataclass(frozen=True)
class GanetiNetwork:
    """A network of Ganeti.

    Attributes:
        subnet, subnet6: "" if it has none.
        free: the number of free addresses, if Ganeti says it.
        groups: the node groups that it is connected to.
        reserved: addresses that Ganeti gives to no instance: those of the gateway and of machines
            outside of the cluster.
        bridges: by node group, if it is connected to that by a bridge.
        gateways: of both subnets, if they have one.
    """

    subnet: str
    subnet6: str
    free: int | None
    groups: frozenset[str]
    reserved: frozenset[str] = frozenset()
    bridges: Mapping[str, str] = field(default_factory=dict)
    gateways: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClusterFacts:
    """The cluster, as the master tells.

    Attributes:
        info: of `gnt-cluster info`.
        instances: all names.
        addresses: of all NICs of instances.
        nodes: by name.
        networks: by name.
        oses: installed on all nodes, with their variants.
        machines: what has which address, in words: the nodes and the master.
    """

    info: ClusterInfo
    instances: frozenset[str]
    addresses: frozenset[str]
    nodes: Mapping[str, NodeState]
    networks: Mapping[str, GanetiNetwork]
    oses: frozenset[str]
    machines: Mapping[str, str] = field(default_factory=dict)

    def bridges(self, node: str) -> Mapping[str, str]:
        """The bridges that a node needs for networks, by network."""
        group = self.nodes[node].group if node in self.nodes else ""
        return {
            name: network.bridges[group]
            for name, network in self.networks.items()
            if group in network.bridges
        }


def checked(plan: ImportPlan, cluster: ClusterFacts, node: str, ours: bool) -> Iterator[Finding]:
    """The findings about a plan.

    Args:
        plan: the plan.
        cluster: what the master tells.
        node: the name of this node.
        ours: whether an instance of the plan's name is one that this import made.
    """
    name = plan.instance
    if plan.node != node:
        yield problem(f"node {plan.node}", f"this is {node}", f"run it on {plan.node}")
    if name in cluster.instances and not ours:
        yield problem(f"instance {name}", "Ganeti has one of that name", "another instance name")
    if "plain" not in cluster.info.templates:
        yield problem(
            "disk template plain",
            "not enabled in the cluster",
            "gnt-cluster modify --enabled-disk-templates=plain,… --ipolicy-disk-templates=plain,…",
        )
    if plan.os not in cluster.oses:
        listed = ", ".join(sorted(cluster.oses)) or "none"
        yield problem(f"OS {plan.os}", "not installed on all nodes", f"os = one of: {listed}")
    yield from _node(plan, cluster)
    if not plan.ignore_ipolicy:
        yield from _policy(plan, cluster.info)
    group = cluster.nodes[plan.node].group if plan.node in cluster.nodes else None
    for number, nic in enumerate(plan.nics):
        yield from _nic(f"NIC {number}", nic, group, cluster, ours)


def _node(plan: ImportPlan, cluster: ClusterFacts) -> Iterator[Finding]:
    about, state = f"node {plan.node}", cluster.nodes.get(plan.node)
    if state is None:
        yield problem(about, "Ganeti has none of that name", "gnt-node list")
        return
    if not state.usable:
        yield problem(about, "offline, drained or without instances", "gnt-node modify")
    needed = plan.memory // MIB
    if state.free_memory is None:
        yield note(about, "Ganeti does not say how much memory is free", "gnt-node list")
    elif state.free_memory < needed:
        yield problem(
            about,
            f"{state.free_memory} MiB of memory free, {needed} MiB needed",
            "less memory in the plan, or move instances away: gnt-instance failover",
        )
    else:
        yield ok(about, f"{state.free_memory} MiB of memory free, {needed} MiB needed")


def _policy(plan: ImportPlan, info: ClusterInfo) -> Iterator[Finding]:
    """Ganeti checks the group's policy, which may differ from that of the cluster."""
    values = {
        "cpu-count": [plan.vcpus],
        "memory-size": [plan.memory // MIB],
        "disk-count": [len(plan.disks)],
        "disk-size": [disk.volume_size // MIB for disk in plan.disks],
        "nic-count": [len(plan.nics)],
    }
    violated = [
        [
            f"{name} {value} is not in {bounds.least.get(name, 0)}..{bounds.most.get(name, '')}"
            for name, all_ in values.items()
            for value in bounds.violations(name, all_)
        ]
        for bounds in info.bounds
    ]
    if violated and all(violated):
        least = min(violated, key=len)
        yield problem(
            "instance policy of the cluster",
            "; ".join(least),
            "ignore_ipolicy = true in the plan, or a larger volume_size for a small disk",
        )


def _nic(
    about: str, nic: NicPlan, group: str | None, cluster: ClusterFacts, exists: bool
) -> Iterator[Finding]:
    if nic.network is None:
        if nic.link is None:
            yield note(
                about, "neither network nor link: the cluster's default", "network in the plan"
            )
        return
    network = cluster.networks.get(nic.network)
    if network is None:
        listed = ", ".join(sorted(cluster.networks)) or "none"
        yield problem(about, f"Ganeti has no network {nic.network}", f"it has: {listed}")
        return
    if group is not None and group not in network.groups:
        yield problem(
            about,
            f"network {nic.network} is not connected to the node's group {group}",
            f"gnt-network connect {nic.network} {group}",
        )
    if exists:
        return
    if nic.ip == "pool":
        if not network.free:
            yield problem(about, f"no free address in {nic.network}", "another network")
        else:
            yield ok(about, f"{network.free} free addresses in {nic.network}")
    elif nic.ip is not None and names.is_address(nic.ip):
        yield from _address(about, nic.ip, nic.network, network, cluster)


def _address(
    about: str, ip: str, name: str, network: GanetiNetwork, cluster: ClusterFacts
) -> Iterator[Finding]:
    address = ip_address(ip)
    subnets = [ip_network(each) for each in (network.subnet, network.subnet6) if each]
    if not any(address in subnet for subnet in subnets):
        listed = " and ".join(map(str, subnets))
        yield problem(about, f"{ip} is not in {listed}", "another ip, or pool")
    elif ip in cluster.addresses:
        yield problem(about, f"{ip}: an instance has it", "another ip, or pool")
    elif (why := _whose(ip, name, network, cluster)) is not None:
        yield problem(about, f"{ip} is {why}", "another ip, or pool")
    elif ip in network.reserved:
        yield problem(
            about,
            f"{ip} is reserved in network {name} for what is no instance",
            f"another ip, or pool; or gnt-network modify --remove-reserved-ips={ip} {name}",
        )
    else:
        yield ok(about, f"{ip} is free")


def _whose(ip: str, name: str, network: GanetiNetwork, cluster: ClusterFacts) -> str | None:
    """What has an address that must not become free; None if that is unknown.

    When a network is made, Ganeti reserves the addresses of its own machines in it. Addresses that
    it has not reserved may be those of another network with the same subnet.
    """
    address = ip_address(ip)
    if address in map(ip_address, network.gateways):
        return f"the gateway of network {name}"
    if network.subnet:
        subnet = ip_network(network.subnet)
        if address in (subnet.network_address, subnet.broadcast_address):
            return f"the first or last address of network {name}"
    return cluster.machines.get(ip) if ip in network.reserved else None
