"""What udev knows of block devices: the one user of pyudev."""

from collections.abc import Mapping
from pathlib import Path

import pyudev

from node.run import run

CONTROL = Path("/run/udev/control")  # the socket of a running udevd
SETTLE_SECONDS = 10


def properties(number: int) -> Mapping[str, str]:
    """The properties of a block device, given by its number; empty if there is no such device.

    Where no udevd runs (a container), only the kernel's own are there, like DEVNAME.
    """
    try:
        device = pyudev.Devices.from_device_number(pyudev.Context(), "block", number)
    except pyudev.DeviceNotFoundError:
        return {}
    return dict(device.properties)


def settle() -> None:
    """Awaits that udevd is done with the events up to now, where one runs; at most 10 seconds."""
    if CONTROL.exists():
        run(["udevadm", "settle", f"--timeout={SETTLE_SECONDS}"], check=False)
