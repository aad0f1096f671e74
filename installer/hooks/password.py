"""A random password for root, logged once, to be changed at the first login."""

import secrets

from installer.hooks.base import Context, Hook, Report
from installer.oslog import is_masked_by_grep
from installer.target import Target

# Without 0O1lI and their like, as it is read from a screen and typed at a console whose keyboard
# may be set otherwise: letters and digits only. 24 of 55 give 138 bits.
ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
LENGTH = 24
SHADOW = "etc/shadow"


def random_password(hostname: str) -> str:
    """A password that nobody can guess and everybody can type.

    It never holds the node's host name: users search the OS log with `grep -v $(hostname)`.
    """
    while True:
        password = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        if not is_masked_by_grep(password, hostname):
            return password


class HookPassword(Hook):
    """Sets root's password with the guest's own tools, so that its own crypt makes the hash."""

    name = "password"

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("passwd",)

    def apply(self, context: Context, target: Target) -> Report | None:
        password = random_password(context.node.hostname)
        self._set = target.start(["chpasswd"], input=f"root:{password}\n")

        def report() -> list[str]:
            if _root_hash(target) != self._hash:
                return ["the password of root was set by a site hook"]
            return [f"root password: {password}"]

        return report

    def finish(self, context: Context, target: Target) -> None:
        self._set()
        if context.settings.password_expire:
            target.run(["chage", "--lastday", "0", "root"])
        self._hash = _root_hash(target)


def _root_hash(target: Target) -> str:
    entries = (line.split(":") for line in target.read(SHADOW).splitlines())
    return next(fields[1] for fields in entries if fields[0] == "root")
