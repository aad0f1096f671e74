"""What is in use for a moment: it is tried again for a while."""

import time
from collections.abc import Callable
from typing import TypeVar

from node.errors import KitError

SETTLE_SECONDS = 5.0

Result = TypeVar("Result")


class InUseError(Exception):
    """Something is in use; by whom, in words."""


def settled(attempt: Callable[[], Result], name: str, hint: str) -> Result:
    """Does what may find something in use, again and again for a while.

    udev probes a device for a moment, and the kernel detaches a killed run's loop devices shortly
    after its processes are gone.

    Args:
        attempt: raises InUseError while it cannot be done.
        name: of what is in use.
        hint: where it stays so.

    Raises:
        KitError: it stays in use.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return attempt()
        except InUseError as busy:
            if time.monotonic() > deadline:
                raise KitError(f"{name}: in use: {busy}", hint=hint) from None
            time.sleep(0.1)
