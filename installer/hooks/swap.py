"""The /swapfile of guests without a swap disk; swap disks are made with the other disks."""

import os

from installer.guest_tree import GuestTree
from installer.hooks.base import Context, Hook, Later
from node.errors import KitError
from node.log import log
from node.run import run
from node.text import size as size_text

SWAPFILE = "swapfile"


class HookSwap(Hook):
    """Makes /swapfile if no disk is named swap."""

    name = "swap"
    tools = ("mkswap", "chattr")

    def enabled(self, context: Context) -> bool:
        return context.swapfile_bytes > 0

    def apply(self, context: Context, target: GuestTree) -> Later:
        path = target.path(SWAPFILE)
        size = context.swapfile_bytes
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if context.settings.filesystem == "btrfs":
                # swapon(8): on btrfs it must be nocow, which only an empty file can become.
                run(["chattr", "+C", path], what="nocow of /swapfile")
            # Allocated, not sparse: the kernel refuses a swap file with holes.
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            raise KitError(
                f"/swapfile of {size_text(size)} in the guest: {error.strerror}",
                hint="use a larger disk 0, a disk named swap, or a smaller SWAPFILE_SIZE",
            ) from error
        finally:
            os.close(descriptor)
        run(["mkswap", path], what="mkswap on /swapfile", syncs=False)
        log.info("swap: /swapfile, %s", size_text(size))
        return Later()
