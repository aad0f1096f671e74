"""Sandbox for qemu-img and qemu-nbd, which read images that may be hostile.

In it there is /usr (read-only), the one image (read-only), /dev/null, and an empty directory for a
socket; no network, no /proc, no other process, no capability. What an image may make QEMU do, there
is no other file that it could open. The sandbox is made of namespaces: it goes with its processes,
and those go with ours, even at SIGKILL. docs/architecture.md has why it is not made by bubblewrap.
"""

import os
import resource
from pathlib import Path

IMAGE = "/image"  # in the sandbox
SOCKET = "/run/nbd"
# A directory that every node has, and no image stands in: others are mounted over it, in a mount
# namespace of their own. So nothing is left on a disk for somebody to tidy up.
PLACE = "/sys"
MEMORY = 2 << 30  # bytes of address space

# Makes the sandbox. The lock on the directory of the socket is held for as long as this process
# lives: _ENTER looks at it.
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
  echo "another file has taken its place" >&2
  exit 1
fi
exec 9<run
flock 9
exec chroot . "$@"
"""
# Runs the command, unless the process outside of its PID namespace has ended, whose end is to end
# it, before setpriv had the kernel see to that. Then nobody has the lock any more.
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
    """The command line that runs a command in a sandbox of its own.

    The process that is started waits outside of the innermost PID namespace, but in the sandbox:
    what is made in it can be reached as /proc/<its pid>/root/…. Its end is the end of the command:
    it has to be started with `ends_with_us` (`node.run.start`) to go with our own process.

    Args:
        command: what to run; it finds the image as IMAGE, and may make the socket SOCKET.
        image: an absolute path; the command fails if it is not the file of `status` any more.
        status: of the image that was checked. The command runs as its owner, without capabilities.
        cpu_seconds: the processor time that it may use.
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
    """A limit that we may set: not above our own, which only CAP_SYS_RESOURCE could raise."""
    _, hard = resource.getrlimit(limit)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def outside(pid: int) -> str:
    """Where we find the socket of a sandbox whose first process is `pid`."""
    return f"/proc/{pid}/root{SOCKET}"
