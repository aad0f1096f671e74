"""Runs debootstrap(8) or mmdebstrap(1), the bootstrap engines, on the guest's mounted disks."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from installer import releases
from installer.bootstrap import apt_sources, families, mirrors
from installer.bootstrap.mirror_check import served
from installer.bootstrap.mirrors import Mirrors
from installer.bootstrap.output import EngineOutput
from installer.bootstrap.per_guest import remake, scrub
from installer.bootstrap.plan import (
    BootstrapPlan,
    check_merged_usr,
    debootstrap_argv,
    merges_usr,
    mmdebstrap_argv,
)
from installer.guest_tree import CONFINED, GuestTree, chroot, proc_of_guest
from installer.inputs import NodeFacts
from installer.settings import Settings
from node.errors import CommandError, KitError
from node.files import read_bytes
from node.log import log, step
from node.run import run, which
from node.text import size

KEYRINGS = Path("/usr/share/keyrings")
REMOVED_KEYS = KEYRINGS / "debian-archive-removed-keys.gpg"
# For keyrings whose package has another name, or is not in every release of Debian.
KEYRING_HINTS = {
    "ubuntu": "apt-get install ubuntu-keyring (for bookworm it is in bookworm-backports only)",
}
SOURCES_LIST = "etc/apt/sources.list"
# The packages of the kernel and of initramfs-tools would each make an initramfs, which takes 20 s.
# We make it once, after the bootstrap. The scripts in /etc/kernel/postinst.d obey this variable.
NO_INITRD = {"INITRD": "No"}
INITRD_HOOKS = ("etc/kernel/postinst.d/initramfs-tools", "etc/kernel/postinst.d/dracut")
# In a Docker container, debootstrap would remove the guest's /proc (first_stage_install). In an LXC
# container, it works as on a node.
NO_DOCKER = {"container": "lxc"}


def plan(
    settings: Settings,
    node: NodeFacts,
    packages: Sequence[str],
    *,
    users_hosts: frozenset[str] = frozenset(),
    alias: str = "",
) -> BootstrapPlan:
    """Decides how the bootstrap is made, and checks that it can be.

    Args:
        settings: with suite and architecture filled in.
        node: the properties of this node.
        packages: the packages to install.
        users_hosts: the hosts of mirrors that OS parameters name.
        alias: the alias of which the suite is the code name, or "".

    Raises:
        KitError: an old suite without a mirror, a missing keyring, an architecture whose
            programs this node cannot run, an engine that is not installed, MERGED_USR=no for a
            suite that needs a merged /usr.
    """
    suite, arch = settings.suite, settings.arch
    if problem := releases.suite_problem(suite, settings.mirror):
        raise KitError(problem, hint="see SUITE in ganeti-os-debootstrap(7)")
    family = releases.distribution(suite, settings.mirror)
    check_merged_usr(suite, settings.merged_usr)
    check_architecture(arch, node.architecture)
    return BootstrapPlan(
        engine=choose_engine(settings.bootstrap, which),
        suite=suite,
        family=family,
        arch=arch,
        mirrors=mirrors.choose_on_this_node(suite, settings.mirror, settings.security_mirror),
        components=families.components(settings, family),
        packages=tuple(sorted(set(packages))),
        merged_usr=settings.merged_usr,
        keyrings=keyrings(suite, family, settings.keyring),
        proxy=settings.proxy or None,
        users_hosts=users_hosts,
        alias=alias,
    )


def tools(plan: BootstrapPlan) -> tuple[str, ...]:
    """The programs of the node that the engine needs."""
    return (plan.engine, "gpgv")


def choose_engine(wanted: str, find: Callable[[str], str | None]) -> str:
    """The engine for the setting BOOTSTRAP; `find` looks up a program, like shutil.which.

    Raises:
        KitError: it is not installed on this node.
    """
    candidates = ("mmdebstrap", "debootstrap") if wanted == "auto" else (wanted,)
    for engine in candidates:
        if find(engine):
            return engine
    raise KitError(
        f"bootstrap engine {candidates[0]}: not on this node",
        hint=f"apt-get install {candidates[0]}",
    )


def check_architecture(arch: str, native: str) -> None:
    """Refuses architectures whose programs this node cannot run."""
    if arch == native or (native, arch) == ("amd64", "i386"):
        return
    if which("arch-test") is None or run(["arch-test", arch], check=False).exit_code != 0:
        raise KitError(
            f"architecture {arch}: this node ({native}) cannot run its programs",
            hint="install qemu-user-static and arch-test, or choose another ARCH",
        )


def keyrings(suite: str, family: str, configured: str) -> tuple[Path, ...]:
    """The keyrings that the archive's signature is verified with.

    Raises:
        KitError: one is missing or ASCII-armored. There is no bootstrap without verification.
    """
    if not configured and not family:
        known = get_close_matches(suite, releases.known_suites(), n=1, cutoff=0.7)
        raise KitError(
            f"suite {suite}: the keys that sign it are not known"
            + "".join(f" (did you mean {name}?)" for name in known),
            hint="check the spelling of SUITE; for another archive, set MIRROR, and KEYRING to its"
            " keyring",
        )
    keyring = Path(configured) if configured else KEYRINGS / f"{family}-archive-keyring.gpg"
    if not keyring.is_file():
        package = KEYRING_HINTS.get(family, f"apt-get install {family}-archive-keyring")
        raise KitError(
            f"keyring {keyring}: it does not exist, so signatures of {suite} cannot be verified",
            hint="correct KEYRING" if configured else package,
        )
    if read_bytes(keyring).startswith(b"-----BEGIN PGP"):
        # gpgv(1) would only say that the archive's key is not in it.
        raise KitError(
            f"keyring {keyring}: it is ASCII-armored, and gpgv(1) reads only binary keyrings",
            hint=f"gpg --dearmor < {keyring} > {keyring.with_suffix('.gpg')}; set KEYRING to that",
        )
    removed = not configured and releases.has_ended(suite) and REMOVED_KEYS.is_file()
    return (keyring, REMOVED_KEYS) if removed else (keyring,)


def bootstrap(
    root: Path, plan: BootstrapPlan, on_line: Callable[[str], None] = log.info
) -> tuple[str, ...]:
    """Installs the plan's packages into a mounted, empty guest, and removes host-specific files.

    Returns:
        files that guests must not share, see `per_guest.remake.separate`. If there are any, the
        bootstrap must not be cached.

    Raises:
        KitError: the engine failed (the message has its most useful line), or a mirror, see
            `mirror_check.check`.
    """
    log.info("engine: %s; mirror: %s (from %s)", plan.engine,
             plan.mirrors.main or "its default", plan.mirrors.origin)  # fmt: skip
    links = scrub.usr_directories(plan.arch)
    scrub.prepare_empty_tree(
        root, links=links if plan.engine == "mmdebstrap" and merges_usr(plan) else ()
    )
    archives = served(plan, plan.mirrors) if plan.mirrors.main else []
    with step("packages"), _keyring_files(root, plan) as (keyring, no_keys):
        if plan.engine == "debootstrap":
            _run_engine(debootstrap_argv(plan, root, keyring), root, plan, on_line)
        else:
            lines = apt_sources.render_sources_list(
                plan.suite, archives, plan.components, keyring
            ).splitlines()
            _run_engine(mmdebstrap_argv(plan, root, keyring, no_keys, lines), root, plan, on_line)
    target = GuestTree(root)
    with step("initramfs"), chroot(target, ()):
        make_initramfs(target)
    if not plan.mirrors.main and plan.engine == "debootstrap":
        archives = served(plan, _engines_mirrors(target, plan))
    if archives:
        target.write(
            SOURCES_LIST, apt_sources.render_sources_list(plan.suite, archives, plan.components)
        )
    scrub.remove_host_specifics(root)
    return remake.separate(target)


def _engines_mirrors(target: GuestTree, plan: BootstrapPlan) -> Mirrors:
    """The mirrors for debootstrap's default mirror, which it writes into sources.list."""
    written = apt_sources.parse_one_line(target.read(SOURCES_LIST))
    return mirrors.choose(
        plan.suite,
        plan.family,
        mirror=written[0].uri,
        security_mirror=plan.mirrors.security,
        entries=(),
        families={},
    )


@contextmanager
def _keyring_files(root: Path, plan: BootstrapPlan) -> Iterator[tuple[Path, Path]]:
    """Makes one file with all keys, since engines take only one, and an empty directory.

    They are made in the guest, so that nothing stays on the node after a SIGKILL.
    """
    directory = root / ".bootstrap-keys"
    no_keys = directory / "none"
    no_keys.mkdir(parents=True)
    keyring = directory / "all.gpg"
    keyring.write_bytes(b"".join(path.read_bytes() for path in plan.keyrings))
    for path, mode in ((directory, 0o755), (no_keys, 0o755), (keyring, 0o644)):
        path.chmod(mode)  # apt reads them as the user _apt
    try:
        yield keyring, no_keys
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run_engine(
    argv: Sequence[str], root: Path, plan: BootstrapPlan, on_line: Callable[[str], None]
) -> None:
    output = EngineOutput(on_line)
    proxy = {"http_proxy": plan.proxy, "https_proxy": plan.proxy} if plan.proxy else {}
    container = NO_DOCKER if plan.engine == "debootstrap" else {}
    try:
        # Engines would mount a /proc through which packages could change the node's kernel.
        # debootstrap uses a /proc that is mounted, mmdebstrap only with --skip (`mmdebstrap_argv`).
        # Without syncs until the guest is unmounted: see node.isolation.nosync.
        with proc_of_guest(GuestTree(root)):
            run(
                [*CONFINED, *argv],
                what=plan.engine,
                env={**NO_INITRD, **container, **proxy},
                on_line=output,
                syncs=False,
            )
    except CommandError as error:
        raise _engine_error(error, root, plan, output) from error


def _engine_error(
    error: CommandError, root: Path, plan: BootstrapPlan, output: EngineOutput
) -> KitError:
    """The error for users; logs the last lines of the engine and of its own log file."""
    own_log = root / "debootstrap/debootstrap.log"
    own = own_log.read_text(errors="replace").splitlines() if own_log.is_file() else []
    for line in [*output.tail(), *own[-5:]]:
        log.error("  %s", line)
    what = f"bootstrap of {plan.suite} by {plan.engine}"
    fault = output.fault() or error.message
    # If a disk is full, debootstrap may report that a file already exists.
    if re.search("No space left|enough free space", "\n".join([fault, *own[-5:]])):
        need = output.disk_usage()
        return KitError(
            f"{what}: a disk of the guest is too small"
            + (f": the packages need more than {size(need)}" if need else ""),
            hint="make it larger (a guest with a kernel needs 1 GiB or more): "
            + "; ".join(_free_space_of_each(root)),
        )
    return KitError(f"{what}: {fault}", hint="see the lines above for details")


def _free_space_of_each(root: Path) -> list[str]:
    """A text for the free space of each file system of the guest."""
    places = [root, *(path for path in sorted(root.iterdir()) if path.is_mount())]
    lines = []
    for place in places:
        figures = os.statvfs(place)
        total, free = (
            size(blocks * figures.f_frsize) for blocks in (figures.f_blocks, figures.f_bavail)
        )
        lines.append(f"/{place.relative_to(root)}".rstrip(".") + f" has {free} of {total} free")
    return lines


def make_initramfs(target: GuestTree) -> None:
    """Makes an initramfs for each kernel without one, with the scripts that its package runs.

    For links to kernels (linux-update-symlinks(1)), the links to their initramfs are made, too.
    """
    for image in sorted(target.root.glob("boot/vmlinu[xz]-*")):
        version = image.name.partition("-")[2]
        if (target.root / f"boot/initrd.img-{version}").exists():
            continue
        for hook in INITRD_HOOKS:
            if target.exists(hook):
                target.run([f"/{hook}", version, f"/boot/{image.name}"], on_line=log.debug)
    for link in [*target.root.glob("vmlinu[xz]*"), *target.root.glob("boot/vmlinu[xz]*")]:
        if not link.is_symlink():
            continue
        name = re.sub("vmlinu[xz]", "initrd.img", link.name)
        goal = re.sub("vmlinu[xz]", "initrd.img", str(link.readlink()))
        if (link.parent / goal).exists():
            target.symlink(str((link.parent / name).relative_to(target.root)), goal)
