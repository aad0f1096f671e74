"""Upgrades the packages of a guest from an old cache, before the hooks are applied."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import ceil, floor
from pathlib import Path
from urllib.parse import urlsplit

from installer.bootstrap.output import EngineOutput
from installer.bootstrap.plan import BootstrapPlan
from installer.guest_tree import GuestTree
from node.cleanup import undone
from node.errors import KitError
from node.isolation.mount import mounted, remounted_read_only
from node.log import log, step
from node.run import Result
from node.text import size

# A mirror that does not answer must not delay a create for longer.
UPDATE_SECONDS = 60
DOWNLOAD_SECONDS = 600
# Free space in bytes that is needed in addition to apt's estimate, by directories that may be on
# separate file systems: for an initramfs, files that are replaced one package at a time, and the
# databases of dpkg. For directories on the same file system, the largest value counts.
SPARE = {"": 64 << 20, "boot": 128 << 20, "usr": 256 << 20, "var": 64 << 20}
# apt only estimates the sum. Nearly all files of packages are in this directory.
PACKAGES_IN = "usr"
CONFIGURATION = "etc/apt/apt.conf.d/99ganeti-instance-kit-upgrade"
# Upgrades installed packages and adds new kernels, but removes nothing.
UPGRADE = ("apt-get", "--assume-yes", "--with-new-pkgs", "upgrade")
# The node's files for name resolution, which are also used in a bootstrap.
RESOLVER = ("etc/resolv.conf", "etc/hosts")
TIMED_OUT = (124, -9)  # timeout(1) after SIGTERM; after SIGKILL, which also ends timeout itself


def is_due(days: int | None, age: float) -> bool:
    """Whether packages of this age are upgraded with this UPGRADE; both in days."""
    return days is not None and age >= days


def configuration(proxy: str | None) -> str:
    """The apt.conf(5) that is used only for the upgrade; may hold the proxy's password."""
    lines = [
        'APT::Update::Error-Mode "any";',
        'Acquire::Retries "0";',
        'Acquire::Languages "none";',
        'Dpkg::Options { "--force-confdef"; "--force-confold"; };',
    ]
    for scheme in ("http", "https"):
        lines.append(f'Acquire::{scheme}::Timeout "20";')
        lines += [f'Acquire::{scheme}::Proxy "{proxy}";'] if proxy else []
    return "".join(f"{line}\n" for line in lines)


def upgrade(target: GuestTree, plan: BootstrapPlan, age: float) -> None:
    """Upgrades the packages of a guest in whose chroot programs can be run.

    If the mirrors do not answer in time, or there is not enough space, there is a warning and no
    upgrade.

    Args:
        target: the guest.
        plan: the plan of its bootstrap, whose mirrors and proxy are used.
        age: the age of its packages in days.

    Raises:
        KitError: an upgrade has begun and failed.
    """
    with step("upgrade of the packages"), _apt_usable(target, plan):
        problem = _run_for_at_most(target, UPDATE_SECONDS, ["apt-get", "update"])
        output = EngineOutput(log.info)
        if not problem:
            download = [*UPGRADE, "--download-only"]
            problem = _run_for_at_most(target, DOWNLOAD_SECONDS, download, output)
        if not problem:
            problem = _lack_of_room(target.root, output.disk_usage())
        if problem:
            log.warning("packages are %.1f days old and are not upgraded: %s", age, problem)
            return
        output = EngineOutput(log.info)
        result = target.run([*UPGRADE, "--no-download"], check=False, on_line=output)
        if result.exit_code != 0:
            raise KitError(
                f"upgrade of the packages: {_why_it_failed(result, output)}",
                hint="see the lines above for details; UPGRADE=no makes guests without an upgrade",
            )
        log.info("%s", _summary(result.stdout))


def _run_for_at_most(
    target: GuestTree, seconds: int, argv: Sequence[str], output: EngineOutput | None = None
) -> str | None:
    """Runs a program of the guest with a time limit; returns why it failed, or None."""
    output = output or EngineOutput(log.debug)
    limited = ["timeout", "--kill-after=5", str(seconds), *argv]
    result = target.run(limited, check=False, on_line=output)
    if result.exit_code in TIMED_OUT:
        return f"no answer within {seconds} seconds"
    return _why_it_failed(result, output) if result.exit_code != 0 else None


def _why_it_failed(result: Result, output: EngineOutput) -> str:
    # apt-get prints this at its end, with the reason on the same line, unlike after "Err:".
    fetch = re.search(r"^[WE]: Failed to fetch (.+)", result.stderr, re.MULTILINE)
    if fetch:
        return fetch[1]
    return output.fault() or f"exit code {result.exit_code}"


def _lack_of_room(root: Path, needed: int) -> str | None:
    """Which file system has not enough free space for an upgrade of this size, or None."""
    for name, least in _needs(root, needed).items():
        figures = os.statvfs(root / name)
        free = figures.f_bavail * figures.f_frsize
        if free < least:
            return f"it needs {size(least, ceil)} in /{name}, but {size(free, floor)} are free"
    return None


def _needs(root: Path, needed: int) -> dict[str, int]:
    """The bytes that must be free on each file system, by its first directory in SPARE."""
    first: dict[int, str] = {}
    needs: dict[str, int] = {}
    for name, spare in SPARE.items():
        place = root / name
        if place.is_symlink() or not place.is_dir():
            continue
        name = first.setdefault(place.stat().st_dev, name)
        needs[name] = max(needs.get(name, 0), spare)
    holder = root / PACKAGES_IN
    device = (holder if holder.is_dir() else root).stat().st_dev
    needs[first[device]] += needed
    return needs


def _summary(stdout: str) -> str:
    """apt-get's line "3 upgraded, 1 newly installed, 0 to remove and 0 not upgraded."."""
    lines = (line for line in stdout.splitlines() if " upgraded, " in line)
    return next(lines, "packages are up to date").rstrip(".")


@contextmanager
def _apt_usable(target: GuestTree, plan: BootstrapPlan) -> Iterator[None]:
    """Sets up the guest's apt to reach the mirrors; at the end, the setup is removed."""
    with ExitStack() as stack:
        target.write(CONFIGURATION, configuration(plan.proxy), 0o600)
        stack.enter_context(undone(lambda: target.remove(CONFIGURATION)))
        for name in RESOLVER:
            stack.enter_context(_node_file_in_place(target, name))
        for mirror in {plan.mirrors.main, plan.mirrors.security}:
            if mirror and urlsplit(mirror).scheme == "file":
                stack.enter_context(_node_directory_in_place(target, Path(urlsplit(mirror).path)))
        yield
        target.run(["apt-get", "clean"])
        for pattern in ("var/lib/apt/lists/*_*", "var/cache/apt/*.bin"):
            for path in target.root.glob(pattern):
                target.remove(str(path.relative_to(target.root)))


@contextmanager
def _node_file_in_place(target: GuestTree, name: str) -> Iterator[None]:
    """Replaces a file of the guest, which may be a link or missing, by the node's, temporarily."""
    path, aside = target.path(name), target.path(f"{name}.aside")
    existed = os.path.lexists(path)
    if existed:
        path.rename(aside)
    try:
        node = Path("/") / name
        target.write(name, node.read_bytes() if node.exists() else b"")
        yield
    finally:
        path.unlink(missing_ok=True)
        if existed:
            aside.rename(path)


@contextmanager
def _node_directory_in_place(target: GuestTree, directory: Path) -> Iterator[None]:
    """Mounts a directory of the node read-only at the same path in the guest."""
    relative = str(directory).lstrip("/")
    missing = [
        place
        for place in (directory, *directory.parents)
        if place != Path("/") and not target.exists(str(place).lstrip("/"))
    ]
    target.make_directory(relative)
    try:
        with mounted(directory, target.path(relative), fstype="none", options=("bind",)) as place:
            remounted_read_only(place)
            yield
    finally:
        for place in missing:
            target.path(str(place).lstrip("/")).rmdir()
