"""Retries actions on devices that may be in use for a moment."""

import time
from collections.abc import Callable
from typing import TypeVar

from node.errors import KitError

SETTLE_SECONDS = 5.0

Result = TypeVar("Result")


class InUseError(Exception):
    """Something is in use; the message says by whom."""


def settled(
    attempt: Callable[[], Result], name: str, hint: str, *, in_use: type[KitError] = KitError
) -> Result:
    """Repeats `attempt` for SETTLE_SECONDS while it raises InUseError; returns its result.

    udev opens a device for a moment, and the kernel detaches the loop devices of a killed run
    shortly after its processes have ended.

    Args:
        attempt: raises InUseError while the device is in use.
        name: how the error names the device.
        hint: of the error.
        in_use: the type of the error.

    Raises:
        KitError: it stays in use.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return attempt()
        except InUseError as busy:
            if time.monotonic() > deadline:
                raise in_use(f"{name}: in use: {busy}", hint=hint) from None
            time.sleep(0.1)
