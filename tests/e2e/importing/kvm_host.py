"""The KVM host of the lab."""

from collections.abc import Sequence

from tests.e2e.host import NAMESPACES, Host, enter
from tests.e2e.sandbox import Sandbox


class KvmHost(Host):
    """The KVM host beside a running node."""

    name = "kvm1.example.org"

    def __init__(self, node: Sandbox) -> None:
        self._node = node
        self._pid = int(node.run(["cat", "/run/kvm-host.pid"]).stdout)

    def entry(self, namespaces: Sequence[str]) -> list[str]:
        outer = self._node.entry(namespaces)
        return [*outer, "setpriv", "--pdeathsig=TERM", *enter(self._pid, namespaces)]

    def virsh(
        self,
        *words: str,
        input: str | None = None,  # noqa: A002 - as subprocess calls it
        check: bool = True,
    ) -> str:
        """Runs virsh there; returns what it printed, stripped.

        Raises:
            SandboxError: it failed and `check` is set.
        """
        return self.run(["virsh", "--quiet", *words], input=input, check=check).stdout.strip()

    def convert(self, path: str, options: Sequence[str], target: str) -> None:
        """Copies a raw file of the node to an image there, with qemu-img."""
        argv = [*enter(self._pid, NAMESPACES), "qemu-img", "convert", "-f", "raw"]
        # What is open crosses the border of mount namespaces.
        script = 'file=$1; shift; exec "$@" < "$file"'
        self._node.run(["sh", "-c", script, "sh", path, *argv, *options, "/dev/stdin", target])
