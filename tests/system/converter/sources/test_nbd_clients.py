"""NBD servers that let in few clients: as many connections as they admit, and no long wait."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from converter.sources.nbd import nbd_source
from tests.system.converter import support
from tests.system.converter.support import MIB, qcow2raw, wait_until

SIZE = 16 * MIB


@contextmanager
def served(place: Path, argv: Sequence[str | Path]) -> Iterator[None]:
    """Runs a server in the foreground, once it listens at its socket, and ends it."""
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: listens(rf"{re.escape(str(place))}$"))
            yield
        finally:
            server.kill()


@contextmanager
def nbd_server(directory: Path, disk: Path, clients: int, port: int) -> Iterator[None]:
    """Runs an nbd-server, which serves several clients as a daemon only."""
    config, number = directory / "config", directory / "pid"
    config.write_text(
        f"[generic]\nport = {port}\nlistenaddr = 127.0.0.1\n"
        f"[disk]\nexportname = {disk}\nreadonly = true\nmaxconnections = {clients}\n"
    )
    subprocess.run(["nbd-server", "-C", config, "-p", number], check=True, capture_output=True)
    try:
        wait_until(lambda: listens(rf":{port:04X} 0+:0000 0A"))
        yield
    finally:
        wait_until(number.exists)
        # With its processes for clients, one of which may miss a SIGTERM.
        os.killpg(os.getpgid(int(number.read_text())), signal.SIGKILL)


def free_port() -> int:
    """Workers and runs share the machine's network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def listens(what: str) -> bool:
    """By what the kernel tells of unix and TCP sockets."""
    tables = (Path("/proc/net/unix"), Path("/proc/net/tcp"))
    return any(re.search(what, table.read_text(), re.M) for table in tables)


@pytest.mark.parametrize(
    ("server", "clients", "readers"),
    [
        ("qemu-nbd", 1, 8),
        ("qemu-nbd", 4, 3),
        ("nbdkit", 1, 1),
        ("nbdkit", 3, 2),
        ("nbd-server", 3, 2),
    ],
)
def test_as_many_connections_as_are_admitted(
    server: str, clients: int, readers: int, tmp_path: Path
) -> None:
    """A server for one client says that several are not safe: then all readers share one."""
    disk = tmp_path / "disk"
    disk.write_bytes(support.noise(SIZE, 1))
    place = tmp_path / "sock"
    port = free_port()
    uri = f"nbd+unix:///?socket={place}"
    if server == "qemu-nbd":
        argv: Sequence[str | Path] = (
            *("qemu-nbd", "--read-only", "--persistent", f"--shared={clients}"),
            *("--format=raw", f"--socket={place}", disk),
        )
    elif server == "nbdkit":
        argv = (
            *("nbdkit", "--foreground", "--read-only", "-U", place, "--filter=limit"),
            *("file", disk, f"limit={clients}"),
        )
    else:
        argv, uri = (), f"nbd://127.0.0.1:{port}/disk"
    with served(place, argv) if argv else nbd_server(tmp_path, disk, clients, port):
        if argv:  # nbd-server counts clients for a while after they are gone
            with nbd_source(uri) as source:
                assert source.readers == readers
        with support.target(tmp_path / "target", SIZE) as device:
            qcow2raw("--verify", uri, device, timeout=45).done()  # 60 s is what a connection gets
            support.require_same(device, disk)
