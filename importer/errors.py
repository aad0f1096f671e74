"""Errors that callers of the importer's modules handle."""

import shlex

from node.errors import KitError


class HostLost(KitError):
    """There is no connection to the KVM host, or it has ended: connect again, and go on."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"KVM host {host}: no connection: {why}",
            hint=f"check the network and that host (ssh {host} true), then run it again",
        )


class ForeignJob(KitError):
    """Another program runs a job of the domain."""

    def __init__(self, domain: str, host: str, what: str) -> None:
        super().__init__(
            f"copy of {domain}: libvirt on {host} runs {what} of it already",
            hint=f"wait for its end, or end it: virsh domjobinfo {shlex.quote(domain)}, virsh"
            f" domjobabort {shlex.quote(domain)}",
        )


class JobAborted(KitError):
    """A backup job was aborted, so that the guest can go on."""
