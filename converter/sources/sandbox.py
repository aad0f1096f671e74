"""Sandbox for qemu-img and qemu-nbd, which read images that may be hostile.

It contains /usr (read-only), the one image (read-only), /dev/null, and an empty directory for a
socket; no network, no /proc, no other process, no capability. So even a QEMU under the control of a
hostile image cannot open another file. The sandbox is made of namespaces: it disappears with its
processes, and the kernel ends those with ours, even at SIGKILL. docs/architecture.md says why it is
not made by bubblewrap.
"""

import os
import resource
from pathlib import Path

IMAGE = "/image"  # in the sandbox
SOCKET = "/run/nbd"
# A directory that every node has and that contains no image. The sandbox is mounted over it, in its
# own mount namespace, so nothing on a disk has to be removed later.
PLACE = "/sys"
MEMORY = 2 << 30  # bytes of address space

# Makes the sandbox. It locks the socket's directory for as long as the process lives; _ENTER checks
# that lock.
_MAKE = """
set -eu
image=$1 inode=$2 owner=$3 place=$4; shift 4
mount -t tmpfs -o size=1m,mode=755,nosuid,nodev sandbox "$place"
cd "$place"
mkdir dev etc run usr
chown "$owner" run
chmod 700 run
for name in bin lib lib32 lib64 libx32 sbin; do
  if [ -L "/$name" ]; then cp -P "/$name" .; fi
done
cp /etc/ld.so.cache etc/
mount --bind /usr usr
mount -o remount,bind,ro,nosuid,nodev usr
: > dev/null
mount --bind /dev/null dev/null
: > image
mount --bind -- "$image" image
mount -o remount,bind,ro image
if [ "$(stat -L -c %d:%i image)" != "$inode" ]; then
  echo "it was replaced by another file" >&2
  exit 1
fi
exec 9<run
flock 9
exec chroot . "$@"
"""
# Runs the command, unless the process outside of its PID namespace has ended already. That process
# takes the command with it, but only after setpriv has asked the kernel to. If it ended before,
# nobody holds the lock any more.
_ENTER = """
exec 9<&-
code=0
flock --nonblock --conflict-exit-code 9 /run true || code=$?
[ "$code" = 9 ] || exit 1
exec "$@"
"""


def confined(
    command: list[str], image: Path, status: os.stat_result, cpu_seconds: int
) -> list[str]:
    """The command line that runs a command in its own sandbox.

    The process that is started waits outside of the innermost PID namespace, but in the sandbox, so
    the sandbox's files are at /proc/<its pid>/root/…. When it ends, the command ends. Start it with
    `ends_with_us` (`node.run.start`), so that it ends with our own process.

    Args:
        command: what to run; the image is IMAGE there, and it may create the socket SOCKET.
        image: an absolute path; the command fails if it is not the file of `status` any more.
        status: of the checked image. The command runs as its owner, without capabilities.
        cpu_seconds: limit of processor time.
    """
    limits = {
        "as": _at_most(resource.RLIMIT_AS, MEMORY),
        "cpu": _at_most(resource.RLIMIT_CPU, cpu_seconds),
        "core": 0,
        "fsize": 0,
        "nofile": _at_most(resource.RLIMIT_NOFILE, 256),
    }
    owner = (str(status.st_uid), str(status.st_gid))
    return [
        *("unshare", "--mount", "--net", "--ipc", "--uts", "--"),
        *("sh", "-c", _MAKE, "sandbox"),
        *(str(image), f"{status.st_dev}:{status.st_ino}", ":".join(owner), PLACE),
        *("unshare", "--pid", "--fork", "--kill-child", "--"),
        *("prlimit", *(f"--{name}={value}" for name, value in limits.items()), "--"),
        # Becoming another user clears the signal that --kill-child has set (prctl(2),
        # PR_SET_PDEATHSIG).
        *("setpriv", "--pdeathsig", "KILL"),
        *("--reuid", owner[0], "--regid", owner[1], "--clear-groups"),
        *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"),
        *("sh", "-c", _ENTER, "sandbox"),
        *command,
    ]


def _at_most(limit: int, wanted: int) -> int:
    """The wanted limit, but not above our own hard limit: to exceed it needs CAP_SYS_RESOURCE."""
    _, hard = resource.getrlimit(limit)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def outside(pid: int) -> str:
    """The socket's path outside of the sandbox, whose first process is `pid`."""
    return f"/proc/{pid}/root{SOCKET}"
