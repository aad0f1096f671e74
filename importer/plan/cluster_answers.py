"""What Ganeti's commands print about the cluster, parsed. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# In either order, which may differ from run to run: the keys are those of a dict.
_BOUND = re.compile(r"(?:- )?(min|max)/(\d+):")
_FIGURE = re.compile(r"([a-z-]+): (\d+)")


@dataclass(frozen=True)
class Bounds:
    """What an instance policy allows, from the least to the most of each.

    The words are Ganeti's: cpu-count, disk-count, disk-size and memory-size (MiB), nic-count.
    """

    least: Mapping[str, int]
    most: Mapping[str, int]

    def violations(self, name: str, values: Sequence[int]) -> list[int]:
        """Those of the values that are out of bounds."""
        least, most = self.least.get(name, 0), self.most.get(name)
        return [value for value in values if value < least or (most is not None and value > most)]


@dataclass(frozen=True)
class ClusterInfo:
    """From `gnt-cluster info`.

    Attributes:
        group: the volume group; None without LVM.
        templates: the enabled disk templates.
        bounds: of the instance policy: an instance has to keep to one of them.
    """

    group: str | None
    templates: frozenset[str]
    bounds: tuple[Bounds, ...]


def cluster_info(printed: str) -> ClusterInfo:
    """Parses the output of `gnt-cluster info`; what is missing there is empty."""
    values: dict[str, str] = {}
    bounds: dict[int, tuple[dict[str, int], dict[str, int]]] = {}
    figures: dict[str, int] | None = None
    for line in printed.splitlines():
        text = line.strip()
        if found := _BOUND.fullmatch(text):
            figures = bounds.setdefault(int(found[2]), ({}, {}))[found[1] == "max"]
        elif figures is not None and (figure := _FIGURE.fullmatch(text)):
            figures[figure[1]] = int(figure[2])
        else:
            figures = None
            name, colon, value = text.partition(": ")
            if colon:
                values.setdefault(name, value)
    group = values.get("lvm volume group", "")
    return ClusterInfo(
        group if group not in ("", "None", "(unset)") else None,
        _words(values.get("enabled disk templates", "")),
        tuple(Bounds(least, most) for _, (least, most) in sorted(bounds.items())),
    )


def node_groups(listed: str) -> frozenset[str]:
    """The node groups of a network: `default (bridged, br0, ), other (routed, , )`."""
    return frozenset(re.findall(r"(?:^|\), )([^(]+?) \(", listed))


def node_bridges(listed: str) -> Mapping[str, str]:
    """The bridges of a network, by node group; see `node_groups`."""
    return dict(re.findall(r"(?:^|\), )([^(]+?) \(bridged, ([^,]+), ", listed))


def reserved_addresses(listed: str) -> frozenset[str]:
    """The addresses of a network that are reserved: `198.51.100.0, 198.51.100.1`."""
    return frozenset(re.findall(r"\d+(?:\.\d+){3}", listed))


def help_names(printed: str) -> frozenset[str]:
    """The names in a list of QEMU, such as that of `-machine help` or `-cpu help`.

    Old versions of QEMU print `x86` in front of the names of CPUs.
    """
    names = set()
    for line in printed.partition("\nRecognized ")[0].splitlines():  # flags of CPUs follow
        words = line.removeprefix("x86 ").split()
        if words and not line.rstrip().endswith(":"):
            names.add(words[0])
    return frozenset(names)


def _words(listed: str) -> frozenset[str]:
    return frozenset(word.strip() for word in listed.split(",") if word.strip())
