"""The SSH server, its own host keys for each guest, and root's authorized keys."""

import base64
import hashlib
from collections.abc import Mapping

from guest.authorized_keys import render as render_keys
from installer import oslog
from installer.guest_tree import GuestTree
from installer.hooks.base import Context, File, Hook, Later
from installer.hooks.templates import render_template
from node.log import log, step
from node.run import Running

KEYGEN = "usr/bin/ssh-keygen"
CONFIG = "etc/ssh/sshd_config"
KEY_TYPES = ("rsa", "ecdsa", "ed25519")
KEY = "etc/ssh/ssh_host_{}_key"
DROP_IN = "etc/ssh/sshd_config.d/ganeti-instance-kit.conf"
INCLUDE = "/etc/ssh/sshd_config.d/"
AUTHORIZED_KEYS = "root/.ssh/authorized_keys"


class HookHostKeys(Hook):
    """Makes the host keys; those that the package made would be the same in all copies.

    It has no switch, as EXTRA_PKGS may also install the server.
    """

    name = "host_keys"

    def enabled(self, context: Context) -> bool:
        return True

    def apply(self, context: Context, target: GuestTree) -> Later:
        begun = {}
        if target.exists(KEYGEN) and target.exists(CONFIG):
            begun = {kind: _begin_key(target, kind, context) for kind in KEY_TYPES}
        return Later(finish=lambda: self._finish(context, target, begun))

    def _finish(self, context: Context, target: GuestTree, begun: Mapping[str, Running]) -> None:
        with step("hook host_keys: keys"):
            for kind, made in begun.items():
                made()
                # If a fingerprint contains the node's short name, grep would drop it from the log:
                # make another key.
                while oslog.is_masked_by_grep(
                    _fingerprint_digest(target, kind), context.node.hostname
                ):
                    _begin_key(target, kind, context)()


class HookSsh(Hook):
    """Installs the server, and reports its host keys and their fingerprints."""

    name = "ssh"

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("openssh-server",)

    def render(self, context: Context) -> Mapping[str, File]:
        root_login = "prohibit-password" if context.settings.root_login else "no"
        return {DROP_IN: File(render_template("sshd.conf", root_login=root_login))}

    def apply(self, context: Context, target: GuestTree) -> Later:
        if INCLUDE in target.read(CONFIG):
            target.write_all(self.render(context))
        else:
            log.warning("sshd of this suite does not read %s: its settings are kept", INCLUDE)

        def report() -> list[str]:
            # A site hook may have replaced the keys: report the present ones.
            kinds = [kind for kind in KEY_TYPES if target.exists(f"{KEY.format(kind)}.pub")]
            public = [f"{KEY.format(kind)}.pub" for kind in kinds]
            lines = [oslog.mask_log_keywords(target.read(path).strip()) for path in public]
            hostname = context.node.hostname
            shown = [target.start(["ssh-keygen", "-l", "-f", f"/{path}"]) for path in public]
            return lines + [
                _fingerprint_line(fingerprint().stdout, hostname) for fingerprint in shown
            ]

        return Later(report=report)


def _begin_key(target: GuestTree, kind: str, context: Context) -> Running:
    """Starts ssh-keygen for a host key; the caller awaits it."""
    key = KEY.format(kind)
    target.remove(key)
    target.remove(f"{key}.pub")
    comment = f"root@{context.instance.name}"
    return target.start(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", f"/{key}"])


def _fingerprint_digest(target: GuestTree, kind: str) -> str:
    """The SHA-256 digest in a key's fingerprint, in ssh-keygen(1)'s notation."""
    blob = base64.b64decode(target.read(f"{KEY.format(kind)}.pub").split()[1])
    return base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _fingerprint_line(fingerprint: str, hostname: str) -> str:
    """The log line of a fingerprint; a comment that contains the node's host name is replaced."""
    bits, digest, *words, kind = fingerprint.split()
    comments = (oslog.mask_log_keywords(" ".join(words)), "root")
    comment = next((text for text in comments if not oslog.is_masked_by_grep(text, hostname)), "-")
    return f"{bits} {digest} {comment} {kind}"


def authorized_keys(context: Context) -> str:
    """The text with the keys that may log in: the node's AUTHORIZED_KEYS and SSH_KEYS."""
    text = context.node.authorized_keys or ""
    if text and not text.endswith("\n"):
        text += "\n"
    return text + render_keys(context.settings.ssh_keys)


class HookAuthorizedKeys(Hook):
    """Copies the keys of AUTHORIZED_KEYS, with options and comments, and SSH_KEYS to root."""

    name = "authorized_keys"

    def enabled(self, context: Context) -> bool:
        settings = context.settings
        return settings.root_login and (settings.hook_authorized_keys or settings.ssh_keys != ())

    def render(self, context: Context) -> Mapping[str, File]:
        keys = authorized_keys(context)
        return {AUTHORIZED_KEYS: File(keys, 0o600)} if keys else {}

    def apply(self, context: Context, target: GuestTree) -> Later:
        files = self.render(context)
        if not files:
            log.warning("no %s on this node: root gets no keys", context.settings.authorized_keys)
        target.path("root/.ssh").mkdir(mode=0o700, exist_ok=True)
        target.path("root/.ssh").chmod(0o700)
        target.write_all(files)
        return Later()
