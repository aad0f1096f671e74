"""What the lists of Ganeti say of the cluster."""

from collections.abc import Sequence

import pytest

from importer.ganeti import Access, Ganeti
from importer.plan import gather
from importer.plan.cluster_checks import GanetiNetwork, NodeState
from node.run import Result

LISTS = {
    "instance": [["web", "198.51.100.2,-"]],
    "node": [
        ["node1", "default", "512", "N", "N", "Y", "198.51.100.8", "192.0.2.8"],
        ["node2", "other", "?", "Y", "N", "Y", "198.51.100.9", "198.51.100.9"],
    ],
    "network": [
        [
            *("gnt", "198.51.100.0/24", "2001:db8::/64", "7", "default (bridged, br0, )"),
            *("198.51.100.0, 198.51.100.1", "198.51.100.1", "2001:db8::1"),
        ],
        ["bare", "192.0.2.0/24", "-", "?", "-", "-", "-", "-"],
    ],
}


class Lists(Ganeti):
    """A cluster that answers with LISTS."""

    def listed(self, kind: str, fields: Sequence[str]) -> list[list[str]]:
        found = LISTS[kind]
        assert {len(row) for row in found} == {len(fields)}
        return found

    def run(self, argv: Sequence[str], **_: object) -> Result:
        return Result(0, "debootstrap+default\n" if argv[0] == "gnt-os" else "", "")


def test_who_has_an_address_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather.cluster, "ssconf", lambda key: {"master_ip": ["192.0.2.1", ""]}[key])
    found = gather.cluster_facts(Lists("node1", "node1", Access("cluster", ipv6=False, ports={})))
    assert found.nodes == {
        "node1": NodeState(512, "default", usable=True),
        "node2": NodeState(None, "other", usable=False),
    }
    assert found.networks == {
        "gnt": GanetiNetwork(
            *("198.51.100.0/24", "2001:db8::/64", 7, frozenset({"default"})),
            frozenset({"198.51.100.0", "198.51.100.1"}),
            {"default": "br0"},
            frozenset({"198.51.100.1", "2001:db8::1"}),
        ),
        "bare": GanetiNetwork("192.0.2.0/24", "", None, frozenset()),
    }
    assert found.machines == {
        "198.51.100.8": "the address of node node1",
        "192.0.2.8": "the address of node node1",
        "198.51.100.9": "the address of node node2",
        "192.0.2.1": "the address of the master",
    }
