"""The hook that tells the guest its names."""

from collections.abc import Mapping

from guest import hosts
from guest.addresses import host_addresses, plan_nics
from installer.hooks.base import Context, File, Hook
from node.errors import KitError
from node.log import log


class HookHostname(Hook):
    """hostname(5), mailname(5) and hosts(5)."""

    name = "hostname"

    def check(self, context: Context) -> None:
        """Warns where the guest cannot be called as the instance is."""
        name, own = context.instance.name, _own_name(context)
        if context.settings.hostname == "fqdn" and own != name:
            log.warning("%s is longer than a host name may be: the guest is called %s", name, own)

    def render(self, context: Context) -> Mapping[str, File]:
        """The three files. /etc/hosts states the addresses that `host_addresses` chooses."""
        instance, settings = context.instance, context.settings
        addresses = host_addresses(plan_nics(instance.nics, settings.dhcp))
        return {
            "etc/hostname": File(f"{_own_name(context)}\n"),
            "etc/mailname": File(f"{instance.name}\n"),
            "etc/hosts": File(hosts.render(instance.name, [address.ip for address in addresses])),
        }


def _own_name(context: Context) -> str:
    try:
        return hosts.own_name(context.instance.name, short=context.settings.hostname == "short")
    except ValueError as error:
        raise KitError(
            f"host name of {context.instance.name}: {error}",
            hint="give the instance a name whose first part is shorter, or set HOOK_HOSTNAME=no",
        ) from None
