"""A random password for root: logged once, and changed at the first login."""

import secrets

from installer.guest_tree import GuestTree
from installer.hooks.base import Context, Hook, Later
from installer.oslog import is_masked_by_grep

# Letters and digits only, since it may be typed at a console with another keyboard layout. Without
# 0O1lI, which look alike on a screen. 24 of these 55 characters have 138 bits.
ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
LENGTH = 24
PASSWD = "etc/passwd"
SHADOW = "etc/shadow"
# PAM's own helper, which pam_unix(8) runs for programs that are not root.
CHECK = "unix_chkpwd"
# PAM_ACCT_EXPIRED and PAM_AUTHTOK_EXPIRED of security/_pam_types.h (chage(1): -E, -I).
EXPIRED = (13, 27)


def random_password(hostname: str) -> str:
    """A random password that is easy to type.

    It does not contain the node's host name, as users search the log with `grep -v $(hostname)`.
    """
    while True:
        password = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        if not is_masked_by_grep(password, hostname):
            return password


class HookPassword(Hook):
    """Sets root's password with the guest's own tools, which know its type of password hash."""

    name = "password"

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("passwd",)

    def apply(self, context: Context, target: GuestTree) -> Later:
        password = random_password(context.node.hostname)
        being_set = target.start(["chpasswd"], input=f"root:{password}\n")

        def report() -> list[str]:
            if _expired(target):
                return ["the account of root has expired: a site hook has set that"]
            if _lets_root_in(target, password):
                return [f"root password: {password}"]
            if _lets_root_in(target, ""):
                return ["the password of root is empty: a site hook has removed it"]
            if _locked(target):
                return ["the password of root is locked by a site hook or a package: none works"]
            return ["the password of root was set by a site hook"]

        def finish() -> None:
            being_set()
            if context.settings.password_expire:
                target.run(["chage", "--lastday", "0", "root"])

        return Later(finish=finish, report=report)


def _lets_root_in(target: GuestTree, password: str) -> bool:
    """Whether root can log in with a password, as the guest's own PAM sees it (unix_chkpwd(8))."""
    # It reads the password up to a zero byte; nullok accepts an empty password.
    null = "nonull" if password else "nullok"
    asked = target.run([CHECK, "root", null], input=f"{password}\0", check=False)
    return asked.exit_code == 0


def _expired(target: GuestTree) -> bool:
    """Whether root's account has expired, so that no password works."""
    return target.run([CHECK, "root", "chkexpiry"], check=False).exit_code in EXPIRED


def _locked(target: GuestTree) -> bool:
    """Whether root's entry in passwd(5) or shadow(5) has no password hash."""
    field = _field(target, PASSWD)
    if field == "x":
        field = _field(target, SHADOW)
    return field is None or field.startswith(("!", "*"))


def _field(target: GuestTree, path: str) -> str | None:
    entries = (line.split(":") for line in target.read(path).splitlines())
    return next((fields[1] for fields in entries if fields[0] == "root" and len(fields) > 1), None)
