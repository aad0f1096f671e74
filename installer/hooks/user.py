"""The user of the setting USER, with root's SSH keys and sudo(8)."""

import os
from collections.abc import Mapping
from pathlib import Path

from installer.bootstrap import accounts
from installer.guest_tree import GuestTree
from installer.hooks.base import Context, File, Hook, Later
from installer.hooks.ssh import authorized_keys
from node.log import log

SUDOERS = "etc/sudoers.d/ganeti-instance-kit"
PASSWD = "etc/passwd"


class HookUser(Hook):
    """Creates USER without a password; sudo does not ask for one."""

    name = "user"

    def enabled(self, context: Context) -> bool:
        return context.settings.hook_user and context.settings.user != ""

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("passwd", "sudo")

    def users(self, context: Context) -> tuple[str, ...]:
        return (context.settings.user,)

    def render(self, context: Context) -> Mapping[str, File]:
        line = f"{context.settings.user} ALL=(ALL:ALL) NOPASSWD: ALL\n"
        return {SUDOERS: File(line, 0o440)}

    def apply(self, context: Context, target: GuestTree) -> Later:
        target.write_all(self.render(context))
        return Later(finish=lambda: self._make(context, target))

    def _make(self, context: Context, target: GuestTree) -> None:
        # Not in `apply`: meanwhile chpasswd sets root's password, and locks the same files.
        user = context.settings.user
        accounts.refuse([user], accounts.of_guest(target))  # an upgrade may have made it
        target.run(["useradd", "--create-home", "--shell=/bin/bash", "--groups=sudo", user])
        entry = _entry(target, user)
        assert entry is not None
        uid, gid, home = int(entry[2]), int(entry[3]), entry[5].lstrip("/")
        keys = authorized_keys(context)
        if keys:
            target.write(f"{home}/.ssh/authorized_keys", keys, 0o600)
            directory = target.path(f"{home}/.ssh")
            directory.chmod(0o700)
            for path in (directory, directory / "authorized_keys"):
                os.chown(path, uid, gid, follow_symlinks=False)
        else:
            log.warning("user %s has no key: it cannot log in", user)
        for disk in context.layout.kept:
            if disk.mountpoint is not None and Path(f"/{home}").is_relative_to(disk.mountpoint):
                log.warning("%s is on a disk that is kept: its keys are not changed", entry[5])


def _entry(target: GuestTree, user: str) -> list[str] | None:
    """The fields of a user in passwd(5); None if there is no such user."""
    lines = (line.split(":") for line in target.read(PASSWD).splitlines())
    return next((fields for fields in lines if fields[0] == user), None)
