"""Checks the node: release, packages, kernel, clock."""

import platform
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from backup.streams.stream import ENDS_SIZE
from node import cluster
from node.files import read_text
from node.finding import Finding, note, ok, problem
from node.run import run
from node.syscalls import clock_is_synchronised
from node.text import size

# Their versions are useful in bug reports.
VERSIONS = (
    *("ganeti", "debootstrap", "mmdebstrap", "debian-archive-keyring", "distro-info-data"),
    *("tar", "zstd", "e2fsprogs", "python3-guestfs"),
)
# Creates do not need them.
MODULES = {
    "guestfs": ("python3-guestfs", "gnt-instance rename, instance-kit mount, some imports"),
    "nbd": ("python3-libnbd", "qcow2raw"),
}
CONTROL = Path("/dev/loop-control")
KERNELS = Path("/boot")
MODULE_DIRECTORY = Path("/lib/modules")
SOCKETS = tuple(Path("/proc/sys/net/ipv4", name) for name in ("tcp_rmem", "tcp_wmem"))
PROGRAMS_HOLD = 5 << 20  # bytes, of a stream: pipes, dd and socat, with those of both nodes


def versions() -> Iterator[Finding]:
    """The release, versions of packages, and Python modules."""
    listed = run(
        [
            "dpkg-query",
            "--show",
            "--showformat=${db:Status-Abbrev}${Package} ${Version}\n",
            *VERSIONS,
        ],
        check=False,
    )
    there = [line[3:] for line in listed.stdout.splitlines() if line.startswith("ii ")]
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown release")
    yield ok("versions", ", ".join([release, *there]))
    for module, (package, job) in MODULES.items():
        if find_spec(module) is None:
            yield note(
                "programs",
                f"{package} is not installed; it is for: {job}",
                f"apt-get install {package}",
            )


def master() -> Iterator[Finding]:
    """The cluster that this node is in."""
    name = next((line for line in cluster.ssconf("cluster_name") if line), None)
    node = next((line for line in cluster.ssconf("master_node") if line), "unknown")
    if name is None:
        yield note("cluster", "this node belongs to none", "gnt-node add, on the master")
    else:
        yield ok("cluster", f"{name}, master {node}")


def kernel() -> Iterator[Finding]:
    """Loop devices, and a kernel for libguestfs."""
    if not CONTROL.exists():
        yield problem("loop devices", f"{CONTROL} is missing", "modprobe loop")
    # supermin(1) needs both.
    kernels = [
        path.name
        for path in KERNELS.glob("vmlinuz-*")
        if (MODULE_DIRECTORY / path.name.removeprefix("vmlinuz-")).is_dir()
    ]
    if kernels:
        yield ok("kernel for libguestfs", sorted(kernels)[-1])
    else:
        yield note(
            "kernel for libguestfs",
            f"none in {KERNELS} with its modules: renames, some imports, qcow2raw --inspect"
            " and instance-kit mount fail",
            "apt-get install linux-image-amd64, or that of the node's architecture",
        )


def clock() -> Iterator[Finding]:
    """The clock: signatures of archives and certificates have dates."""
    installed = Path(__file__).stat().st_mtime
    if time.time() < installed:
        now = time.strftime("%Y-%m-%d %H:%M", time.localtime())
        yield problem(
            "clock", f"it shows {now}, a time before the kit was installed", "set the clock"
        )
    elif clock_is_synchronised():
        yield ok("clock", "synchronised")
    else:
        yield note(
            "clock",
            "it is not synchronised, as far as the kernel knows",
            "apt-get install systemd-timesyncd, or chrony",
        )


def sockets() -> Iterator[Finding]:
    """Their buffers: what they can hold behind a failed import (see `backup.streams.stream`)."""
    try:
        most = sum(int(read_text(path).split()[2]) for path in SOCKETS)
    except (OSError, ValueError, IndexError):
        return
    if most + PROGRAMS_HOLD < ENDS_SIZE:
        yield ok("sockets", f"they hold up to {size(most)} of a stream")
    else:
        yield note(
            "sockets",
            f"they hold up to {size(most)} of a stream: if an import fails at its very end,"
            " move-instance may remove the source instance all the same",
            "let the third numbers of net.ipv4.tcp_rmem and tcp_wmem be less than"
            f" {size(ENDS_SIZE - PROGRAMS_HOLD)} together (sysctl -w), while instances are moved",
        )
