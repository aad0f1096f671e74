"""Makes the tree of a node with another release of Debian, once, and keeps it like bootstraps.

`/usr/bin/python3 -m tests.e2e.node_tree` makes it if it is missing, and prints its path.
"""

import hashlib
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from installer.bootstrap import apt_sources, mirrors
from installer.bootstrap.plan import BootstrapPlan, mmdebstrap_argv
from node.isolation.nosync import suppressor
from node.lockfile import locked, part_of, unlink_if_free
from tests import bootstraps

TOP = Path(__file__).parents[2]
SUITE = "trixie"
# The tree's sources.list names it, too: the tree has it at the same path.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SIZE = 8 * 2**30  # sparse
# Runs in a mount namespace of its own: if it is killed, nothing stays mounted or attached. The
# option discard frees the space of packages that apt has downloaded and removed.
MAKE = """
mkfs.ext4 -q -F -O ^has_journal -m 0 -E lazy_itable_init=1,nodiscard "$0"
mount -o loop,discard,noatime "$0" /media
mkdir /media/tree /media/no-keys
"$@"
umount /media
"""
ROOT, NO_KEYS = Path("/media/tree"), Path("/media/no-keys")
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "INITRD": "No",  # an initramfs takes 20 s, and nothing boots it
    **{name: os.environ[name] for name in ("http_proxy", "https_proxy") if name in os.environ},
}


class TreeError(Exception):
    """The tree could not be made; the message has the engine's last lines."""


def node_tree() -> Path:
    """The image with the tree of a node that has the packages of `make check`."""
    return kept_tree(SUITE, _packages())


def kept_tree(suite: str, packages: Sequence[str], options: Sequence[str] = ()) -> Path:
    """The image with a tree, for `on-node`. The first caller makes it, all others wait.

    It gets its name when it is complete. Images that are too old are removed, and so are
    incomplete ones of killed runs.

    Args:
        suite: a release of Debian.
        packages: names of the packages to install in it.
        options: options of mmdebstrap(1), which override those that the kit gives.

    Raises:
        TreeError: the engine failed, as it does when the mirror cannot be reached.
    """
    chosen = os.environ.get("SANDBOX_CACHE")
    directory = (Path(chosen) if chosen else bootstraps.PLACE) / "nodes"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = _engine_argv(suite, packages, options)
    facts = "\0".join((*argv, MAKE, str(sorted(ENVIRONMENT))))
    image = directory / f"{suite}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.ext4"
    with locked(directory / "lock", "another run that makes the tree of a node"):
        _tidy(directory)
        if not image.exists():
            _make(image, argv)
    return image


def _make(image: Path, argv: Sequence[str]) -> None:
    with part_of(image) as (part, _):
        os.truncate(part, SIZE)
        made = subprocess.run(
            [*NAMESPACES, "sh", "-ec", MAKE, part, *argv],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=suppressor(),  # half of the time would be fsync(2) of dpkg
            check=False,
        )
        if made.returncode != 0:
            raise TreeError("\n".join(made.stdout.splitlines()[-30:]))
        part.rename(image)


def _engine_argv(suite: str, packages: Sequence[str], options: Sequence[str]) -> list[str]:
    """The mmdebstrap command; its mirrors are those that guests of this node would get."""
    dpkg = ["dpkg", "--print-architecture"]
    plan = BootstrapPlan(
        engine="mmdebstrap",
        suite=suite,
        family="debian",
        arch=subprocess.run(dpkg, stdout=subprocess.PIPE, text=True, check=True).stdout.strip(),
        mirrors=mirrors.choose_on_this_node(suite, None, None),
        components=("main",),
        packages=tuple(packages),
        merged_usr="auto",
        keyrings=(KEYRING,),
        proxy=None,
    )
    archives = mirrors.archives(suite, plan.family, plan.mirrors)
    lines = apt_sources.render_sources_list(suite, archives, plan.components, KEYRING).splitlines()
    argv = mmdebstrap_argv(plan, ROOT, KEYRING, NO_KEYS, lines)
    operands = argv.index(suite)
    return [*argv[:operands], *options, *argv[operands:]]


def _packages() -> list[str]:
    """The packages that `make check` would install on such a node."""
    listed = subprocess.run(
        ["make", "--silent", f"--directory={TOP}", "list-packages"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return sorted(listed.stdout.split())


def _tidy(directory: Path) -> None:
    for part in directory.glob(".*.part"):
        unlink_if_free(part)
    for image in directory.glob("*.ext4"):
        if time.time() - image.stat().st_mtime > bootstraps.MAX_DAYS * 86400:
            image.unlink()  # a node that uses it still has the file open


if __name__ == "__main__":
    print(node_tree())
