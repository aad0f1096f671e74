"""The ways to move a machine: ours, rsync with qemu-img convert, and nbdcopy (its first pass only).

All are commands for the node. The peers' are pieces of shell that find in their environment HOST,
DOMAIN, IMAGE (on HOST), VOLUME (on the node, as large as the disk) and SPOOL (a directory there).
"""

from dataclasses import dataclass

from goals import OURS
from import_goals import NBDCOPY, NBDCOPY_TUNED, SEED
from peers import PARALLEL

KIT = ("instance-kit", "import", "copy")
SPOOL = "/srv/spool"
SCRATCH = "/var/lib/libvirt/qemu/bench"  # on the KVM host

# rsync writes another file and renames it in the end: it needs twice the space in a second pass.
RSYNC = """
rsync -P "$HOST:$IMAGE" "$SPOOL/"
qemu-img convert "$SPOOL/${IMAGE##*/}" -O raw "$VOLUME"
sync "$VOLUME"
"""
# One connection for all, and libvirt's backup of all of the disk, as ours.
TUNNEL = """
cd "$(mktemp -d)"
ssh -oBatchMode=yes -oControlMaster=yes -oControlPath=./control -fN "$HOST"
on_host() { ssh -oControlPath=./control "$HOST" "$@"; }
on_host "install -d --owner=libvirt-qemu --mode=700 SCRATCH &&
  printf %s '$BACKUP' | virsh --quiet backup-begin $DOMAIN /dev/stdin"
ssh -oControlPath=./control -O forward -L "$PWD/socket:SCRATCH/socket" "$HOST"
nbdcopy --flush OPTIONS "nbd+unix:///vda?socket=$PWD/socket" "$VOLUME"
on_host "virsh --quiet domjobabort $DOMAIN; rm -r SCRATCH"
ssh -oControlPath=./control -O exit "$HOST"
rm -r "$PWD"
"""
BACKUP_XML = (
    f'<domainbackup mode="pull"><server transport="unix" socket="{SCRATCH}/socket"/><disks>'
    f'<disk name="vda" type="file"><scratch file="{SCRATCH}/vda"/></disk></disks></domainbackup>'
)


@dataclass(frozen=True)
class Peer:
    """Another way to move a machine.

    Attributes:
        shell: copies all of the disk into the volume, also if that has an older copy.
        again: whether it can be run again later for what has changed.
    """

    name: str
    shell: str
    again: bool

    def argv(self) -> list[str]:
        """Its command on the node."""
        return ["sh", "-euc", self.shell]


PEERS = (
    Peer(SEED, RSYNC, again=True),
    Peer(NBDCOPY, TUNNEL.replace("SCRATCH", SCRATCH).replace("OPTIONS", ""), again=False),
    Peer(
        NBDCOPY_TUNED,
        TUNNEL.replace("SCRATCH", SCRATCH).replace("OPTIONS", " ".join(PARALLEL)),
        again=False,
    ),
)
NAMES = (OURS, *(peer.name for peer in PEERS))
