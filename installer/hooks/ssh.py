"""The SSH server, with host keys made for this guest alone, and the keys that root logs in with."""

from collections.abc import Mapping

from installer.hooks.base import Context, File, Hook, Report
from installer.target import Target
from installer.templates import render_template
from node.log import log

KEY_TYPES = ("rsa", "ecdsa", "ed25519")
KEY = "etc/ssh/ssh_host_{}_key"
DROP_IN = "etc/ssh/sshd_config.d/ganeti-instance-kit.conf"
INCLUDE = "/etc/ssh/sshd_config.d/"
AUTHORIZED_KEYS = "root/.ssh/authorized_keys"


class HookSsh(Hook):
    """Installs the server and makes its host keys; states them and their fingerprints."""

    name = "ssh"

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("openssh-server",)

    def render(self, context: Context) -> Mapping[str, File]:
        return {DROP_IN: File(render_template("sshd.conf"))}

    def apply(self, context: Context, target: Target) -> Report | None:
        if INCLUDE in target.read("etc/ssh/sshd_config"):
            target.write_all(self.render(context))
        else:
            log.warning("sshd of this suite reads no %s: its own settings stay", INCLUDE)
        for kind in KEY_TYPES:
            # Users search the OS log with `grep -v $(hostname)`: a node with a short name could
            # lose a fingerprint there, so such a key is made again.
            while context.node.hostname in _new_key(target, kind, context.instance.name):
                pass

        def report() -> list[str]:
            # A site hook may have put other keys there: state what is there now.
            kinds = [kind for kind in KEY_TYPES if target.exists(f"{KEY.format(kind)}.pub")]
            public = [f"{KEY.format(kind)}.pub" for kind in kinds]
            lines = [target.read(path).strip() for path in public]
            return lines + [_fingerprint(target, path) for path in public]

        return report


def _new_key(target: Target, kind: str, instance: str) -> str:
    """Makes a host key; returns its fingerprint as the log will state it, without the comment."""
    key = KEY.format(kind)
    target.remove(key)
    target.remove(f"{key}.pub")
    comment = f"root@{instance}"
    target.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", f"/{key}"])
    return _fingerprint(target, f"{key}.pub").split()[1]


def _fingerprint(target: Target, public_key: str) -> str:
    return target.run(["ssh-keygen", "-l", "-f", f"/{public_key}"]).stdout.strip()


class HookAuthorizedKeys(Hook):
    """Copies the keys of the node's root, with their options and comments."""

    name = "authorized_keys"

    def render(self, context: Context) -> Mapping[str, File]:
        if context.node.authorized_keys is None:
            return {}
        return {AUTHORIZED_KEYS: File(context.node.authorized_keys, 0o600)}

    def apply(self, context: Context, target: Target) -> Report | None:
        files = self.render(context)
        if not files:
            log.warning("no %s on this node: root gets no keys", context.settings.authorized_keys)
        target.path("root/.ssh").mkdir(mode=0o700, exist_ok=True)
        target.path("root/.ssh").chmod(0o700)
        target.write_all(files)
        return None
