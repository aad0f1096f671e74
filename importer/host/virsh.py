"""libvirt on the KVM host, by virsh(1).

A domain is named by its UUID or its name, as `virsh` takes either; a name of digits would be taken
for the number of a running domain, so the UUID is safe.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from importer.host.connection import SECONDS, KvmHost
from node.errors import CommandError, KitError
from node.run import Result

VIRSH = ("virsh", "--connect", "qemu:///system", "--quiet")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_STATE = re.compile(r"([a-z ]+?)(?: \((.*)\))?")
_LISTED = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}) +(.*?) *")
_NO_CHECKPOINT = "Domain checkpoint not found"
_NO_DOMAIN = "failed to get domain"


class Listed(NamedTuple):
    """A domain of the KVM host."""

    name: str
    uuid: str


class DomainState(NamedTuple):
    """The state of a domain in virsh's words, such as paused, and the reason, such as I/O error."""

    state: str
    reason: str


class DomainInfo(NamedTuple):
    """What `virsh dominfo` says of a domain; the state is in virsh's words.

    `has_managed_save`: whether it is off, with its memory saved to a file. `is_persistent`: whether
    libvirt knows it when it is off.
    """

    name: str
    uuid: str
    state: str
    has_managed_save: bool
    is_persistent: bool


class Versions(NamedTuple):
    """The versions of the running libvirt and of QEMU, each as (major, minor, patch)."""

    libvirt: tuple[int, int, int]
    qemu: tuple[int, int, int]


class Virsh:
    """Calls of virsh; all raise HostLost, or CommandError if virsh fails."""

    def __init__(self, host: KvmHost) -> None:
        self._host = host

    def _call(self, *words: str, domain: str | None = None, seconds: float = SECONDS) -> Result:
        named = () if domain is None else (f"--domain={domain}",)
        argv = [*VIRSH, words[0], *named, *words[1:]]
        what = f"virsh {words[0]}" + ("" if domain is None else f" of {domain}")
        return self._host.run(argv, seconds=seconds, what=what)

    def versions(self) -> Versions:
        """The versions of libvirt and QEMU."""
        return parse_versions(self._call("version", "--daemon").stdout)

    def domains(self) -> list[Listed]:
        """All domains, running or not."""
        return parse_domains(self._call("list", "--all", "--uuid", "--name").stdout)

    def info(self, domain: str) -> DomainInfo:
        """What libvirt says of a domain.

        Raises:
            KitError: there is none of that name or UUID.
        """
        told = self._unless(_NO_DOMAIN, "dominfo", domain=domain)
        info = parse_info(told) if told is not None else None
        if info is None or (domain != info.name and domain.lower() != info.uuid):
            domains = self.domains()
            if domain in (each.name for each in domains):  # taken for the number of another one
                uuid = next(each.uuid for each in domains if each.name == domain)
                return parse_info(self._call("dominfo", domain=uuid).stdout)
            listed = ", ".join(sorted(each.name for each in domains))
            raise KitError(
                f"domain {domain} on {self._host.name}: libvirt has none of that name",
                hint=f"its domains: {listed or 'none'}",
            )
        return info

    def dumpxml(self, domain: str, *, inactive: bool = False) -> str:
        """The XML of a domain: as it runs, or `inactive`: as it starts the next time."""
        flags = ["--inactive"] if inactive else []
        return self._call("dumpxml", *flags, domain=domain).stdout

    def volume_xml(self, pool: str, volume: str) -> str:
        """The XML of a volume of a storage pool."""
        return self._call("vol-dumpxml", f"--pool={pool}", f"--vol={volume}").stdout

    def state(self, domain: str) -> DomainState:
        """The state of a domain, and the reason."""
        return parse_state(self._call("domstate", "--reason", domain=domain).stdout)

    def suspend(self, domain: str) -> None:
        """Suspends a domain."""
        self._call("suspend", domain=domain)

    def resume(self, domain: str) -> None:
        """Lets a suspended domain run again."""
        self._call("resume", domain=domain)

    def start(self, domain: str) -> None:
        """Starts a domain that is off."""
        self._call("start", domain=domain)

    def snapshots(self, domain: str) -> list[str]:
        """The names of a domain's snapshots."""
        return _names(self._call("snapshot-list", "--name", domain=domain).stdout)

    def checkpoints(self, domain: str) -> list[str]:
        """The names of a domain's checkpoints, parents before children."""
        return _names(
            self._call("checkpoint-list", "--name", "--topological", domain=domain).stdout
        )

    def checkpoint_delete(self, domain: str, name: str, *, metadata_only: bool = False) -> None:
        """Deletes a checkpoint if there is one of that name.

        Args:
            domain: running, or only metadata can be deleted.
            name: of the checkpoint.
            metadata_only: whether its bitmaps stay in the images.
        """
        flags = ["--metadata"] if metadata_only else []
        words = ["checkpoint-delete", f"--checkpointname={name}", *flags]
        self._unless(_NO_CHECKPOINT, *words, domain=domain)

    def _unless(self, missing: str, *words: str, domain: str) -> str | None:
        """Calls virsh; None if it says that what is asked for does not exist."""
        try:
            return self._call(*words, domain=domain).stdout
        except CommandError as error:
            if missing in error.stderr:
                return None
            raise


def is_unknown(error: KitError) -> bool:
    """Whether an error says that libvirt does not know the domain. Pure."""
    return isinstance(error, CommandError) and _NO_DOMAIN in error.stderr


def fields(text: str) -> dict[str, str]:
    """Parses lines like `Job type:   None`."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def parse_domains(text: str) -> list[Listed]:
    """Parses the output of `virsh list --uuid --name`."""
    found = (_LISTED.fullmatch(line) for line in text.splitlines())
    return [Listed(each[2], each[1]) for each in found if each]


def parse_info(text: str) -> DomainInfo:
    """Parses the output of `virsh dominfo`."""
    found = fields(text)
    try:
        return DomainInfo(
            found["Name"],
            found["UUID"],
            found["State"],
            found["Managed save"] == "yes",
            found["Persistent"] == "yes",
        )
    except KeyError as error:
        raise KitError(
            f"virsh dominfo: its output has no {error}", hint="see its output there"
        ) from error


def parse_state(text: str) -> DomainState:
    """Parses the output of `virsh domstate --reason`, such as paused (I/O error)."""
    found = _STATE.fullmatch(text.strip())
    if not found:
        raise KitError(
            f"virsh domstate: not a state: {text.strip()[:80]!r}", hint="see its output there"
        )
    return DomainState(found[1], found[2] or "")


def parse_versions(text: str) -> Versions:
    """Parses the output of `virsh version --daemon`."""
    lines = fields(text)
    words: Sequence[str] = [
        lines.get("Running against daemon", ""),
        lines.get("Running hypervisor", ""),
    ]
    libvirt, qemu = (_VERSION.search(word) for word in words)
    if not libvirt or not qemu:
        raise KitError(
            f"virsh version: no versions in its output: {text[:200]!r}",
            hint="see `virsh version --daemon` there; is qemu-system-x86 installed?",
        )
    return Versions(_numbers(libvirt), _numbers(qemu))


def _numbers(found: re.Match[str]) -> tuple[int, int, int]:
    return int(found[1]), int(found[2]), int(found[3])


def _names(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
