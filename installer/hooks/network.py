"""Configures the guest's NICs, their names, and its name servers."""

import re
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import PurePosixPath

from guest import interfaces, networkd, resolv
from guest.hypervisor import CONTAINERS
from guest.resolv import Resolver
from installer import releases
from installer.guest_tree import GuestTree
from installer.hooks.base import Context, File, Hook, Later
from installer.hooks.templates import render_template
from node.errors import KitError
from node.log import log

_NETWORKING_SERVICE = "lib/systemd/system/networking.service"
_RESOLV_CONF = "etc/resolv.conf"
_PIN_SCRIPT = "usr/local/sbin/pin-nic-names"
_PIN_UNIT = "etc/systemd/system/pin-nic-names.service"
_PIN_WANTS = "etc/systemd/system/multi-user.target.wants/pin-nic-names.service"

_Pair = tuple[str, IPv4Interface | IPv6Interface]


class HookNetwork(Hook):
    """Configures static IPv4 and IPv6 as Ganeti's networks say, else DHCP."""

    name = "network"

    def packages(self, context: Context) -> tuple[str, ...]:
        """The network stack, and a DHCP client if one may be needed (networkd has its own)."""
        settings = context.settings
        if settings.network_stack == "networkd":
            return ("systemd",)
        if not settings.dhcp:
            return ("ifupdown",)
        return ("ifupdown", releases.dhcp_client(settings.suite))

    def render(self, context: Context) -> Mapping[str, File]:
        """The files of the network stack, udev's .link files and their service, resolv.conf."""
        files = {_RESOLV_CONF: File(resolv.render(_resolver(context)))}
        if context.instance.nics:
            files[_PIN_SCRIPT] = File(render_template("pin-nic-names"), 0o755)
            files[_PIN_UNIT] = File(render_template("pin-nic-names.service"))
        networked = context.settings.network_stack == "networkd"
        if networked:
            files[networkd.ONLINE] = File(networkd.online())
        else:
            files[interfaces.MAIN] = File(interfaces.main())
        for config in context.nics:
            files[networkd.link_path(config.name)] = File(networkd.link(config.name, config.mac))
            if networked:
                files[networkd.network_path(config)] = File(networkd.render(config))
            else:
                udev = context.instance.hypervisor not in CONTAINERS
                files[interfaces.path(config)] = File(interfaces.render(config, udev=udev))
        return files

    def apply(self, context: Context, target: GuestTree) -> Later:
        """Writes the files; the report has a line for each configured address."""
        # write_all also replaces a resolv.conf that is a symlink of systemd-resolved into /run.
        target.write_all(self.render(context))
        if context.instance.nics:
            target.symlink(_PIN_WANTS, f"/{_PIN_UNIT}")
        if context.settings.network_stack == "networkd":
            if target.exists(_NETWORKING_SERVICE):
                target.run(["systemctl", "disable", "networking.service"])
            target.run(["systemctl", "enable", "systemd-networkd.service"])
        _warn(context)
        return Later(
            mend=lambda: self._mend(context, target),
            report=lambda: _report_lines(context, target),
        )

    def _mend(self, context: Context, target: GuestTree) -> None:
        """Removes our configuration of NICs that a site hook configures."""
        files = self.render(context)
        ours = {file.text for file in files.values()}
        if context.settings.network_stack == "ifupdown" and (
            names := _nics_named_by_udev(target, ours)
        ):
            # The guest would wait for NICs whose names we have changed.
            log.info("a site hook configures %s: NICs keep the names that udev gives them", names)
            for relative in (*files, _PIN_WANTS):
                if relative not in (interfaces.MAIN, _RESOLV_CONF):
                    target.remove(relative)
            return
        for relative, file in files.items():
            text = _read(target, relative)
            if not text.startswith(file.text):
                continue  # a site hook has removed or replaced it
            mended = _without_doubles(context, target, relative, file.text)
            if mended != text:
                log.info(
                    "%s: a site hook configures the same: the built-in entry is removed", relative
                )
                if mended:
                    target.write(relative, mended)
                else:
                    target.remove(relative)


def _nics_named_by_udev(target: GuestTree, ours: Collection[str]) -> str:
    """The NICs that hooks configure by udev's default names (systemd.net-naming-scheme(7)).

    Such a hook expects that NICs are not renamed. If hooks also configure an eth*, "" is returned.
    """
    main, directory = _read(target, interfaces.MAIN), PurePosixPath(interfaces.DIRECTORY)
    texts = [
        main,
        *(_read_directory(target, directory) if interfaces.sources_directory(main) else []),
    ]
    theirs = [pair for text in texts if text not in ours for pair in interfaces.configured(text)]
    names = {name for name, _ in theirs}
    if any(name.startswith("eth") for name in names):
        return ""
    return ", ".join(sorted(name for name in names if re.fullmatch("en[opsx][0-9a-z]+", name)))


def _without_doubles(context: Context, target: GuestTree, relative: str, ours: str) -> str:
    """The text to keep of a file that begins with our text; "" if the file is to be removed."""
    path, added = PurePosixPath(relative), _read(target, relative).removeprefix(ours)
    if str(path.parent) == interfaces.DIRECTORY:
        main = _read(target, interfaces.MAIN)
        others = (
            _read_directory(target, path.parent, but=path)
            if interfaces.sources_directory(main)
            else []
        )
        taken = {pair for text in (main, added, *others) for pair in interfaces.configured(text)}
        return interfaces.without(ours, taken) + added
    for config in context.nics:
        if relative in (networkd.network_path(config), networkd.link_path(config.name)):
            rivals = _read_directory(target, path.parent, but=path, suffix=path.suffix)
            return added if any(networkd.matches(text, config) for text in rivals) else ours + added
    return ours + added


def _read_directory(
    target: GuestTree,
    directory: PurePosixPath,
    *,
    but: PurePosixPath | None = None,
    suffix: str = "",
) -> list[str]:
    """The texts of the files in a directory of the guest; "" for those that cannot be read."""
    place = target.path(str(directory))
    names = sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []
    paths = [directory / name for name in names if name.endswith(suffix) and name[0] != "."]
    return [_read(target, str(path)) for path in paths if path != but]


def _report_lines(context: Context, target: GuestTree) -> Sequence[str]:
    """A line for each configured address, by NIC, IPv4 first."""
    networked = context.settings.network_stack == "networkd"
    found = _in_networkd(context, target) if networked else _in_interfaces(context, target)
    return [f"configured {name} with {address}" for name, address in found]


def _in_networkd(context: Context, target: GuestTree) -> list[_Pair]:
    """The planned addresses of NICs whose files were not changed by a site hook."""
    found: list[_Pair] = []
    for config in context.nics:
        path = networkd.network_path(config)
        if _read(target, path) == networkd.render(config):
            found += [(config.name, address) for address in config.addresses]
        elif config.addresses:
            log.warning("%s was replaced by a site hook: its address is not known", path)
    return found


def _in_interfaces(context: Context, target: GuestTree) -> list[_Pair]:
    """The addresses in the final files, which site hooks may have written."""
    main = _read(target, interfaces.MAIN)
    texts = [main]
    if interfaces.sources_directory(main):
        texts += _read_directory(target, PurePosixPath(interfaces.DIRECTORY))
    found = dict.fromkeys(pair for text in texts for pair in interfaces.static_addresses(text))
    known = [config.name for config in context.nics]
    names = list(dict.fromkeys([*known, *(name for name, _ in found)]))
    return sorted(found, key=lambda pair: (names.index(pair[0]), pair[1].version))


def _read(target: GuestTree, relative: str) -> str:
    try:
        return target.read(relative)
    except KitError:  # a site hook has removed it, or put a link there
        return ""


def _resolver(context: Context) -> Resolver:
    settings, node = context.settings, context.node.resolver
    return Resolver(settings.dns or node.nameservers, settings.dns_search or node.search)


def _warn(context: Context) -> None:
    for config in context.nics:
        for note in config.notes:
            log.warning("%s", note)
        if not config.addresses:
            way = "left to DHCP" if config.dhcp else "left unconfigured"
            log.info("%s has no address: %s", config.name, way)
    if context.instance.nics and not _resolver(context).nameservers:
        log.warning("the guest has no name server: set DNS, as the node has none for it")
