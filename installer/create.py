"""The OS script `create`, which a reinstall runs, too: makes a bootable guest."""

import dataclasses
import resource
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from guest.duplicates import shared_addresses
from guest.hypervisor import own_kernel
from guest.instance import Instance
from installer import debootstrap, inputs, oslog, releases, upgrade
from installer.bootstrap import accounts, cache, families
from installer.bootstrap.per_guest import remake
from installer.bootstrap.plan import BootstrapPlan
from installer.disks import prepare
from installer.disks.kept import kept_file_systems
from installer.disks.layout import Layout, plan_layout
from installer.guest_tree import GuestTree, chroot
from installer.hooks import site, stages
from installer.hooks.base import Context, Hook, Later
from installer.settings import Settings, load
from node.devices.claim import disk_size
from node.errors import KitError
from node.log import durations, log, step
from node.run import which

OPEN_FILES = 256


def create(environ: Mapping[str, str], os_dir: Path) -> None:
    """Makes the guest that Ganeti's environment describes.

    Everything that can be checked is checked before the first byte is written.

    Raises:
        KitError: the guest cannot be made.
    """
    started = time.monotonic()
    decided = plan_create(environ, os_dir)
    context, plan = decided.context, decided.plan
    settings, layout = context.settings, context.layout
    with ExitStack() as stack:
        with step("disks"), ExitStack() as swaps:
            backings = prepare.claim_all(stack, (layout.root, *layout.data))
            # Swap disks are released after mkswap: a site hook may run mkswap on them again.
            backings |= prepare.claim_all(swaps, layout.swaps)
            made = stack.enter_context(prepare.prepared(layout, settings.suite, backings))
        with step(f"bootstrap of {settings.suite} ({settings.arch})"):
            age = cache.fill(made.root, plan, settings, debootstrap.bootstrap)
        target = GuestTree(made.root, made)
        accounts.refuse(decided.users, accounts.of_guest(target))
        # update-grub writes root=UUID=... only if it finds this link.
        uuids = {str(layout.root.uuid): made.fsysdev}
        with ExitStack() as runnable:
            runnable.enter_context(chroot(target, {made.disk, made.fsysdev}, uuids))
            if remake.remake(target):
                debootstrap.make_initramfs(target)
            # Before the hooks, so that GRUB's menu has the new kernel, and their files are not
            # changed by an upgrade.
            if upgrade.is_due(settings.upgrade, age):
                upgrade.upgrade(target, plan, age)
            pending = [
                later for stage in decided.stages for later in _apply_hooks(stage, context, target)
            ]
            if context.site_hooks:
                # Again, as site hooks may have mounted over it, or unmounted it.
                runnable.close()
                runnable.enter_context(chroot(target, {made.disk, made.fsysdev}, uuids))
            for later in pending:
                later.mend()
            facts_found = [line for later in pending for line in later.report()]
        with step("flush to disk"):
            stack.close()
    log.info("done in %.1f s:", time.monotonic() - started)
    for line in durations():
        log.info("%s", line)
    oslog.log_facts(facts_found)


def _apply_hooks(hooks: Sequence[Hook], context: Context, target: GuestTree) -> list[Later]:
    pending = []
    for hook in hooks:
        with step(f"hook {hook.name}"):
            pending.append(hook.apply(context, target))
    for later in pending:
        later.finish()
    return pending


@dataclass(frozen=True)
class Decided:
    """The decisions of a create. So far, nothing was asked of the network, and nothing written.

    Attributes:
        context: the guest.
        stages: the hooks of this guest by stages, in their order.
        plan: the plan of the bootstrap.
        warnings: about settings that are odd, but harmless.
    """

    context: Context
    stages: tuple[tuple[Hook, ...], ...]
    plan: BootstrapPlan
    warnings: tuple[str, ...]

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hooks of all stages."""
        return tuple(hook for stage in self.stages for hook in stage)

    @property
    def users(self) -> list[str]:
        """The users that hooks will make."""
        return [user for hook in self.hooks for user in hook.users(self.context)]

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs of the node that the create needs."""
        made_by = (*prepare.tools(self.context.layout), *debootstrap.tools(self.plan), *cache.TOOLS)
        return tuple(sorted({*made_by, *(name for hook in self.hooks for name in hook.tools)}))


def plan_create(environ: Mapping[str, str], os_dir: Path) -> Decided:
    """Decides and checks everything before a disk is opened for writing.

    Raises:
        KitError: the guest cannot be made.
    """
    decided = decide(environ, os_dir)
    for warning in decided.warnings:
        log.warning("%s", warning)
    check(decided)
    _warn_of_no_effect(decided.context, decided.hooks)
    _log_plan(decided.context, environ.get("INSTANCE_OS", "debootstrap"))
    return decided


def decide(environ: Mapping[str, str], os_dir: Path) -> Decided:
    """Decides everything from Ganeti's environment and the files of the node.

    Raises:
        KitError: they contradict each other, or need something that this node does not have.
    """
    instance = inputs.read_instance(environ)
    loaded = load.load(instance.variant, environ, os_dir=os_dir)
    node = inputs.read_node(loaded.settings)
    settings = _fill_in_settings(loaded.settings, instance, node)
    layout = _plan_layout(instance, settings)
    context = Context(instance, settings, layout, node, site.listed(settings))
    applied = tuple(
        tuple(hook for hook in stage if hook.enabled(context))
        for stage in stages(environ, loaded.assigned, os_dir)
    )
    packages = [name for stage in applied for hook in stage for name in hook.packages(context)]
    if settings.kernel != "none":
        packages += kernel_packages(settings)
    plan = debootstrap.plan(
        settings,
        node,
        (*packages, *settings.base_pkgs, *settings.extra_pkgs),
        users_hosts=loaded.users_hosts,
        alias=loaded.settings.suite if loaded.settings.suite in releases.DEBIAN_ALIASES else "",
    )
    return Decided(context, applied, plan, loaded.warnings)


def check(decided: Decided) -> None:
    """Checks that this node and the mirrors have everything that a create needs.

    Raises:
        KitError: something is missing.
    """
    for hook in decided.hooks:
        hook.check(decided.context)
    require_tools(decided.tools, "create")
    settings, plan = decided.context.settings, decided.plan
    cache.check(plan, settings)
    if decided.users:  # it takes a while
        accounts.refuse(decided.users, cache.accounts_in(plan, settings))
    prepare.make_build_directory()
    _check_open_files()


def _fill_in_settings(settings: Settings, instance: Instance, node: inputs.NodeFacts) -> Settings:
    """Fills in settings that depend on the node, the hypervisor and the suite."""
    suite = releases.named(settings.suite or node.codename)
    if suite != (settings.suite or node.codename):
        log.info("suite %s is %s today", settings.suite, suite)
    arch = settings.arch or node.architecture
    distribution = releases.distribution(suite, settings.mirror)
    kernel = settings.kernel
    if kernel == "auto":
        kernel = "none"
        if own_kernel(instance):
            found = releases.kernel_package(suite, distribution, arch)
            if found is None:
                raise KitError(
                    f"kernel for {suite} on {arch}: its package is not known",
                    hint="set KERNEL in the variant's file, or the hypervisor's kernel_path",
                )
            kernel = found
    settings = dataclasses.replace(settings, suite=suite, arch=arch, kernel=kernel)
    return families.resolved(settings, distribution)


def kernel_packages(settings: Settings) -> tuple[str, ...]:
    """The packages of the kernel and of what it needs to boot, for resolved settings."""
    distribution = releases.distribution(settings.suite, settings.mirror)
    return (settings.kernel, *families.family(distribution).kernel_needs)


def _plan_layout(instance: Instance, settings: Settings) -> Layout:
    sizes: dict[int, int] = {}
    for disk in instance.disks:
        if disk.path is None:
            raise KitError(
                f"disk {disk.index} ({disk.uri or 'no path'}): only QEMU can open it",
                hint="use a disk template whose disks are block devices or files on the node",
            )
        try:
            sizes[disk.index] = disk_size(Path(disk.path))
        except OSError as error:
            raise KitError(
                f"disk {disk.index} ({disk.path}): {error.strerror}",
                hint="see gnt-cluster verify-disks and gnt-instance info for its state in Ganeti",
            ) from error
    existing = kept_file_systems(instance, settings) if instance.reinstall else {}
    try:
        return plan_layout(instance, settings, sizes, existing=existing, new_uuid=uuid4)
    except ValueError as error:
        raise KitError(
            f"layout of {instance.name}: {error}", hint="see DISKS in ganeti-os-debootstrap(7)"
        ) from error


def require_tools(names: Sequence[str], action: str) -> None:
    """Raises KitError where this node lacks programs that a create or an import needs."""
    missing = [name for name in names if which(name) is None]
    if missing:
        packages = sorted({PACKAGES.get(name, name) for name in missing})
        raise KitError(
            f"programs that this {action} needs: not on this node: {', '.join(missing)}",
            hint=f"apt-get install {' '.join(packages)}",
        )


def _check_open_files() -> None:
    """Raises the limit of open files to what a create needs (getrlimit(2))."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < OPEN_FILES:
        raise KitError(
            f"open files: this process may have {most}, and a create needs {OPEN_FILES}",
            hint="raise the hard limit: `ulimit -Hn`, or LimitNOFILE of Ganeti's service",
        )
    # Not higher: some programs close all possible descriptors one by one.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, OPEN_FILES), most))


# The Debian packages of programs that have another name than their package.
PACKAGES = {
    "blkid": "util-linux",
    "chattr": "e2fsprogs",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.vfat": "dosfstools",
    "mkfs.xfs": "xfsprogs",
    "mkswap": "util-linux",
    "mmd": "mtools",
    "sfdisk": "fdisk",
}


def _warn_of_no_effect(context: Context, hooks: Sequence[Hook]) -> None:
    settings, names = context.settings, {hook.name for hook in hooks}
    if settings.kernel_args and "grub" not in names:
        log.warning("KERNEL_ARGS has no effect: this guest gets no boot loader")
    if not settings.root_login and "user" not in names:
        log.warning("ROOT_LOGIN is no, and no USER is made: nobody can log in over SSH")


def _log_plan(context: Context, os_name: str) -> None:
    instance, layout = context.instance, context.layout
    verb = "reinstall" if instance.reinstall else "create"
    log.info("%s of %s: %s, hypervisor %s", verb, instance.name, os_name, instance.hypervisor)
    for note in shared_addresses(instance.nics):
        log.warning("%s", note)
    for disk in layout.kept:
        log.info(
            "disk %d (%s) is kept: it holds the %s of an earlier installation; to get an empty one,"
            " make a new file system on it before a reinstall",
            *(disk.disk.index, disk.mountpoint, disk.fstype),
        )
    for disk in layout.untouched:
        name = f"is named {disk.disk.name}" if disk.disk.name else "has no name"
        log.info("disk %d %s: left untouched", disk.disk.index, name)
