"""qcow2 images with bitmaps, and qemu-nbd as it serves them to an import."""

import socket as socketlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.converter.support import output, wait_until


@contextmanager
def served(
    image: Path, socket: Path, bitmap: str | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Serves an image at a socket, with a bitmap of it."""
    argv = ["qemu-nbd", "--read-only", "--persistent", "--shared=16", "--format=qcow2"]
    argv += [f"--socket={socket}", *([f"--bitmap={bitmap}"] if bitmap else []), str(image)]
    with subprocess.Popen(argv) as server:
        try:
            wait_until(lambda: _listens(socket) or server.poll() is not None)
            assert server.poll() is None
            yield server
        finally:
            server.kill()
            socket.unlink(missing_ok=True)


def _listens(place: Path) -> bool:
    with socketlib.socket(socketlib.AF_UNIX) as client:
        return client.connect_ex(str(place)) == 0


def bitmap(image: Path, action: str, name: str) -> None:
    """Adds, disables, … a bitmap (qemu-img(1), "bitmap")."""
    output("qemu-img", "bitmap", f"--{action}", "-f", "qcow2", image, name)


def io(image: Path, *commands: str) -> None:
    """Changes an image by commands of qemu-io(1)."""
    words = [word for command in commands for word in ("-c", command)]
    output("qemu-io", "-d", "unmap", "-f", "qcow2", *words, image)
