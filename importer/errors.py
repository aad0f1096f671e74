"""Errors that callers of the importer's modules handle."""

from node.errors import KitError


class HostLost(KitError):
    """There is no connection to the KVM host, or it has ended: connect again, and go on."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"KVM host {host}: no connection: {why}",
            hint=f"check the network and that host (ssh {host} true), then run it again",
        )
