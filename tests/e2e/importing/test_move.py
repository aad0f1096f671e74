"""Whole moves by the commands that an administrator types on the node, until guests answer there.

One machine is moved by bitmaps and is suspended for the last pass, one by comparison and is shut
down; both write all the time. One with UEFI is off. The last two are moved by `import run`.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e import ssh

from . import records, traces
from .domains import DB1, OLD1, WEB1, Machine
from .guest import BOOT_TIMEOUT, Guest
from .lab import Lab

KIT = "/var/lib/ganeti-instance-kit"
IMPORT = ("instance-kit", "import")
NETWORK = "gnt-fsn"
# Of an instance in that network (tests/e2e/ganeti-sandbox).
NEW_IPV4, NEW_IPV6 = "198.51.100.", "2001:db8:0:4f:"
YES = tuple(word for step in ("final", "renumber", "check", "start") for word in ("--yes", step))


@dataclass(frozen=True)
class Move:
    """A move of a machine, with its plan."""

    lab: Lab
    guest: Guest

    @property
    def machine(self) -> Machine:
        return self.guest.machine

    @property
    def plan(self) -> str:
        return f"/root/{self.machine.full_name}.toml"

    def kit(self, *words: str) -> str:
        """Runs a command of the import; returns all that it said."""
        done = self.lab.node.run([*IMPORT, *words], timeout=600)
        return done.stdout + done.stderr

    def fails(self, *words: str) -> str:
        """The same for a command that must fail."""
        done = self.lab.node.run([*IMPORT, *words], check=False)
        assert done.returncode == 3, done.stdout + done.stderr
        return done.stdout + done.stderr

    def state(self) -> dict[str, Any]:
        """What the journal has."""
        found: dict[str, Any] = json.loads(self.kit("status", self.machine.full_name, "--json"))[0]
        return found

    def new_addresses(self) -> list[str]:
        """Of the instance: as Ganeti has the IPv4 address, and as was written into the guest."""
        (nic,) = self.state()["addresses"]
        assert nic["old"] == [self.machine.ipv4, self.machine.ipv6]
        four, six = nic["new"]
        assert four == self.lab.node.instance_field(self.machine.full_name, "nic.ip/0")
        assert four.startswith(NEW_IPV4) and six.startswith(NEW_IPV6)
        return [four, six]

    def answers(self) -> list[ssh.Ssh]:
        """Connections to the booted instance by both addresses, with the host keys of before."""
        found = []
        for address in self.new_addresses():
            connection = ssh.connect_known(self.lab.node, address, self.guest.keys)
            connection.open(BOOT_TIMEOUT)
            assert connection.run("echo $SSH_CONNECTION").endswith(f"{address} 22")
            found.append(connection)
        return found

    def on_host(self) -> frozenset[str]:
        """What an import could leave on the KVM host."""
        there = traces.found(self.lab.node, self.lab.kvm)
        return frozenset(line for line in there if line.startswith("KVM host"))

    def definition(self) -> str:
        return self.lab.kvm.virsh("dumpxml", "--inactive", self.machine.name)


@contextmanager
def planned(lab: Lab, guest: Guest) -> Iterator[Move]:
    """A machine with a plan of its move; after the block, both hosts have nothing of it.

    The source is off or suspended then, and nothing else has changed on its host.
    """
    move = Move(lab, guest)
    name = guest.machine.full_name
    before, definition = move.on_host(), move.definition()
    with traces.none(lab.node, lab.kvm):
        said = move.kit(
            *("plan", lab.kvm.name, guest.machine.name),
            *("--network", NETWORK, "--output", move.plan),
        )
        assert "ok       " in said
        yield move
        deadline = time.monotonic() + traces.SETTLE_SECONDS
        while new := move.on_host() - before:
            assert time.monotonic() < deadline, f"left behind: {sorted(new)}"
            time.sleep(0.5)
        assert move.definition() == definition
        lab.node.remove(name)
        move.kit("abort", name)
        lab.node.run(["rm", move.plan])
        lab.node.run(["find", KIT, "-mindepth", "1", "-type", "d", "-empty", "-delete"])
    assert lab.node.run(["lvs", "--noheadings"]).stdout == ""


def as_before(move: Move, connection: ssh.Ssh) -> None:
    """Asserts that a booted instance is the machine that was moved."""
    machine = move.machine
    assert connection.run("hostname --fqdn") == machine.full_name
    assert connection.system_state() == "running"
    assert connection.run("swapon --show=UUID --noheadings") == move.guest.swap_uuid
    shown = connection.run(f"ip -o address show dev {machine.nic} scope global")
    assert all(f" {address}/" in shown for address in move.new_addresses())
    uefi = connection.run("test -e /sys/firmware/efi; echo $?")
    assert uefi == str(int(not machine.uefi))


def stored(lab: Lab, machine: Machine) -> int:
    """The bytes of all blocks of its first disk that are not zero."""
    count = "import sys; read = open(sys.argv[1], 'rb').read; zero = bytes(1 << 16)"
    count += "; print(sum(block != zero for block in iter(lambda: read(1 << 16), b'')))"
    disk = machine.path(machine.disks[0])
    return int(lab.kvm.run(["python3", "-c", count, disk]).stdout) << 16


def downtime(said: str) -> float:
    found = re.search(r"was down for ([0-9.]+) s", said)
    assert found, said
    return float(found[1])


def test_a_machine_that_writes_all_the_time_moves_by_single_commands(lab: Lab) -> None:
    guest = lab.guest(WEB1)
    source = guest.booted()
    name = WEB1.full_name
    with planned(lab, guest) as move:
        assert "disk vdb: all of it is copied" in move.kit("copy", move.plan)
        again = move.kit("copy", move.plan, "--again")
        assert "disk vda: what has changed is copied" in again
        written = records.count(source.run(f"head --lines=-1 {records.PATH}"))
        final = move.kit("copy", move.plan, "--final", "--suspend")
        assert downtime(final) < 20
        assert guest.state == "paused"
        move.kit("adopt", move.plan)
        shown = move.kit("renumber", name, "--yes")
        assert f"/etc/web.conf:1: listen {WEB1.ipv4}:80" in shown
        move.kit("check", name, "--fix", "--yes")
        move.kit("adopt", move.plan, "--start")
        left = move.kit("finish", move.plan)
        assert "Not done yet" not in left and "checkpoint" not in left
        assert all(address in left for address in (WEB1.ipv4, WEB1.ipv6, *move.new_addresses()))
        for connection in move.answers():
            assert records.count(connection.run(f"head --lines=-1 {records.PATH}")) > written
        as_before(move, connection)
        assert connection.run("findmnt --noheadings --output=SOURCE /").startswith("/dev/vda")
        assert guest.state == "paused"
    guest.off()


def test_a_machine_with_raw_images_moves_by_two_commands(lab: Lab) -> None:
    guest = lab.guest(OLD1)
    source = guest.booted()
    with planned(lab, guest) as move:
        assert "no copy is complete" in move.fails("run", move.plan, "switch")
        source.run("echo first > /root/marks")
        prepared = move.kit("run", move.plan, "prepare")
        assert "its blocks are compared" in prepared
        source.run("echo second >> /root/marks; rm /usr/share/common-licenses/GPL-3")
        assert guest.state == "running"
        said = move.fails("run", move.plan, "switch")
        assert "about" in said and "--yes final" in said
        assert guest.state == "running"
        switched = move.kit("run", move.plan, "switch", *YES)
        assert downtime(switched) < 60
        assert guest.state == "shut off"
        connection = move.answers()[0]
        as_before(move, connection)
        assert connection.run("cat /root/marks").split() == ["first", "second"]
        gone = "test -e /usr/share/common-licenses/GPL-3; echo $?"
        assert connection.run(gone) == "1"
        said = move.kit("run", move.plan, "switch", "--dry-run")
        assert said == f"instance-kit import finish {move.plan}\n"


def test_a_machine_with_uefi_and_volumes_that_is_off_moves_by_two_commands(lab: Lab) -> None:
    guest = lab.guest(DB1)
    guest.booted()  # so that there are variables, with boot entries of the old hardware
    guest.off()
    with planned(lab, guest) as move:
        move.kit("run", move.plan, "prepare")
        (first,) = move.state()["passes"]
        assert 0 <= first["bytes"] - stored(lab, DB1) < 8 << 20
        move.kit("run", move.plan, "switch", *YES)
        as_before(move, move.answers()[1])
        assert guest.state == "shut off"
