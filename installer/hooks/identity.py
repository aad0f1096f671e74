"""The identity of a guest: host name, machine ID, random seed, snakeoil certificate."""

import secrets
from collections.abc import Mapping

from guest import hosts
from guest.addresses import host_addresses
from installer.guest_tree import GuestTree
from installer.hooks.base import Context, File, Hook, Later
from node.errors import KitError
from node.log import log

MACHINE_ID = "etc/machine-id"
DBUS_ID = "var/lib/dbus/machine-id"
SEED = "var/lib/systemd/random-seed"
SEED_SIZE = 512
# Of the package ssl-cert: it makes a key that many packages use by default.
SNAKEOIL = "usr/sbin/make-ssl-cert"


class HookHostname(Hook):
    """Writes hostname(5), mailname(5) and hosts(5)."""

    name = "hostname"

    def check(self, context: Context) -> None:
        """Warns if the instance's name is too long for a host name."""
        name, own = context.instance.name, _own_name(context)
        if context.settings.hostname == "fqdn" and own != name:
            log.warning("%s is too long for a host name: the guest's host name is %s", name, own)

    def render(self, context: Context) -> Mapping[str, File]:
        """The three files; /etc/hosts has the addresses of `host_addresses`."""
        instance = context.instance
        addresses = host_addresses(context.nics)
        return {
            "etc/hostname": File(f"{_own_name(context)}\n"),
            "etc/mailname": File(f"{instance.name}\n"),
            "etc/hosts": File(hosts.render(instance.name, [address.ip for address in addresses])),
        }


class HookMachineId(Hook):
    """Gives each guest its own machine ID (machine-id(5)), random seed and snakeoil key."""

    name = "machine_id"

    def apply(self, context: Context, target: GuestTree) -> Later:
        target.write(MACHINE_ID, secrets.token_hex(16) + "\n", 0o444)
        if target.path(DBUS_ID).parent.is_dir():
            target.symlink(DBUS_ID, "/etc/machine-id")
        if target.path(SEED).parent.is_dir():
            target.write(SEED, secrets.token_bytes(SEED_SIZE), 0o600)
        if target.exists(SNAKEOIL):
            target.run(["make-ssl-cert", "generate-default-snakeoil", "--force-overwrite"])
        return Later()


def _own_name(context: Context) -> str:
    try:
        return hosts.own_name(context.instance.name, short=context.settings.hostname == "short")
    except ValueError as error:
        raise KitError(
            f"host name of {context.instance.name}: {error}",
            hint="give the instance a name whose first part is shorter, or set HOOK_HOSTNAME=no",
        ) from None
