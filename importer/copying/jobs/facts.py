"""What a pass has to know of the domain before it begins: asked in one command there."""

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from importer.copying import methods
from importer.copying.jobs.backup_xml import RunningJob, dirty_bytes, disk_sources, running_job
from importer.copying.methods import Situation
from importer.domains.domain import SourceDisk
from importer.domains.domain_xml import Volumes
from importer.host.connection import KvmHost
from importer.host.images import ImageInfo, info_argv, parse_info
from importer.host.pools import volumes_of
from importer.host.virsh import VIRSH, DomainState, Virsh, fields, parse_state, parse_versions
from importer.plan.model import DiskPlan, ImportPlan
from node.errors import KitError

ON = ("running", "paused", "in shutdown", "idle", "blocked")
MIGRATED = DomainState("shut off", "migrated")

# libvirt adds the state while the domain is on.
_AGENT = re.compile(r"<target [^>]*name='org\.qemu\.guest_agent\.0'[^>]*state='connected'")

# Of the commands that describe the images, each as one word. $strict: "" if some may fail.
_IMAGES = """\
for image in "$@"; do
  echo "$mark image"
  eval "$image" || [ -z "$strict" ]
done
"""

# $1: the domain. $2: a line before each part. $3: a checkpoint, or nothing. $4: see _IMAGES.
# Then the commands that describe the images, each as one word.
_LOOK = rf"""
virsh() {{ command {shlex.join(VIRSH)} "$@"; }}
domain=$1 mark=$2 checkpoint=$3 strict=$4
shift 4
part() {{ echo "$mark $1"; }}
part state
virsh domstate --reason "$domain"
part versions
virsh version --daemon
part xml
virsh dumpxml "$domain"
part checkpoints
virsh checkpoint-list --name --topological "$domain" ||
  if virsh help checkpoint-list >/dev/null 2>&1; then exit 1; fi # else older than libvirt 5.6
part snapshots
virsh snapshot-list --name "$domain"
part job
virsh domjobinfo "$domain" 2>/dev/null || :
part backup
virsh backup-dumpxml "$domain" 2>/dev/null || :
part sizes
if [ -n "$checkpoint" ]; then
  virsh checkpoint-dumpxml "$domain" "$checkpoint" --size --no-domain 2>/dev/null || :
fi
part dominfo
virsh dominfo "$domain"
{_IMAGES}"""


@dataclass(frozen=True)
class SourceFacts:
    """A domain, as it is now.

    Attributes:
        state: of the domain.
        has_jobs: whether libvirt and QEMU there have backup jobs.
        images: of the plan's disks that are copied, by target.
        others: targets of all disks of the domain that are not copied.
        unplanned: of these, with an image that is not in the plan: added since, or a medium.
        checkpoints: the names of all its checkpoints, parents first.
        has_snapshots: whether libvirt knows snapshots of it: then it makes no checkpoints.
        job: the backup job that runs, if any.
        has_other_job: whether a job of another kind runs.
        is_persistent: whether libvirt knows the domain when it is off.
        is_saved: whether it is off, and its memory is in a file, from which it will go on.
        xml: of the domain, as it runs.
        dirty: of the checkpoint that was asked for: by target whose bitmap can be relied on, the
            bytes that changed since; None if they are not known, as the domain is off.
    """

    state: DomainState
    has_jobs: bool
    images: Mapping[str, ImageInfo]
    others: tuple[str, ...]
    unplanned: tuple[str, ...]
    checkpoints: tuple[str, ...]
    has_snapshots: bool
    job: RunningJob | None
    has_other_job: bool
    is_persistent: bool
    is_saved: bool
    xml: str
    dirty: Mapping[str, int | None]

    @property
    def is_on(self) -> bool:
        """Whether QEMU runs it; it may be suspended."""
        return self.state.state in ON

    @property
    def has_agent(self) -> bool:
        """Whether the guest's agent runs."""
        return _AGENT.search(self.xml) is not None

    @property
    def with_bitmaps(self) -> tuple[str, ...]:
        """The targets of copied disks that a new checkpoint makes bitmaps in."""
        if self.has_snapshots:
            return ()
        return tuple(target for target, image in self.images.items() if image.version == 3)

    def situation(self, copied: frozenset[str], checkpoint: str) -> Situation:
        """The facts that the decision depends on.

        Args:
            copied: targets whose volumes have got a copy.
            checkpoint: of the last complete pass, for which the facts were asked.
        """
        return Situation(self.is_on, self.has_jobs, copied, checkpoint, frozenset(self.dirty))


def source_disk(disk: DiskPlan) -> SourceDisk:
    """A planned disk, as the modules of the KVM host name it."""
    return SourceDisk(disk.target, "", disk.format, disk.path, disk.is_block)


def shut_down(host: KvmHost, plan: ImportPlan, before: SourceFacts, checkpoint: str) -> SourceFacts:
    """The facts of a domain that is off now: only its images have changed, so only they are asked.

    Args:
        host: the KVM host.
        plan: of the import.
        before: the facts when it ran.
        checkpoint: whose bitmaps are of interest.

    Raises:
        KitError: see `look`.
    """
    copied = _copied(plan)
    mark = f"--{secrets.token_hex(8)}"
    told = host.script(
        f"mark=$1 strict=yes; shift\n{_IMAGES}",
        mark,
        *_descriptions(copied),
        what=f"images of {plan.domain}",
    ).stdout
    parts = [part.partition("\n")[2] for part in told.split(mark)[1:]]
    state = DomainState("shut off", "")
    found = replace(before, state=state, images=_images(plan, copied, parts))
    return _with_dirty(found, "", checkpoint)


def _copied(plan: ImportPlan) -> list[DiskPlan]:
    return [disk for disk in plan.disks if disk.is_copied]


def _descriptions(copied: Sequence[DiskPlan]) -> list[str]:
    """The commands that describe the images, each as one word."""
    return [shlex.join(info_argv(source_disk(disk))) for disk in copied]


def _images(
    plan: ImportPlan, copied: Sequence[DiskPlan], described: Sequence[str], *, strict: bool = True
) -> dict[str, ImageInfo]:
    try:
        return {
            disk.target: parse_info(text)
            for disk, text in zip(copied, described, strict=True)
            if strict or text.strip()
        }
    except ValueError as error:
        raise KitError(
            f"images of {plan.domain}: the output of qemu-img is not as expected: {error}",
            hint="see `qemu-img info` and `qemu-img --version` there",
        ) from error


def look(
    host: KvmHost, plan: ImportPlan, checkpoint: str = "", *, strict: bool = True
) -> SourceFacts:
    """Looks at a domain.

    Args:
        host: the KVM host.
        plan: of the import.
        checkpoint: whose bitmaps are of interest; "" for none.
        strict: whether its disks have to be those of the plan; else images that are gone are left
            out.

    Raises:
        HostLost: the connection is lost.
        KitError: there is no such domain, or `strict` is set and its disks are others.
    """
    copied = _copied(plan)
    mark = f"--{secrets.token_hex(8)}"
    told = host.script(
        _LOOK,
        *(plan.uuid, mark, checkpoint, "yes" if strict else ""),
        *_descriptions(copied),
        what=f"state of {plan.domain}",
    ).stdout
    parts = told.split(mark)[1:]
    (xml,) = (text for name, _, text in (each.partition("\n") for each in parts) if name == " xml")
    facts = parse(plan, copied, parts, checkpoint, volumes_of(Virsh(host), xml), strict=strict)
    if strict:
        _require_current(facts, plan)
    for disk in copied if strict else ():
        if facts.images[disk.target].size != disk.size:
            raise KitError(
                f"disk {disk.target} of {plan.domain}: {facts.images[disk.target].size} bytes, but"
                f" {disk.size} in the plan",
                hint="its size has changed since the plan was made: make a new plan",
            )
    return facts


def parse(
    plan: ImportPlan,
    copied: Sequence[DiskPlan],
    parts: Sequence[str],
    checkpoint: str,
    volumes: Volumes,
    *,
    strict: bool = True,
) -> SourceFacts:
    """Parses the output of the script.

    Args:
        plan: of the import.
        copied: its disks that are copied.
        parts: of the output, each with its name in the first line.
        checkpoint: that was asked for.
        volumes: of storage pools that the disks name.
        strict: see `look`.

    Raises:
        KitError: it is not as expected, or the disks are not those of the plan.
    """
    told = {}
    described = []
    for part in parts:
        name, _, text = part.partition("\n")
        told[name.strip()] = text
        if name.strip() == "image":
            described.append(text)
    state, versions = parse_state(told["state"]), parse_versions(told["versions"])
    sources = disk_sources(told["xml"], volumes)
    for disk in plan.disks if strict else ():
        if (there := sources.get(disk.target)) != disk.path:
            raise KitError(
                f"disk {disk.target} of {plan.domain}: {disk.path} in the plan,"
                f" {there or 'nothing'} now",
                hint="its disks have changed since the plan was made: make a new plan; a snapshot"
                " with a file of its own has to be merged first (virsh blockcommit --pivot)",
            )
    images = _images(plan, copied, described, strict=strict)
    planned = {disk.target for disk in plan.disks}
    info = fields(told["dominfo"])
    job = running_job(told["backup"]) if told["backup"].strip() else None
    facts = SourceFacts(
        state=state,
        has_jobs=methods.has_jobs(versions.libvirt, versions.qemu),
        images=images,
        others=tuple(target for target in sources if target not in images),
        unplanned=tuple(each for each, path in sources.items() if path and each not in planned),
        checkpoints=tuple(told["checkpoints"].split()),
        has_snapshots=bool(told["snapshots"].strip()),
        job=job,
        has_other_job=job is None and fields(told["job"]).get("Job type", "None") != "None",
        is_persistent=info.get("Persistent") == "yes",
        is_saved=state.state not in ON
        and (state.reason == "saved" or info.get("Managed save") == "yes"),
        xml=told["xml"],
        dirty={},
    )
    return facts if not checkpoint else _with_dirty(facts, told["sizes"], checkpoint)


def _with_dirty(facts: SourceFacts, sizes: str, checkpoint: str) -> SourceFacts:
    dirty: Mapping[str, int | None] = {}
    if checkpoint not in facts.checkpoints:
        pass
    elif facts.is_on:
        known = dirty_bytes(sizes) if sizes.strip() else {}
        dirty = {target: size for target, size in known.items() if size is not None}
    else:
        dirty = {
            target: None
            for target, image in facts.images.items()
            if image.bitmaps.get(checkpoint) is False
        }
    return replace(facts, dirty=dirty)


def _require_current(facts: SourceFacts, plan: ImportPlan) -> None:
    """Checks that what is on the disks of a domain that is off is all there is.

    Raises:
        KitError: it went on elsewhere, or will go on from a file.
    """
    if facts.state == MIGRATED:
        raise KitError(
            f"domain {plan.domain}: it was migrated to another host: its disks on {plan.host} may"
            " be out of date, or in use there",
            hint="make a plan with the host that has it now; or migrate it back, or start it here",
        )
    if facts.is_saved:
        name = shlex.quote(plan.domain)
        raise KitError(
            f"domain {plan.domain}: its memory is saved in a file: its disks are as those of a"
            " running machine",
            hint=f"start it, then run this again: virsh start {name}",
        )


def require_restartable(facts: SourceFacts, plan: ImportPlan) -> None:
    """Checks that a domain is off after it has shut down, and can be started again.

    Raises:
        KitError: it is not, or cannot.
    """
    if not facts.is_persistent:
        raise KitError(
            f"domain {plan.domain}: transient: libvirt forgets it when it is off",
            hint="define it first: virsh dumpxml --security-info"
            f" {shlex.quote(plan.domain)} > FILE; virsh define FILE",
        )
    if any(f"<on_poweroff>{what}<" in facts.xml for what in ("restart", "preserve")):
        raise KitError(
            f"domain {plan.domain}: it does not stay off after a shutdown (on_poweroff)",
            hint="set <on_poweroff>destroy</on_poweroff> (virsh edit, then shut down and start);"
            " or copy with --suspend",
        )
