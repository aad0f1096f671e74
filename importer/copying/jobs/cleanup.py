"""Removes from the KVM host what an import has made there, and makes the domain run again."""

import shlex
import time
from collections.abc import Iterable
from dataclasses import replace

from importer.copying.jobs import job, servers
from importer.copying.jobs.facts import MIGRATED, SourceFacts, look
from importer.copying.jobs.job import Place, token_of
from importer.copying.jobs.virsh_jobs import JobVirsh
from importer.copying.jobs.watch_script import owner_of
from importer.copying.session import is_ours
from importer.host.connection import KvmHost
from importer.host.virsh import Virsh, is_unknown
from importer.journal import Journal
from importer.plan.model import ImportPlan
from node.errors import CommandError, KitError
from node.log import log

START_SECONDS = 60.0


def clean(
    host: KvmHost, plan: ImportPlan, directory: str, *, stays_watched: bool = False
) -> list[str]:
    """Removes the job, the checkpoints with their bitmaps, and the scratch files of an import.

    The disks may be others than those of the plan by now: that may be why the import is aborted.

    Args:
        host: the KVM host.
        plan: of the import.
        directory: of the scratch files, as the journal has it; "" if none were made.
        stays_watched: whether a script that waits for a late shutdown goes on, see `run_again`. It
            ends by itself.

    Returns:
        What could not be removed, as commands for a shell there, when the domain is off. Of a
        domain that libvirt has forgotten, the images are not known any more.

    Raises:
        KitError: libvirt or the host does not do it.
    """
    token = token_of(directory)
    if not token:
        return []
    if not stays_watched:  # a script that watches for a run that was killed would act alone
        host.run(["rm", "-f", "--", owner_of(token)], what="end of the watching")
    try:
        facts = look(host, plan, strict=False)
    except CommandError as error:
        if not is_unknown(error):
            raise
        log.warning("%s on %s: libvirt does not know it any more", plan.domain, plan.host)
        job.remove(host, directory)
        return []
    if facts.job is not None and token in facts.job.socket:
        job.end(host, plan.uuid, Place(directory, token, facts.job.socket))
    if not facts.is_on:
        end_servers(host, plan)
        _remove_bitmaps(host, plan, facts, token)
    delete_checkpoints(host, plan, facts, token)
    job.remove(host, directory)
    left = _bitmaps(plan, look(host, plan, strict=False), token)
    return [shlex.join(_removal(*each)) for each in left]


def end_servers(host: KvmHost, plan: ImportPlan) -> None:
    """Ends what serves the images of a domain for a connection that was cut.

    Raises:
        HostLost: the connection is lost.
    """
    paths = [disk.path for disk in plan.disks]
    host.run(servers.command(paths), what="end of earlier qemu-nbd", check=False)


def delete_checkpoints(
    host: KvmHost, plan: ImportPlan, facts: SourceFacts, token: str, keep: Iterable[str] = ()
) -> None:
    """Deletes the checkpoints of an import. Their bitmaps go as well, if the domain is on.

    Args:
        host: the KVM host.
        plan: of the import.
        facts: of the domain; checkpoints that were made later stay.
        token: of the import.
        keep: those that stay.
    """
    virsh, kept = Virsh(host), set(keep)
    for name in facts.checkpoints:
        if not is_ours(name, token) or name in kept:
            continue
        if facts.is_on:
            try:
                virsh.checkpoint_delete(plan.uuid, name)
                continue
            except CommandError as error:  # QEMU was killed since, and a bitmap is lost
                log.debug("%s", error.message)
        virsh.checkpoint_delete(plan.uuid, name, metadata_only=True)


def _remove_bitmaps(host: KvmHost, plan: ImportPlan, facts: SourceFacts, token: str) -> None:
    """Removes bitmaps from the images of a domain that is off: libvirt does not."""
    for path, name in _bitmaps(plan, facts, token):
        host.run(_removal(path, name), check=False, what=f"bitmap of {path}")


def _bitmaps(plan: ImportPlan, facts: SourceFacts, token: str) -> list[tuple[str, str]]:
    """Our bitmaps in images: the image's path, and the bitmap's name."""
    paths = {disk.target: disk.path for disk in plan.disks}
    return [
        (paths[target], name)
        for target, image in facts.images.items()
        for name in image.bitmaps
        if is_ours(name, token)
    ]


def _removal(path: str, name: str) -> list[str]:
    return ["qemu-img", "bitmap", "--remove", "-f", "qcow2", path, name]


def run_again(host: KvmHost, plan: ImportPlan, journal: Journal) -> bool:
    """Makes the domain run again, if this import has suspended it or shut it down.

    Then no last pass is complete any more: `abort` may fail after this.

    Returns:
        Whether it stays so; False if the guest was told to shut down and may still do that.

    Raises:
        KitError: it does not run.
    """
    stopped = journal.read().stopped_by_us
    if stopped is None:
        return True
    virsh = Virsh(host)
    found = virsh.state(plan.uuid)
    state = found.state
    if found == MIGRATED:
        raise KitError(
            f"{plan.domain}: it was migrated from {plan.host} to another host, and is not started"
            " here",
            hint="see whether it runs there",
        )
    if stopped == "suspended" and state == "paused":
        virsh.resume(plan.uuid)
        thaw(host, plan)
    elif state == "shut off":
        _start(virsh, plan.uuid)
    elif stopped == "shut down":
        return False
    journal.update(lambda before: replace(before.without_step("final copy"), stopped_by_us=None))
    return True


def thaw(host: KvmHost, plan: ImportPlan) -> None:
    """Thaws the file systems of the guest, if it has an agent and they are frozen."""
    try:
        JobVirsh(host).thaw(plan.uuid)
    except CommandError as error:
        log.debug("%s", error.message)


def _start(virsh: Virsh, uuid: str) -> None:
    """Starts a domain; qemu-nbd may still have its images open for a moment."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            virsh.start(uuid)
            return
        except CommandError as error:
            if virsh.state(uuid).state != "shut off":
                return
            if "lock" not in error.message + error.stderr or time.monotonic() > deadline:
                raise
        time.sleep(1.0)
