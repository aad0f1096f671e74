"""Moves a machine from the KVM host of the tests' lab to its node in all ways, and measures it."""

import json
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field

import movers
from goals import OURS
from import_goals import BITMAP, COMPARISON, Transfer
from import_machine import GROUP, Machine, changes, domain_xml, plan, writes
from measure import BenchError
from movers import KIT, SPOOL, Peer

from importer.journal import DIRECTORY
from tests.e2e.importing.lab import Lab

TIMEOUT = 3600.0  # seconds, of any command
# All files that programs leave on the node, see ganeti-sandbox; volumes are elsewhere.
FILES = "/media/*.upper"
# Of the node's volume group, see libvirt-sandbox.
PHYSICAL_VOLUME = f"/media/volumes/{GROUP}"
# Removes files from the page cache, as dd(1) documents it; fails if one is still there.
EVICT = """
for path; do
  [ -e "$path" ] || continue
  dd if="$path" iflag=nocache count=0 status=none
  [ ! -f "$path" ] || [ "$(fincore --bytes --noheadings --output=RES "$path")" -eq 0 ]
done
"""
METHODS = {"qcow2": BITMAP, "raw": COMPARISON}  # of ours: raw images have no bitmaps


@dataclass
class Bench:
    """A machine in the lab, which runs, and what was measured; all turns move the same machine."""

    lab: Lab
    machine: Machine
    runs: dict[tuple[str, str], list[Transfer]] = field(default_factory=lambda: defaultdict(list))
    changed: int = 0

    def make(self) -> None:
        """Makes the disk, full of random data, and starts the machine."""
        kvm, machine = self.lab.kvm, self.machine
        for host, mounted in ((self.lab.node, "/media"), (kvm, "/mnt")):
            # Else the files of the host would have a second cache, which nobody could empty.
            device = host.run(["findmnt", "--noheadings", "--output=SOURCE", mounted]).stdout
            host.run(["losetup", "--direct-io=on", device.strip()])
        raw = machine.image if machine.format == "raw" else f"{machine.image}.raw"
        fill = f"head --bytes={machine.size} /dev/urandom > {raw}"
        kvm.run(["sh", "-c", fill], timeout=TIMEOUT)
        if raw != machine.image:
            convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, machine.image]
            kvm.run(convert, timeout=TIMEOUT)
            kvm.run(["rm", raw])
        self.lab.define(domain_xml(machine))
        kvm.virsh("start", machine.name)
        self.lab.node.run(["mkdir", "-p", SPOOL])

    def remove(self) -> None:
        """Removes the machine, so that the next one has its space."""
        self.lab.kvm.virsh("destroy", self.machine.name)
        self.lab.kvm.virsh("undefine", self.machine.name)
        self.lab.kvm.run(["rm", self.machine.image])

    def ours(self, *, check: bool) -> None:
        """Copies all while the machine runs, then what has changed, and the last while suspended.

        Raises:
            BenchError: the volume is not equal to the image.
        """
        node, machine = self.lab.node, self.machine
        path = f"/root/{machine.name}.toml"
        node.write(path, plan(machine, self.lab.kvm.name))
        copy = [*KIT, path, "--progress=none"]
        turn = _Turn(self.lab, self.machine)
        turn.run(copy)
        self._change()
        turn.run([*copy, "--again"])
        self._change()
        turn.run([*copy, "--final", "--suspend"])
        status = ["instance-kit", "import", "status", machine.instance, "--json"]
        passes = json.loads(node.run(status).stdout)[0]["passes"]
        node.run(["rm", "-r", f"{DIRECTORY}/{machine.instance}"])
        # The command for the last pass makes one more before it suspends the machine.
        turn.passes = len(passes)
        self._done(OURS, turn, float(passes[-1]["downtime"]), check=check)

    def peer(self, peer: Peer, *, check: bool) -> None:
        """Copies all while the machine runs, and again while it is suspended, if it can.

        Raises:
            BenchError: the volume is not equal to the image.
        """
        node, machine = self.lab.node, self.machine
        name = machine.volume.rpartition("/")[2]
        node.run(["lvcreate", f"--size={machine.size}B", f"--name={name}", GROUP])
        environment = {
            "HOST": self.lab.kvm.name,
            "DOMAIN": machine.name,
            "IMAGE": machine.image,
            "VOLUME": machine.volume,
            "SPOOL": SPOOL,
            "BACKUP": movers.BACKUP_XML,
        }
        turn = _Turn(self.lab, self.machine)
        turn.run(peer.argv(), environment)
        downtime = None
        if peer.again:
            self._change()
            self.lab.kvm.virsh("suspend", machine.name)
            downtime = turn.run(peer.argv(), environment)
        node.run(["find", SPOOL, "-mindepth", "1", "-delete"])
        self._done(peer.name, turn, downtime, check=check and peer.again)

    def _done(self, name: str, turn: "_Turn", downtime: float | None, *, check: bool) -> None:
        """Keeps the figures, and makes the space of the volume free, so that all begin equally."""
        if check:
            self._check(name)
        if downtime is not None:
            self.lab.kvm.virsh("resume", self.machine.name)
        self.lab.node.run(["blkdiscard", "--force", self.machine.volume])
        self.lab.node.run(["lvremove", "--yes", self.machine.volume])
        method = METHODS[self.machine.format]
        found = self.runs[method, name]
        found.append(turn.transfer(downtime))
        last = "" if downtime is None else f", suspended for {downtime:.2f} s"
        line = f"{len(found)} {method}: {name}: {found[-1].first:.2f} s{last}"
        print(line, file=sys.stderr, flush=True)

    def _change(self) -> None:
        """Lets the machine write."""
        self.changed += 1
        ranges = changes(self.machine.size, self.changed)
        script = writes(self.machine, ranges, self.changed % 255 + 1)
        self.lab.kvm.run(["sh"], input=script, timeout=TIMEOUT)

    def _check(self, name: str) -> None:
        """Compares the volume with the image; the machine is suspended."""
        path = self.machine.image
        if self.machine.format != "raw":
            path += ".raw"
            convert = ["qemu-img", "convert", "-U", "-f", self.machine.format, "-O", "raw"]
            self.lab.kvm.run([*convert, self.machine.image, path], timeout=TIMEOUT)
        digests = {
            host.run(["sha256sum", "-b", file], timeout=TIMEOUT).stdout.split()[0]
            for host, file in ((self.lab.kvm, path), (self.lab.node, self.machine.volume))
        }
        if path != self.machine.image:
            self.lab.kvm.run(["rm", path])
        if len(digests) > 1:
            raise BenchError(f"{name}: the volume is not equal to {self.machine.image}")


class _Turn:
    """The passes of a contender."""

    def __init__(self, lab: Lab, machine: Machine) -> None:
        self._lab = lab
        self._machine = machine
        self.passes = 0
        self._seconds: list[float] = []
        self._wire: list[int] = []
        self._before = self._used()
        self._spool = 0

    def run(self, argv: list[str], environment: dict[str, str] | None = None) -> float:
        """Runs a pass; returns its seconds."""
        self._forget()
        wire = self._carried()
        started = time.monotonic()
        self._lab.node.run(argv, env=environment, timeout=TIMEOUT)
        self._seconds.append(time.monotonic() - started)
        self.passes += 1
        self._wire.append(self._carried() - wire)
        self._spool = max(self._spool, self._used() - self._before)
        return self._seconds[-1]

    def transfer(self, downtime: float | None) -> Transfer:
        """The figures of all passes."""
        last = self._seconds[-1] if len(self._seconds) > 1 else None
        first, later = self._wire[0], sum(self._wire[1:])
        return Transfer(self._seconds[0], last, downtime, first, later, self.passes, self._spool)

    def _forget(self) -> None:
        """Empties the page cache of the disk and its copies: hours or days are between passes."""
        os.sync()  # dirty pages would stay, and slow the next pass
        node, kvm, machine = self._lab.node, self._lab.kvm, self._machine
        spooled = f"{SPOOL}/{machine.image.rpartition('/')[2]}"
        volume = [machine.volume, PHYSICAL_VOLUME]
        kvm.run(["sh", "-euc", EVICT, "sh", machine.image], timeout=TIMEOUT)
        node.run(["sh", "-euc", EVICT, "sh", spooled, *volume], timeout=TIMEOUT)

    def _carried(self) -> int:
        """Bytes that the network between both hosts has carried until now."""
        show = ["ip", "-json", "-statistics", "link", "show", "dev", "kvm1"]
        statistics = json.loads(self._lab.node.run(show).stdout)[0]["stats64"]
        return int(statistics["rx"]["bytes"]) + int(statistics["tx"]["bytes"])

    def _used(self) -> int:
        """Bytes of the files on the node."""
        du = ["sh", "-c", f"du --bytes --summarize --total {FILES}"]
        return int(self._lab.node.run(du).stdout.splitlines()[-1].split()[0])
