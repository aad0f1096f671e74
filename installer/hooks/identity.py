"""What makes a guest itself: its machine id, its random seed, its snake oil."""

import secrets

from installer.guest_tree import GuestTree
from installer.hooks.base import Context, Hook, Report

MACHINE_ID = "etc/machine-id"
DBUS_ID = "var/lib/dbus/machine-id"
SEED = "var/lib/systemd/random-seed"
SEED_SIZE = 512
# Of the package ssl-cert: a key that many packages use until there is a real one.
SNAKEOIL = "usr/sbin/make-ssl-cert"


class HookMachineId(Hook):
    """Gives each guest a machine id (machine-id(5)), a seed and a snake oil key of its own."""

    name = "machine_id"

    def apply(self, context: Context, target: GuestTree) -> Report | None:
        target.write(MACHINE_ID, secrets.token_hex(16) + "\n", 0o444)
        if target.path(DBUS_ID).parent.is_dir():
            target.symlink(DBUS_ID, "/etc/machine-id")
        if target.path(SEED).parent.is_dir():
            target.write(SEED, secrets.token_bytes(SEED_SIZE), 0o600)
        if target.exists(SNAKEOIL):
            target.run(["make-ssl-cert", "generate-default-snakeoil", "--force-overwrite"])
        return None
