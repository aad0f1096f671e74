"""A backup job of libvirt on the KVM host: begun, found again, ended.

Domains are named by their UUID in all commands: names are input.
"""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from importer.copying.jobs.backup_xml import JobDisk, RunningJob, backup_xml, checkpoint_xml
from importer.copying.jobs.virsh_jobs import JobVirsh
from importer.copying.jobs.watch_script import owner_of
from importer.errors import ForeignJob
from importer.host.connection import KvmHost
from importer.host.virsh import VIRSH
from importer.plan.model import ImportPlan
from node.errors import KitError
from node.text import size

PREFIX = "ganeti-instance-kit-"
# Its owner is QEMU's user. Each domain that is on has a directory of its own there, named
# domain-ID-NAME, in which AppArmor lets QEMU make sockets (virt-aa-helper); the name may be cut.
# Those of before a power failure stay, and libvirt counts from 1 again.
QEMU_STATE = "/var/lib/libvirt/qemu"
RESERVE = 1 << 30  # bytes that stay free where the scratch files are
END_SECONDS = 120.0

# $1: the domain. $2: the directory. $3: the file with the number of the script that watched an
# earlier job: it would remove the directory. Then the name and size of each scratch file. Until
# all is in the directory, only root can write to it: QEMU's user could have made a symlink there.
# It prints the bytes that are free, and the directory for the socket.
_PREPARE = rf"""
umask 077
domain=$1 dir=$2
rm -f "$3"
shift 3
owner=$(stat -c %u:%g {QEMU_STATE})
rm -rf "$dir"
mkdir "$dir"
while [ $# -gt 0 ]; do
  qemu-img create -q -f qcow2 "$dir/$1" "$2"
  chown "$owner" "$dir/$1"
  shift 2
done
chown -h "$owner" "$dir"
df --output=avail -B1 "$dir" | tail -n 1
id=$({shlex.join(VIRSH)} domid "$domain" | head -n 1)
name=$({shlex.join(VIRSH)} domname "$domain" | head -n 1)
for own in {QEMU_STATE}/domain-"$id"-*; do # the longest one comes last
  case $name in
    "${{own#{QEMU_STATE}/domain-"$id"-}}"*) if [ -d "$own" ]; then dir=$own; fi ;;
  esac
done
echo "$dir"
"""
# $1: the domain. $2: the token. $3: the directory. $4: the socket. libvirt ends a job after the
# command for it has returned. If libvirt does not answer, the job may still need its files.
_END = rf"""
virsh() {{ command {shlex.join(VIRSH)} "$@"; }}
while true; do
  if ! xml=$(virsh backup-dumpxml "$1" 2>/dev/null); then
    virsh list > /dev/null
    break
  fi
  case $xml in
    *"$2"*) virsh domjobabort "$1" 2>/dev/null || : ;;
    *) break ;;
  esac
  sleep 0.1
done
rm -rf "$3" "$4"
"""


@dataclass(frozen=True)
class Place:
    """What is ours on the KVM host.

    Attributes:
        directory: of the scratch files.
        token: part of all our names there.
        socket: of the job.
    """

    directory: str
    token: str
    socket: str


@dataclass(frozen=True)
class Checkpoint:
    """A new checkpoint: its name, and the targets that get a bitmap of it."""

    name: str
    targets: Sequence[str]


@dataclass(frozen=True)
class Begun:
    """When a job began, seconds of time.monotonic(); whether file systems were frozen meanwhile."""

    at: float
    is_frozen: bool


def directory_of(parent: str, token: str) -> str:
    """The directory for the scratch files."""
    return f"{parent.rstrip('/')}/{PREFIX}{token}"


def token_of(directory: str) -> str:
    """The token of a directory of `directory_of`; "" if it is none."""
    name = directory.rpartition("/")[2]
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else ""


def prepare(
    host: KvmHost, uuid: str, directory: str, sizes: Mapping[str, int], reserve: int = RESERVE
) -> Place:
    """Makes scratch files for a new job, in a directory that QEMU's user owns, mode 700.

    Args:
        host: the KVM host.
        uuid: of the domain.
        directory: of `directory_of`.
        sizes: of the job's disks by target, bytes.
        reserve: bytes that have to stay free there; without disks, nothing has to.

    Raises:
        KitError: they cannot be made, or there is too little room.
    """
    files = [word for target, length in sizes.items() for word in (target, str(length))]
    token = token_of(directory)
    words = (uuid, directory, owner_of(token), *files)
    told = host.script(_PREPARE, *words, what="scratch files").stdout.splitlines()
    free = int(told[0]) if len(told) == 2 and told[0].strip().isdecimal() else 0
    if sizes and free < 2 * reserve:
        remove(host, directory)
        raise KitError(
            f"scratch files in {directory} on {host.name}: only {size(free)} are free there;"
            f" {size(reserve)} have to stay free",
            hint="while the copy runs, what the guest overwrites is kept there: name a directory"
            " with more room: --scratch DIRECTORY",
        )
    return Place(directory, token, f"{told[-1]}/{PREFIX}{token}.nbd")


def remove(host: KvmHost, directory: str) -> None:
    """Removes the directory of scratch files."""
    if token_of(directory):
        host.run(["rm", "-rf", "--", directory])


def begin(
    host: KvmHost,
    uuid: str,
    where: Place,
    disks: Sequence[JobDisk],
    left_out: Sequence[str],
    *,
    checkpoint: Checkpoint | None = None,
    suspend: bool = False,
    freeze: bool = False,
) -> Begun:
    """Begins a job that is watched (`watch.watching`). If that fails, the domain goes on.

    Args:
        host: the KVM host.
        uuid: of the domain.
        where: as `prepare` made it, for these disks.
        disks: of the job.
        left_out: the targets of all other disks of the domain.
        checkpoint: a new one that begins with the job.
        suspend: whether to suspend the domain right before; it stays so.
        freeze: whether to freeze the guest's file systems before; its agent may fail to.

    Raises:
        CommandError: libvirt or QEMU refuses.
        HostLost: the connection is lost: it is not known whether the job runs.
    """
    points = None
    if checkpoint is not None:
        rest = [disk.target for disk in disks if disk.target not in checkpoint.targets]
        points = checkpoint_xml(checkpoint.name, checkpoint.targets, [*rest, *left_out])
    at = time.monotonic()
    is_frozen = JobVirsh(host).backup_begin(
        uuid,
        backup_xml(disks, left_out, where.socket, where.directory),
        points,
        watch=owner_of(where.token),
        suspend=suspend,
        freeze=freeze,
    )
    return Begun(at, is_frozen)


def require_ours(job: RunningJob | None, *, has_other: bool, plan: ImportPlan, token: str) -> None:
    """Checks that no job runs, or ours.

    Args:
        job: the backup job of the domain, if one runs.
        has_other: whether a job of another kind runs.
        plan: of the import.
        token: of this import, "" if it has none yet.

    Raises:
        ForeignJob: another job runs.
    """
    if job is not None and not (token and token in job.socket):
        whose = "another import" if PREFIX in job.socket else "another program"
        raise ForeignJob(plan.domain, plan.host, f"a backup job of {whose}")
    if has_other:
        raise ForeignJob(plan.domain, plan.host, "a job (migration, dump, snapshot)")


def end(host: KvmHost, uuid: str, where: Place) -> None:
    """Ends our job, if it runs, and removes its files.

    Raises:
        KitError: libvirt does not end it.
    """
    host.script(
        _END,
        *(uuid, where.token, where.directory, where.socket),
        what="virsh domjobabort",
        seconds=END_SECONDS,
    )
