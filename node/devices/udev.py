"""What udev knows of block devices: the one user of pyudev."""

from collections.abc import Mapping

import pyudev


def properties(number: int) -> Mapping[str, str]:
    """The properties of a block device, given by its number; empty if there is no such device.

    Where no udevd runs (a container), only the kernel's own are there, like DEVNAME.
    """
    try:
        device = pyudev.Devices.from_device_number(pyudev.Context(), "block", number)
    except pyudev.DeviceNotFoundError:
        return {}
    return dict(device.properties)
