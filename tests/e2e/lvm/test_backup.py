"""Logical volumes are exported and imported, by the scripts with the environment of Ganeti.

Of a running instance, Ganeti exports a snapshot: its file system was never unmounted.
"""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.cluster import CREATE_ENVIRONMENT, OS_DEFINITION
from tests.system.converter.support import MIB, Outcome

from .lvm_guest import SOURCES, Guest, volume

SIZE = 256 * MIB
ORIGIN, SNAPSHOT, RESTORED = (f"/dev/xenvg/{name}" for name in ("origin", "snap", "restored"))
# A loop device stands for the virtual machine that runs from the volume. LVM freezes a file system
# that is mounted from the volume itself, so that the snapshot's is clean.
MACHINE = "/dev/loop7"
STREAM = "/root/stream"
FACTS = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, "{SOURCES}")
import payload
place = Path("/mnt/synced")
if sys.argv[1] == "fill":
    place.mkdir()
    payload.fill(place)
print(json.dumps(payload.manifest(place), default=str))
"""


def command(script: str, device: str) -> str:
    """The command line of a script of the OS definition, as Ganeti runs it on a volume."""
    prefix = script.upper()
    environ = dict(line.split("=", 1) for line in CREATE_ENVIRONMENT.read_text().splitlines())
    environ |= {"DISK_COUNT": "1", "DISK_0_PATH": ORIGIN, "DISK_0_BACKEND_TYPE": "block"}
    environ |= {f"{prefix}_DEVICE": device, f"{prefix}_DISK_PATH": device, f"{prefix}_INDEX": "0"}
    words = [f"{name}={value}" for name, value in environ.items()]
    return f"cd {OS_DEFINITION}; {shlex.join(['env', '-i', *words])} ./{script}"


def facts(guest: Guest, work: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(guest.run(shlex.join(["python3", "-Bc", FACTS, work])))
    return found


@contextmanager
def running(guest: Guest) -> Iterator[dict[str, object]]:
    """A volume that is open for writing, with files that are on it, and others that may not be."""
    volume(guest, "origin", SIZE)
    guest.run(
        f"losetup {MACHINE} {ORIGIN}; mkfs.ext4 -q -E nodiscard {MACHINE}; mount {MACHINE} /mnt"
    )
    try:
        synced = facts(guest, "fill")
        guest.run("sync -f /mnt; cp -a /mnt/synced/many /mnt/unsynced")
        yield synced
    finally:
        guest.run(f"umount /mnt; losetup -d {MACHINE}; rm -f {STREAM}")


def test_a_snapshot_of_a_running_machine(guest: Guest) -> None:
    with running(guest) as synced:
        guest.run("lvcreate -qqy -s -L 64M -n snap xenvg/origin")
        guest.run("dd if=/dev/urandom of=/mnt/more bs=1M count=8 conv=fsync status=none")
        assert "needs_recovery" in guest.run(f"dumpe2fs -h {SNAPSHOT} 2>&1")
        said = guest.run(f"{command('export', SNAPSHOT)} 2>&1 >{STREAM}")
        assert "its journal is to be replayed" in said
        # The restored volume is larger, and full of an earlier tenant's bytes.
        volume(guest, "restored", SIZE + 64 * MIB)
        guest.run(f"{command('import', RESTORED)} <{STREAM}")
    assert "needs_recovery" in guest.run(f"dumpe2fs -h {RESTORED} 2>&1")
    guest.run(f"mount {RESTORED} /mnt")
    try:
        assert facts(guest, "look") == synced
        guest.run("test ! -e /mnt/more")
    finally:
        guest.run("umount /mnt")
    guest.run(f"fsck.ext4 -fn {RESTORED}")


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.exit_code == 1, outcome
    error, hint = outcome.stderr.splitlines()[-2:]
    assert error.startswith("error: ") and hint.startswith("hint: "), outcome
    for word in words:
        assert word in error, outcome


def test_a_volume_that_a_machine_runs_from_is_refused(guest: Guest) -> None:
    with running(guest):
        refused(guest.try_run(command("export", ORIGIN)), ORIGIN, MACHINE)


def test_a_snapshot_that_overflows_is_no_backup(guest: Guest) -> None:
    with running(guest):
        guest.run("lvcreate -qqy -s -L 4M -n snap xenvg/origin")
        guest.run("dd if=/dev/urandom of=/mnt/more bs=1M count=12 conv=fsync status=none")
        refused(guest.try_run(command("export", SNAPSHOT)), SNAPSHOT)
