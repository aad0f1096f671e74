"""The whole story of one guest: four disks, two NICs, from its OS log to SSH.

Then it gets larger disks and another name, and at last another installation that spares its data.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from . import ssh
from .cluster import CREATE_TIMEOUT, LIBRARY, Cluster
from .console import BOOT_TIMEOUT, Console
from .scrape import Facts

OLD, NEW = "before.example.org", "after.example.org"
SIZES = "df --output=size --block-size=1M / /srv | tail -n +2"
NEW_PASSWORD = "Correct-Horse-42-Battery"


@dataclass(frozen=True)
class Story:
    name: str
    scraped: list[str]
    log: str
    facts: Facts
    forced_change: bool
    connections: list[ssh.Ssh]
    seconds_to_ssh: float
    console: Console

    def run(self, command: str) -> str:
        return self.connections[0].run(command)


@pytest.fixture(scope="module")
def story(cluster: Cluster, instance_name: Callable[[str], str]) -> Story:
    name = instance_name(OLD)
    facts = cluster.add(
        name,
        disks=("size=3G", "size=256M,name=swap", "size=512M,name=srv", "size=256M"),
        nets=("ip=pool,network=gnt-fsn", "ip=pool,network=gnt-be"),
        start=False,
    )
    scraped, log = cluster.scrape(), cluster.os_log()
    started = time.monotonic()
    console = cluster.start_instance(name)
    connections = ssh.connect_all(cluster, facts)
    seconds = time.monotonic() - started
    forced = console.login("root", facts.password)
    if forced:
        console.change_password(facts.password, NEW_PASSWORD)
    print(f"power-on to SSH: {seconds:.0f} s, emulated")
    return Story(name, scraped, log, facts, forced, connections, seconds, console)


@pytest.fixture(scope="module")
def second_facts(story: Story) -> list[str]:
    return re.findall(r"configured eth1 with (\S+)$", story.log, re.MULTILINE)


@pytest.mark.trixie
def test_scrape_prints_password_addresses_and_fingerprints_only(story: Story) -> None:
    assert len(story.scraped) == 1 + 2 + len(story.facts.fingerprints)
    assert sorted(address.version for address in story.facts.addresses) == [4, 6]
    assert len(story.facts.fingerprints) >= 2


def kit_facts(cluster: Cluster, name: str) -> dict[str, Any]:
    """What `instance-kit facts` has for programs."""
    said = cluster.run(["instance-kit", "facts", "--json", name]).stdout
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.mark.trixie
def test_facts_are_those_of_the_scrape(story: Story, cluster: Cluster) -> None:
    found = kit_facts(cluster, OLD)
    assert found["root_password"] == story.facts.password
    first = [each for each in found["addresses"] if each["nic"] == "eth0"]
    assert [each["address"] for each in first] == list(story.facts.hosts)
    digests = {f"SHA256:{each['sha256']}" for each in found["host_keys"]}
    assert digests == story.facts.fingerprints
    assert found["notes"] == []


@pytest.mark.trixie
def test_the_doctor_says_what_ganeti_says_of_the_os(cluster: Cluster) -> None:
    create = f"{LIBRARY}/os-definition/create"

    def levels() -> tuple[str, str]:
        # The node has no way to a mirror, so it is not fit.
        argv = ["instance-kit", "doctor", "--json", "--variant=bookworm"]
        said = json.loads(cluster.run(argv, check=False).stdout)
        found = {each["about"]: each["level"] for each in said["findings"]}
        assert not said["fit"] and found["mirrors of bookworm"] == "problem"
        ganetis = cluster.run(["gnt-os", "diagnose"], check=False).stdout
        return found["gnt-os diagnose"], ganetis.partition("[global status: ")[2].partition("]")[0]

    assert levels() == ("ok", "valid")
    cluster.run(["chmod", "-x", create])
    try:
        assert levels() == ("problem", "invalid")
    finally:
        cluster.run(["chmod", "+x", create])


@pytest.mark.trixie
def test_records_of_its_host_keys_are_those_that_ssh_keygen_gives(
    story: Story, cluster: Cluster
) -> None:
    lines = cluster.run(["instance-kit", "facts", "--dns", OLD]).stdout.splitlines()
    ours = {line.partition(" IN ")[2] for line in lines if " SSHFP " in line}
    keys = "for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -r x -f $key; done"
    theirs = {line.partition(" IN ")[2] for line in story.run(keys).splitlines()}
    assert ours == {line for line in theirs if line.split()[2] == "2"} != set()


def test_second_nic_is_in_the_log_by_its_own_name(second_facts: list[str]) -> None:
    assert len(second_facts) == 2
    assert second_facts[0].startswith("192.0.2.") and second_facts[0].endswith("/24")
    assert second_facts[1].startswith("2001:db8:0:be:") and second_facts[1].endswith("/64")


def test_log_says_which_disk_was_left_alone(story: Story) -> None:
    assert re.search(r"disk 3 .*untouched", story.log)


@pytest.mark.trixie
def test_first_login_asks_for_a_new_password(story: Story) -> None:
    assert story.forced_change


def test_scraped_password_is_of_no_use_any_more(story: Story) -> None:
    hashed = story.run("getent shadow root | cut -d: -f2")
    crypt = "perl -e 'print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? 1 : 0'"
    assert story.run(f"{crypt} '{story.facts.password}' '{hashed}'") == "0"
    assert story.run(f"{crypt} '{NEW_PASSWORD}' '{hashed}'") == "1"


@pytest.mark.parametrize("number", [0, 1], ids=["ipv4", "ipv6"])
def test_root_key_opens_ssh(story: Story, number: int) -> None:
    assert story.connections[number].run("id -un") == "root"


def test_authorized_keys_keep_options_and_comment(story: Story) -> None:
    keys = story.run("cat /root/.ssh/authorized_keys")
    assert ssh.OPTIONS in keys and ssh.COMMENT in keys
    assert story.run("stat -c '%a %U' /root/.ssh /root/.ssh/authorized_keys") == (
        "700 root\n600 root"
    )


def test_second_nic_carries_its_addresses(
    story: Story, second_facts: list[str], cluster: Cluster
) -> None:
    shown = story.run("ip -o address show dev eth1 scope global")
    for address in second_facts:
        assert f" {address} " in shown
        host = address.partition("/")[0]
        other = ssh.connect_known(cluster, host, story.connections[0].keys)
        assert other.run("hostname -f") == story.name


def test_names_of_nics_follow_ganeti_s_order(story: Story, cluster: Cluster) -> None:
    macs = cluster.instance_field(story.name, "nic.macs").split(",")
    shown = story.run("cat /sys/class/net/eth0/address /sys/class/net/eth1/address")
    assert shown.split() == macs


def test_swap_disk_is_on_and_there_is_no_swapfile(story: Story) -> None:
    assert story.run("swapon --show=TYPE --noheadings") == "partition"
    assert story.run("ls /swapfile 2>/dev/null || echo none") == "none"


def test_srv_is_mounted_by_uuid(story: Story) -> None:
    uuid = story.run("findmnt --noheadings --output UUID /srv")
    assert re.search(rf"^UUID={uuid}\s+/srv\s", story.run("cat /etc/fstab"), re.MULTILINE)


def test_unnamed_disk_has_no_signature(story: Story) -> None:
    code, said = story.connections[0].try_run("blkid -p /dev/vdd")
    assert (code, said) == (2, "")


def test_capabilities_of_files_survived_the_cache(story: Story) -> None:
    assert "cap_net_raw" in story.run("getcap /bin/ping /usr/bin/ping")


def test_every_unit_is_well(story: Story) -> None:
    assert story.connections[0].system_state() == "running"


def test_names_of_the_host(story: Story) -> None:
    assert story.run("hostname -f; cat /etc/mailname") == f"{story.name}\n{story.name}"


def test_identity_is_its_own(story: Story, cluster: Cluster) -> None:
    machine_id = story.run("cat /etc/machine-id")
    assert re.fullmatch("[0-9a-f]{32}", machine_id)
    assert machine_id != cluster.run(["cat", "/etc/machine-id"], check=False).stdout.strip()


def test_hosts_file_does_not_speak_of_the_node(story: Story) -> None:
    assert "node1" not in story.run("cat /etc/hosts")


def test_tmp_is_a_tmpfs(story: Story) -> None:
    assert story.run("findmnt --noheadings --output FSTYPE /tmp") == "tmpfs"


def test_boot_on_the_console_is_clean(story: Story) -> None:
    assert "[FAILED]" not in story.console.transcript
    assert story.console.run("test -t 0 || tty </dev/ttyS0") == (0, "/dev/ttyS0\n")


def test_time_to_ssh_is_sane(story: Story) -> None:
    assert story.seconds_to_ssh < BOOT_TIMEOUT


def test_nothing_stays_attached_on_the_node(story: Story, cluster: Cluster) -> None:
    assert story.name and cluster.loops() == []


def test_its_disks_are_not_opened_while_it_runs(story: Story, cluster: Cluster) -> None:
    ran = cluster.run(["instance-kit", "mount", story.name], check=False)
    assert f"instance {story.name}: it is running (Ganeti says: running)" in ran.stderr


@dataclass(frozen=True)
class Changed:
    """The instance after a shutdown, the growth of two disks, a renaming and a second boot."""

    connection: ssh.Ssh
    sizes_before: list[int]

    def run(self, command: str) -> str:
        return self.connection.run(command)


@pytest.fixture(scope="module")
def changed(story: Story, cluster: Cluster, instance_name: Callable[[str], str]) -> Changed:
    story.run("echo precious > /srv/data; sync")
    sizes = [int(size) for size in story.run(SIZES).split()]
    story.console.logout()
    cluster.stop_instance(OLD)
    cluster.run(["gnt-instance", "grow-disk", OLD, "0", "1g"])
    cluster.run(["gnt-instance", "grow-disk", OLD, "2", "512m"])
    # Ganeti 3.0 looks the new name up, and whether somebody answers at its address.
    with cluster.knowing(NEW, "198.51.100.99"):
        cluster.run(["gnt-instance", "rename", OLD, NEW], timeout=CREATE_TIMEOUT)
    cluster.start_instance(instance_name(NEW))
    known = story.connections[0]
    return Changed(ssh.connect_known(cluster, known.host, known.keys), sizes)


@pytest.mark.trixie
def test_root_and_data_grow_at_boot(changed: Changed) -> None:
    root, srv = (int(size) for size in changed.run(SIZES).split())
    assert root - changed.sizes_before[0] > 900
    assert srv - changed.sizes_before[1] > 400


@pytest.mark.trixie
def test_another_name(changed: Changed) -> None:
    assert changed.run("hostname -f; cat /etc/hostname /etc/mailname").split() == [NEW] * 3
    hosts = changed.run("cat /etc/hosts").split()
    assert NEW in hosts and "after" in hosts and OLD not in hosts and "before" not in hosts


@pytest.mark.trixie
def test_facts_are_found_by_the_new_name(story: Story, changed: Changed, cluster: Cluster) -> None:
    assert changed.connection is not None
    found = kit_facts(cluster, NEW)
    assert found["root_password"] == story.facts.password
    assert [note.rpartition(" 20")[0] for note in found["notes"]] == [
        f"renamed from {OLD} to {NEW}"
    ]
    gone = cluster.run(["instance-kit", "facts", OLD]).stdout
    assert f"note: Ganeti has no instance {OLD} now" in gone


@pytest.mark.trixie
def test_every_unit_is_well_in_the_second_boot(changed: Changed) -> None:
    assert changed.connection.system_state() == "running"


def test_reinstall_makes_access_anew_and_keeps_data(
    story: Story, changed: Changed, cluster: Cluster
) -> None:
    assert changed.run("cat /srv/data") == "precious"
    cluster.pull_plug(NEW)
    cluster.run(["gnt-instance", "reinstall", "--force", NEW], timeout=CREATE_TIMEOUT)
    facts = cluster.facts()
    assert facts.password != story.facts.password
    assert kit_facts(cluster, NEW)["root_password"] == facts.password
    assert facts.addresses == story.facts.addresses
    assert not facts.fingerprints & story.facts.fingerprints
    console = cluster.start_instance(NEW)
    connection = ssh.connect(cluster, facts, facts.hosts[0])
    assert console.login("root", facts.password)
    console.change_password(facts.password, NEW_PASSWORD)
    assert connection.run("cat /srv/data") == "precious"
    assert connection.run("hostname -f") == NEW
