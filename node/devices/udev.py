"""Reads udev's database of block devices. Only this module uses pyudev."""

from collections.abc import Mapping

import pyudev


def properties(number: int) -> Mapping[str, str]:
    """The properties of a block device, given by its number; empty if there is no such device.

    If no udevd runs (in a container), only the kernel's own properties are there, like DEVNAME.
    """
    try:
        device = pyudev.Devices.from_device_number(pyudev.Context(), "block", number)
    except pyudev.DeviceNotFoundError:
        return {}
    return dict(device.properties)
