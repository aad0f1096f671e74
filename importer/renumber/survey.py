"""Reads the files of a guest that name its addresses, and decides their new texts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from guest import resolv
from guest.instance import Instance
from guest.networkd import link, link_path
from guest.resolv import Resolver
from importer.editing import MAX_TEXT, Edit
from importer.renumber import (
    environment,
    hosts,
    ifupdown,
    netplan,
    network_manager,
    networkd,
    outcome,
    tokens,
)
from importer.renumber.ifupdown import Included
from importer.renumber.matching import matched
from importer.renumber.model import Change, Seen
from node.errors import KitError
from node.guest_files import MAX_FILES, MAX_SIZE, GuestFiles

HOSTS = "/etc/hosts"
RESOLV = "/etc/resolv.conf"
PATTERNS = {
    "netplan": "/etc/netplan/*.yaml",
    "networkd": "/etc/systemd/network/*.network",
    "drop-in": "/etc/systemd/network/*.network.d/*.conf",
    "manager": "/etc/NetworkManager/system-connections/*",
    "link": "/etc/systemd/network/*.link",
    "rules": "/etc/udev/rules.d/*net*.rules",
}
MAX_INCLUDES = 3  # files that include files that include files
_RULE = re.compile(r'ATTRS?\{address\}=="(?P<mac>[0-9A-Fa-f:]{17})".*\bNAME="(?P<name>[^"]+)"')
_FOREIGN = (
    *("/etc/sysconfig/network-scripts/ifcfg-*", "/etc/sysconfig/network/ifcfg-*"),
    "/etc/dhcpcd.conf",
)


@dataclass(frozen=True)
class Texts:
    """The texts of a guest's files by their paths, by the programs that read them."""

    interfaces: Mapping[str, str]
    others: Mapping[str, Mapping[str, str]]  # by the keys of PATTERNS
    hosts: str
    resolv: str | None  # None: a program makes it when the guest runs, or there is none
    foreign: Mapping[str, str]  # of Red Hat, SUSE and dhcpcd, which are not changed
    has_cloud_init: bool  # and it may configure the network
    has_ipv6: bool  # else the kernel has it switched off
    has_large_hosts: bool  # then, its text is not known


@dataclass(frozen=True)
class Proposal:
    """What would be changed in a guest, and what the user should know."""

    changes: tuple[Change, ...]
    edits: tuple[Edit, ...]
    notes: tuple[str, ...]


def read(files: GuestFiles) -> Texts:
    """Reads all files of a guest that may have to change.

    Raises:
        KitError: one is too large, or there are too many.
    """
    others = {kind: dict(_read_all(files, pattern)) for kind, pattern in PATTERNS.items()}
    hosts_text = files.read(HOSTS)
    return Texts(
        _interfaces(files),
        others,
        hosts_text or "",
        files.read(RESOLV),
        {path: text for pattern in _FOREIGN for path, text in _read_all(files, pattern)},
        has_cloud_init=environment.has_cloud_init(files),
        has_ipv6=environment.has_ipv6(files),
        has_large_hosts=hosts_text is None and files.exists(HOSTS),
    )


def propose(
    texts: Texts,
    instance: Instance,
    *,
    old_macs: Mapping[int, str],
    chosen: Mapping[int, str],
    static: Resolver | None,
) -> Proposal:
    """Decides the new texts. Pure.

    Args:
        texts: of `read`.
        instance: as Ganeti describes it.
        old_macs: MAC addresses that its NICs had before, as far as known, by NIC.
        chosen: the guest's names of its NICs, as far as the user gives them.
        static: see `deciding.decided`.

    Raises:
        KitError: see `matching.matched`; or a file of netplan is not understood.
    """
    for path, text in texts.others["netplan"].items():
        if not netplan.is_understood(text):
            raise KitError(
                f"{path} in the guest: its devices are in braces, which are only understood on one"
                " line, for what one device has",
                hint="write them with one key on a line: instance-kit shell --write",
            )
    logical = {
        name: card
        for text in texts.interfaces.values()
        for name, card in ifupdown.logical_names(text).items()
    }
    found = matched(instance.nics, _seen(texts, logical), _macs(texts), old_macs, chosen, static)
    changes = found.changes
    # The files from which all is decided are written last: a run that is killed before can be
    # completed.
    fresh: dict[str, str] = {HOSTS: hosts.edited(texts.hosts, changes)}
    if static and texts.resolv is not None and _asked(texts, changes, logical):
        fresh[RESOLV] = resolv.render(static) if static.nameservers else texts.resolv
    for path, text in texts.others["rules"].items():
        fresh[path] = _ruled(text, changes)
    for path, text in texts.others["link"].items():
        for change in changes:
            text = networkd.relinked(text, change)
        fresh[path] = text
    olds = {HOSTS: texts.hosts, RESOLV: texts.resolv, **texts.interfaces}
    for kind in texts.others.values():
        olds |= kind
    for change in changes:
        if change.has_name and not _is_pinned(change, texts, fresh):
            fresh[f"/{link_path(change.card)}"] = link(
                change.card, change.config.mac, imported=True
            )
    for path, text in texts.interfaces.items():
        fresh[path] = ifupdown.edited(text, changes, logical)
    names = netplan.known(texts.others["netplan"].values())
    for path, text in texts.others["netplan"].items():
        fresh[path] = netplan.edited(text, changes, names)
    for path, text in texts.others["networkd"].items():
        fresh[path] = networkd.edited(text, changes)
    for path, text in texts.others["drop-in"].items():
        fresh[path] = networkd.edited(text, changes, _parent(path, texts))
    for path, text in texts.others["manager"].items():
        fresh[path] = network_manager.edited(text, changes)
    edits = tuple(
        Edit(path, olds.get(path), text) for path, text in fresh.items() if olds.get(path) != text
    )
    after = _with_edits(texts, edits)
    notes = outcome.verify(changes, _seen(after, logical))
    return Proposal(changes, edits, (*found.notes, *notes, *_notes(after, changes, edits)))


def _with_edits(texts: Texts, edits: Sequence[Edit]) -> Texts:
    """The texts as they are when all edits are made."""
    new = {edit.path: edit.new for edit in edits}

    def made(olds: Mapping[str, str]) -> dict[str, str]:
        return {path: new.get(path, text) for path, text in olds.items()}

    return replace(
        texts,
        interfaces=made(texts.interfaces),
        others={kind: made(olds) for kind, olds in texts.others.items()},
        resolv=new.get(RESOLV, texts.resolv),
    )


def _asked(texts: Texts, changes: Sequence[Change], logical: Mapping[str, str]) -> bool:
    """Whether ifupdown used DHCP, and does no more: what its client wrote would stay."""
    return any(
        "inet" in one.asks and change.adds4 and change.is_of(one.name)
        for path, text in texts.interfaces.items()
        for one in ifupdown.seen(path, text, logical)
        for change in changes
    )


def _read_all(files: GuestFiles, pattern: str) -> Iterator[tuple[str, str]]:
    paths = sorted(files.matching(pattern))
    if len(paths) >= MAX_FILES:
        raise KitError(
            f"{pattern} in the guest: {MAX_FILES} files or more",
            hint="remove those that are not used, or change the addresses inside the guest",
        )
    for path in paths:
        text = files.read(path)
        if text is None and not files.exists(path):
            continue  # a directory, or a link to nothing
        if text is None or len(text) > MAX_TEXT:
            raise KitError(
                f"{path} in the guest: it is larger than {MAX_TEXT // 1024} KiB",
                hint="make it smaller, or change the addresses inside the guest",
            )
        yield path, text


def _interfaces(files: GuestFiles) -> dict[str, str]:
    """The main file of ifupdown, and the files that it includes."""
    found: dict[str, str] = {}
    wanted = [Included(ifupdown.MAIN)]
    for _ in range(MAX_INCLUDES):
        fresh = {
            path: text
            for each in wanted
            if each.pattern.startswith("/etc/")
            for path, text in _read_all(files, each.pattern)
            if path not in found and each.takes(path)
        }
        found |= fresh
        wanted = [each for text in fresh.values() for each in ifupdown.included(text)]
    return found


def _seen(texts: Texts, logical: Mapping[str, str]) -> list[Seen]:
    found: list[Seen] = []
    for path, text in texts.interfaces.items():
        found += ifupdown.seen(path, text, logical)
    names = netplan.known(texts.others["netplan"].values())
    for path, text in texts.others["netplan"].items():
        found += netplan.seen(path, text, names)
    for path, text in texts.others["networkd"].items():
        found += networkd.seen(path, text)
    for path, text in texts.others["drop-in"].items():
        found += networkd.seen(path, text, _parent(path, texts))
    for path, text in texts.others["manager"].items():
        found += network_manager.seen(path, text)
    if not texts.has_ipv6:  # an address would make ifup fail
        found = [replace(one, closed=one.closed | {"inet6"}) for one in found]
    return found


def _parent(path: str, texts: Texts) -> str:
    """The text of the .network file that a drop-in belongs to."""
    return texts.others["networkd"].get(path.rpartition("/")[0].removesuffix(".d"), "")


def _macs(texts: Texts) -> dict[str, str]:
    """The MAC address of each name that udev gives."""
    found = {
        match["name"]: match["mac"].lower()
        for text in texts.others["rules"].values()
        for line in text.splitlines()
        if not line.lstrip().startswith("#") and (match := _RULE.search(line))
    }
    linked = (networkd.linked(text) for text in texts.others["link"].values())
    found.update(pair for pair in linked if pair)
    return found


def _ruled(text: str, changes: Sequence[Change]) -> str:
    """The text of a file of udev rules, with the new MAC addresses of NICs that they name."""
    lines = text.splitlines(keepends=True)
    for place, line in enumerate(lines):
        match = _RULE.search(line)
        for change in changes if match and not line.lstrip().startswith("#") else ():
            if match and match["name"] == change.card:
                lines[place] = tokens.with_mac(line, "", change.config.mac)
    return "".join(lines)


def _is_pinned(change: Change, texts: Texts, fresh: Mapping[str, str]) -> bool:
    """Whether a file gives the NIC its name by its new MAC address already."""
    if any(netplan.sets_name(text, change.card) for text in texts.others["netplan"].values()):
        return True
    wanted = (change.card, change.config.mac)
    links = [fresh[path] for path in texts.others["link"]]
    return any(networkd.linked(text) == wanted for text in links)


def _notes(texts: Texts, changes: Sequence[Change], edits: Sequence[Edit]) -> Iterator[str]:
    for change in changes:
        number = re.fullmatch(r"eth(\d+)", change.card)
        if number and len(changes) > 1 and int(number[1]) != change.index:
            yield (
                f"NIC {change.index} is to be {change.card}: udev cannot swap the names of two NICs"
                " that the kernel calls eth*; order the NICs of the instance like the guest's"
            )
        if change.card not in ("", "*") and not change.has_name:
            yield (
                f"NIC {change.index} ({change.card}): this may match several names, and none is"
                " bound to its MAC address: see that the new machine's name is among them"
            )
    named = [c for c in changes if c.has_name and not re.fullmatch(r"eth\d+", c.card)]
    if len(named) > 1 and any(edit.path.endswith(".link") for edit in edits):
        # udev in the initramfs names NICs by their slots: a name may be another one's then.
        yield (
            "the guest's initramfs does not know the names of its NICs yet: if one has another name"
            " after the first boot, update-initramfs -u in the guest, and boot again"
        )
    if not texts.has_ipv6:
        yield "IPv6 is switched off in the guest (sysctl, or ipv6.disable=1): none is added"
    yield from _left(changes, texts)
    if texts.has_large_hosts:
        yield (
            f"{HOSTS} is larger than {MAX_SIZE // 1024} KiB: it is neither changed nor searched for"
            " old addresses"
        )
    if any(_has_mapping(text) for text in texts.interfaces.values()):
        yield "/etc/network/interfaces has a mapping: its script may choose by old addresses"
    if any(_inherits(text) for text in texts.interfaces.values()):
        yield "/etc/network/interfaces has a stanza that inherits options: see whether they fit"
    if texts.has_cloud_init and any(edit.path not in (HOSTS, RESOLV) for edit in edits):
        yield (
            "cloud-init is installed: it may write the network's files again, as on a new machine;"
            " switch that off with network: {config: disabled} in /etc/cloud/cloud.cfg.d/"
        )
    for path, text in texts.foreign.items():
        code = "\n".join(line.partition("#")[0] for line in text.splitlines())
        found = sorted(str(a) for a in tokens.addresses_in(code) if not a.is_loopback)
        if listed := ", ".join(each for each in found if not each.startswith("255.")):
            yield f"{path}: files of this kind are not changed: {listed}"


def _left(changes: Sequence[Change], after: Texts) -> Iterator[str]:
    """What the files still have of networks that the guest leaves, such as routes, name servers."""
    networks = {old.network for change in changes for old, new in change.pairs}
    networks -= {new.network for change in changes for new in change.config.addresses}
    found = dict(after.interfaces) | {RESOLV: after.resolv or ""}
    for kind in after.others.values():
        found |= kind
    for path, text in found.items():
        for number, line in enumerate(text.splitlines(), 1):
            for address in sorted(tokens.addresses_in(line.partition("#")[0]), key=str):
                if any(address in network for network in networks):
                    yield f"{path}:{number}: {address} is of a network that the guest leaves"


def _has_mapping(text: str) -> bool:
    return any(line.split()[:1] == ["mapping"] for line in text.splitlines())


def _inherits(text: str) -> bool:
    words = (line.split() for line in text.splitlines())
    return any(found[:1] == ["iface"] and "inherits" in found for found in words)
