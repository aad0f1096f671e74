"""Opens a source by its name: a local file or device, or an ssh:// or nbd:// URL."""

import os
from contextlib import AbstractContextManager

from converter.paths import Name
from converter.sources import local
from converter.sources.base import Source

LOCAL_FORMATS = ("qcow2", "raw")


def open_source(source: Name, image_format: str | None = None) -> AbstractContextManager[Source]:
    """Opens and checks a source.

    Args:
        source: a path, ssh://[user@]host[:port]/path, nbd://… or nbd+unix://….
        image_format: qcow2, raw, vmdk, …. By default, files are qcow2, block devices raw.

    Raises:
        KitError: it cannot be opened, or is damaged.
    """
    name = os.fspath(source)
    # Modules that local images do not need are imported only when they are used.
    if name.startswith("ssh://"):
        from converter.sources import ssh

        return ssh.ssh_source(name, image_format)
    if name.startswith(("nbd://", "nbd+unix://")):
        from converter.sources import nbd

        return nbd.nbd_source(name, image_format)
    if image_format is None or image_format in LOCAL_FORMATS:
        return local.local_source(name, name, image_format)
    from converter.sources import qemu

    return qemu.format_source(name, image_format)
