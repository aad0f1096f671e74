"""Ganeti's environment, and a clear word where it is not Ganeti's."""

from collections.abc import Mapping

from guest.instance import Instance
from node.errors import KitError


def read_instance(environ: Mapping[str, str]) -> Instance:
    """The instance that Ganeti describes.

    Raises:
        KitError: a variable is missing or makes no sense.
    """
    try:
        return Instance.from_environ(environ)
    except ValueError as error:
        raise KitError(
            f"environment of the OS script: {error}", hint="it is Ganeti that runs this program"
        ) from error
