"""Errors that callers of the importer's modules handle."""

import shlex
from collections.abc import Mapping

from converter.errors import TargetState
from node.cleanup import Terminated
from node.errors import KitError


class HostLost(KitError):
    """There is no connection to the KVM host, or it has ended: connect again, and go on."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"KVM host {host}: no connection: {why}",
            hint=f"check the network and that host (ssh {host} true), then run it again",
        )


class MasterLost(KitError):
    """There was no connection to a node, or it has ended: a command there may have begun."""


class CopiesFailed(KitError):
    """At least one copy failed, and the others were stopped; the message is the first one's.

    Attributes:
        failures: the error of each disk that is not complete; `converter.CopyFailed` if its
            target was touched.
        left: the state of each target that was touched.
    """

    def __init__(
        self, first: KitError, failures: Mapping[str, KitError], left: Mapping[str, TargetState]
    ) -> None:
        super().__init__(first.message, first.hint)
        self.failures = failures
        self.left = left


class CopiesStopped(Terminated):
    """A signal stopped the copies; `left` is the state of each target that was touched."""

    def __init__(self, number: int, left: Mapping[str, TargetState]) -> None:
        super().__init__(number)
        self.left = left


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
