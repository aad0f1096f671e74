"""The hook that tells the guest its names."""

from collections.abc import Mapping

from guest import hosts
from guest.addresses import host_addresses, plan_nics
from installer.hooks.base import Context, File, Hook


class HookHostname(Hook):
    """hostname(5), mailname(5) and hosts(5)."""

    name = "hostname"

    def render(self, context: Context) -> Mapping[str, File]:
        """The three files. /etc/hosts states the addresses that `host_addresses` chooses."""
        instance, settings = context.instance, context.settings
        name = instance.short_name if settings.hostname == "short" else instance.name
        addresses = host_addresses(plan_nics(instance.nics, settings.dhcp))
        return {
            "etc/hostname": File(f"{name}\n"),
            "etc/mailname": File(f"{instance.name}\n"),
            "etc/hosts": File(hosts.render(instance.name, [address.ip for address in addresses])),
        }
