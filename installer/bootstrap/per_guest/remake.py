"""Gives each guest its own keys and identities, where packages make them at their installation.

Guests share a cached bootstrap. If a package makes such a file again when its postinst runs like at
its first installation (deb-postinst(5)), the file is removed, and made in each guest. If it does
not, the bootstrap must not be shared.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from installer.bootstrap.per_guest import identities, snapshot
from installer.bootstrap.per_guest.unpackaged import INFO, made_by_scripts
from installer.guest_tree import GuestTree, chroot
from node.errors import KitError
from node.log import log, step

# JSON in the root of a cached bootstrap: package -> the files that it makes again.
RECORD = ".remade-by-packages"
# The maximum number of a package's files, and their size. Keys and identities are few and small. A
# database has more and larger files, which are not tried.
MOST = 32
LARGEST = 64 * 1024  # bytes


def separate(target: GuestTree) -> tuple[str, ...]:
    """Removes from a new bootstrap the files that packages make again and guests must not share.

    Returns:
        the files that were not removed, with the reason of each. If there are any, the bootstrap
        must not be shared.

    Raises:
        KitError: the guest's programs cannot be run.
    """
    found = _not_to_be_shared(target.root)
    if not found:
        return ()
    makers = possible_makers(_postinsts(target.root), found)
    with step("keys and identities of packages"), chroot(target, ()):
        remade, same, lost = _tried(target, makers)
        if remade:
            _drop_initramfs(target, [path for paths in remade.values() for path in paths])
    left = _not_to_be_shared(target.root)
    target.write(RECORD, json.dumps(remade), 0o600)
    left |= dict.fromkeys(lost, "changed by the trial of a package")
    return tuple(f"/{path} ({why})" for path, why in sorted(left.items()) if path not in same)


def _not_to_be_shared(root: Path) -> dict[str, str]:
    """The files that scripts made and that have a key or an identity, with the reason of each."""
    return {
        path: why
        for path, mode, data in made_by_scripts(root)
        if (why := identities.find_identity(path, mode, data)) is not None
    }


def remake(target: GuestTree) -> bool:
    """Lets packages make the files that `separate` removed, in a guest whose programs can be run.

    Returns whether there were any: an initramfs may be missing, too.

    Raises:
        KitError: a package did not make a file.
    """
    if not target.exists(RECORD):
        return False
    remade: Mapping[str, list[str]] = json.loads(target.read(RECORD))
    target.remove(RECORD)
    for package, paths in remade.items():
        with step(f"keys and identities of {package}"):
            _configure(target, package)
        for path in paths:
            if not _size(target, path):
                raise KitError(
                    f"package {package} in the guest: it did not make /{path} again",
                    hint=f"do not list {package} in the settings, but install it in the guest",
                )
    return bool(remade)


def possible_makers(postinsts: Mapping[str, str], paths: Iterable[str]) -> dict[str, list[str]]:
    """The packages whose postinst names a file, or else its directory, and these files.

    Args:
        postinsts: the scripts by their packages.
        paths: the files, without a leading slash.
    """
    makers: dict[str, list[str]] = {}
    for path in paths:
        # Only whole names match: /etc/nvme/hostid is not in /etc/nvme/hostid-old.
        directory = path.rpartition("/")[0]
        for pattern in (rf"/{re.escape(path)}(?![\w.-])", rf"/{re.escape(directory)}/"):
            named = [name for name, text in postinsts.items() if re.search(pattern, text)]
            if named:
                break
        for name in named:
            makers.setdefault(name, []).append(path)
    return makers


def _postinsts(root: Path) -> dict[str, str]:
    return {
        path.name.removesuffix(".postinst"): path.read_text(errors="replace")
        for path in sorted((root / INFO).glob("*.postinst"))
    }


def _configure(target: GuestTree, package: str) -> int:
    """Runs a package's postinst like dpkg at the first installation; returns its exit code."""
    name = package.partition(":")[0]
    environment = (f"DPKG_MAINTSCRIPT_PACKAGE={name}", "DPKG_MAINTSCRIPT_NAME=postinst")
    script = f"/{INFO}/{package}.postinst"
    result = target.run(
        ["env", *environment, "INITRD=No", script, "configure", ""],
        check=False,
        on_line=lambda line: log.debug("%s", line),
    )
    return result.exit_code


def _tried(
    target: GuestTree, makers: Mapping[str, list[str]]
) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """Runs the postinst of each package without these files, to see whether it makes them again.

    If it does not make all of them, all files that scripts made are restored: a certificate belongs
    to its key.

    Returns:
        the files that packages make again with new content, which are removed; files that they make
        again with the same content; changed files that were too large to be restored.
    """
    remade: dict[str, list[str]] = {}
    same: list[str] = []
    lost: list[str] = []
    for package, paths in makers.items():
        left = [path for path in paths if _size(target, path)]  # not removed for another package
        large = len(left) > MOST or any(_size(target, path) > LARGEST for path in left)
        if large or not left:
            continue
        before = snapshot.taken(target.root)
        for path in left:
            target.remove(path)
        if _configure(target, package) != 0 or not all(_size(target, path) for path in left):
            lost += snapshot.put_back(target, before)
            continue
        for path in left:
            place, old = target.path(path), before[path]
            if place.read_bytes() == old.content:
                snapshot.write(place, old)
                same.append(path)
            else:
                place.unlink()
                remade.setdefault(package, []).append(path)
    return remade, same, lost


def _size(target: GuestTree, path: str) -> int:
    """The size of a regular file in bytes; 0 if there is none."""
    place = target.path(path)
    return 0 if place.is_symlink() or not place.is_file() else place.stat().st_size


def _drop_initramfs(target: GuestTree, paths: Iterable[str]) -> None:
    """Removes each initramfs that has or may have copies of these files; it is made again."""
    names = {PurePosixPath(path).name for path in paths}
    for image in target.root.glob("boot/initrd.img-*"):
        listed = target.run(["lsinitramfs", f"/boot/{image.name}"], check=False)
        inside = {PurePosixPath(line).name for line in listed.stdout.splitlines()}
        if listed.exit_code != 0 or names & inside:
            image.unlink()
