"""The commands of docs/cookbook.md, run one after the other as they stand there."""

import re
import shlex
from collections.abc import Iterator
from itertools import groupby

import pexpect
import pytest

from tests import bootstraps

from . import cookbook, ssh
from .cluster import CREATE_TIMEOUT, Cluster
from .console import BOOT_TIMEOUT, CURRENT_PASSWORD, NEW_PASSWORD, SHELL
from .cookbook import Block
from .sandbox import missing_capability

BLOCKS = cookbook.blocks(cookbook.PAGE.read_text())
HERE = ("", cookbook.ON_A_TERMINAL)
RECIPES = list(dict.fromkeys(block.recipe for block in BLOCKS if block.mark in HERE))
# The page names these replacements, too: disks of this node are files.
REPLACED = {
    "-t drbd": "-t file",
    "-t plain": "-t file",
    "qcow2raw ssh://": "qcow2raw --force-file ssh://",
}
# A node without DNS; the pool's first address goes to the first instance.
HOSTS = """
198.51.100.2 web.example.org
198.51.100.99 www.example.org
198.51.100.11 kvm1.example.org
"""
# Recipes that need the machine's network: a mirror.
OUTSIDE = (
    "Keep a cache with your packages",
    "Move from ganeti-instance-debootstrap",
    "At night, a create has failed",
)
# What the page takes for granted, by recipe.
BEFORE = {
    # Disks that are files have no snapshots.
    "Back up an instance": "gnt-instance shutdown --timeout=0 www.example.org",
    "Move a virtual machine from another host": """
        mkdir -p /srv/vmstore/old
        disks=$(gnt-instance activate-disks copy.example.org | sed 's/.*:disk.[0-9]*://')
        set -- $disks
        qemu-img convert -O qcow2 "$1" /srv/vmstore/old/root.qcow2
        qemu-img convert -O qcow2 "$2" /srv/vmstore/old/swap.qcow2
        gnt-instance deactivate-disks copy.example.org
        """,
    "The boot waits 90 seconds for a swap device": """
        disks=$(gnt-instance activate-disks old.example.org | sed 's/.*:disk.[0-9]*://')
        set -- $disks
        mkswap --force --quiet "$2"
        gnt-instance deactivate-disks old.example.org
        """,
}
NEW_WORD = "Correct-Horse-42-Battery"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A node of its own: the recipes change its settings, hooks, variants and caches."""
    why = missing_capability()
    if why:
        pytest.skip(why)
    cluster = Cluster(bootstraps.directory())
    try:
        cluster.start()
        cluster.install_kit()
        ssh.make_key(cluster)
        ssh.use_key(cluster)
        cluster.run(["sh", "-c", "cat >>/etc/hosts"], input=HOSTS)
        # The host from which a machine is moved is the node itself.
        cluster.run(["sh", "-c", "mkdir -p /run/sshd /var/lib/ganeti/export && ssh-keygen -A"])
        cluster.run(["/usr/sbin/sshd", "-oUsePAM=no", "-oListenAddress=198.51.100.11"])
        cluster.fill_cache("bookworm")
        yield cluster
    finally:
        cluster.stop()


def test_few_blocks_are_not_run_and_say_why() -> None:
    marks = {block.mark for block in BLOCKS}
    known = {*HERE, cookbook.IN_A_GUEST, cookbook.BESIDE_A_KVM_HOST}
    assert [mark for mark in marks - known if not mark.startswith(cookbook.NOT_RUN)] == []
    assert sum(block.mark.startswith(cookbook.NOT_RUN) for block in BLOCKS) == 3
    assert len(BLOCKS) > 30


def test_all_that_is_prepared_is_needed() -> None:
    assert {*BEFORE, *OUTSIDE} <= {*RECIPES}
    page = cookbook.PAGE.read_text()
    for old in REPLACED:
        assert any(old in block.commands for block in BLOCKS)
    for words in ("replace only `-t drbd` and `-t plain` by `-t file`", "`--force-file`"):
        assert words in page


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe(recipe: str, cluster: Cluster) -> None:
    if recipe in BEFORE:
        cluster.run(["bash", "-ec", BEFORE[recipe]])
    ours = [block for block in BLOCKS if block.recipe == recipe and block.mark in HERE]
    for mark, group in groupby(ours, key=lambda block: block.mark):
        run = on_a_terminal if mark == cookbook.ON_A_TERMINAL else in_a_shell
        for block, printed in run(cluster, list(group)):
            line = cookbook.missing(block.expected, printed)
            assert line is None, f"{block.commands}\n\ndid not print {line!r}, but:\n{printed}"


def in_a_shell(cluster: Cluster, blocks: list[Block]) -> list[tuple[Block, str]]:
    """Runs blocks in one shell; gives the output of each."""
    commands = [cookbook.replaced(block.commands, REPLACED) for block in blocks]
    waits = [wait_for_guest(block) for block in blocks]
    pairs = zip(waits, commands, strict=True)
    cluster.write("/root/recipe", cookbook.script("\n".join(pair) for pair in pairs))
    ran = cluster.run(
        ["bash", "/root/recipe"],
        check=False,
        timeout=CREATE_TIMEOUT,
        outside_network=blocks[0].recipe in OUTSIDE,
    )
    assert ran.returncode == 0, ran.stdout
    return list(zip(blocks, ran.stdout.split(cookbook.MARK), strict=False))


def on_a_terminal(cluster: Cluster, blocks: list[Block]) -> list[tuple[Block, str]]:
    """Runs the block of the first login, which asks for a new password."""
    [block] = blocks
    password = cluster.facts().password
    argv = cluster.argv(["bash", "-c", f"{wait_for_guest(block)}\n{block.commands}"])
    with pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=2 * BOOT_TIMEOUT) as process:
        process.delaybeforesend = 0.3
        printed = ""
        for question, answer in (
            (CURRENT_PASSWORD, password),
            (NEW_PASSWORD, NEW_WORD),
            (NEW_PASSWORD, NEW_WORD),
        ):
            process.expect(question)
            printed += process.before + process.after
            process.sendline(answer)
        process.expect(SHELL)
        process.sendline("exit")
        process.read()
    return [(block, printed)]


def wait_for_guest(block: Block) -> str:
    """Commands that wait until the guest is up to which the block logs in."""
    found = re.search(r"^ssh (?:-t )?root@(\S+)", block.commands, re.MULTILINE)
    if not found:
        return ""
    reached = shlex.quote(f"exec 3<>/dev/tcp/{found[1]}/22")
    tries = f"until bash -c {reached} 2>/dev/null; do sleep 1; done"
    return f"timeout {BOOT_TIMEOUT} bash -c {shlex.quote(tries)}"
