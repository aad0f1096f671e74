"""Upgrades the packages of a guest whose cache is old, before the hooks work on it."""

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

# A mirror that does not answer must not hold up a create for longer than this.
UPDATE_SECONDS = 60
DOWNLOAD_SECONDS = 600
# Free space that must be left beside what apt reckons with, in bytes, by directories that may be
# file systems of their own: an initramfs, files that are replaced one package at a time, the
# databases of dpkg. What is on the same file system is not added up.
SPARE = {"": 64 << 20, "boot": 128 << 20, "usr": 256 << 20, "var": 64 << 20}
# apt tells only the sum: nearly all of what packages bring is there.
PACKAGES_IN = "usr"
CONFIGURATION = "etc/apt/apt.conf.d/99ganeti-instance-kit-upgrade"
# Only what is installed, and new kernels: nothing is removed.
UPGRADE = ("apt-get", "--assume-yes", "--with-new-pkgs", "upgrade")
# What names are looked up with: the node's, as in a bootstrap.
RESOLVER = ("etc/resolv.conf", "etc/hosts")
TIMED_OUT = (124, -9)  # timeout(1): SIGTERM was enough, or it ends by SIGKILL itself, too


def is_due(days: int | None, age: float) -> bool:
    """Whether the setting UPGRADE wants packages of that age (in days) to be upgraded."""
    return days is not None and age >= days


def configuration(proxy: str | None) -> str:
    """apt.conf(5) for the upgrade alone; a proxy may hold a password."""
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

    Without an answer of the mirrors in time, or without the room, the guest stays as it is, with a
    warning.

    Args:
        target: the guest.
        plan: what it was made from; its mirrors and proxy are used.
        age: of its packages, in days.

    Raises:
        KitError: an upgrade that had begun failed.
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
                hint="the lines above have more; UPGRADE=no makes guests without an upgrade",
            )
        log.info("%s", _summary(result.stdout))


def _run_for_at_most(
    target: GuestTree, seconds: int, argv: Sequence[str], output: EngineOutput | None = None
) -> str | None:
    """Runs a program of the guest for so long at most; why it failed, or None."""
    output = output or EngineOutput(log.debug)
    limited = ["timeout", "--kill-after=5", str(seconds), *argv]
    result = target.run(limited, check=False, on_line=output)
    if result.exit_code in TIMED_OUT:
        return f"no answer within {seconds} seconds"
    return _why_it_failed(result, output) if result.exit_code != 0 else None


def _why_it_failed(result: Result, output: EngineOutput) -> str:
    # apt-get says so at its end, with the reason that "Err:" leaves to the next line.
    fetch = re.search(r"^[WE]: Failed to fetch (.+)", result.stderr, re.MULTILINE)
    if fetch:
        return fetch[1]
    return output.fault() or f"exit code {result.exit_code}"


def _lack_of_room(root: Path, needed: int) -> str | None:
    """Which file system has less free than an upgrade takes that adds so many bytes, or None."""
    for name, least in _needs(root, needed).items():
        figures = os.statvfs(root / name)
        free = figures.f_bavail * figures.f_frsize
        if free < least:
            return f"it takes {size(least, ceil)} in /{name}, and {size(free, floor)} are free"
    return None


def _needs(root: Path, needed: int) -> dict[str, int]:
    """Bytes that must be free on each file system, by the first directory of it."""
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
    """apt-get's "3 upgraded, 1 newly installed, 0 to remove and 0 not upgraded."."""
    lines = (line for line in stdout.splitlines() if " upgraded, " in line)
    return next(lines, "packages are up to date").rstrip(".")


@contextmanager
def _apt_usable(target: GuestTree, plan: BootstrapPlan) -> Iterator[None]:
    """The guest's apt can reach the mirrors; at the end, nothing of it stays."""
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
    """The node's file stands in the place of the guest's, which may be a link, or missing."""
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
    """A directory of the node is at the same place in the guest, where nothing can change it."""
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
