"""What makes a guest itself: its machine id and its random seed."""

import secrets

from installer.hooks.base import Context, Hook, Report
from installer.target import Target

MACHINE_ID = "etc/machine-id"
DBUS_ID = "var/lib/dbus/machine-id"
SEED = "var/lib/systemd/random-seed"
SEED_SIZE = 512


class HookMachineId(Hook):
    """Gives each guest a machine id (machine-id(5)) and seed of its own."""

    name = "machine_id"

    def apply(self, context: Context, target: Target) -> Report | None:
        target.write(MACHINE_ID, secrets.token_hex(16) + "\n", 0o444)
        if target.path(DBUS_ID).parent.is_dir():
            target.symlink(DBUS_ID, "/etc/machine-id")
        if target.path(SEED).parent.is_dir():
            target.write(SEED, secrets.token_bytes(SEED_SIZE), 0o600)
        return None
