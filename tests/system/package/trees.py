"""Minimal systems for tests of packages: a tree for each release of Debian, see on-node."""

import re
import subprocess
from pathlib import Path

from tests.e2e.node_tree import kept_tree

TOP = Path(__file__).parents[3]
ON_NODE = TOP / "tests/e2e/on-node"
SUITES = ("bookworm", "trixie")
PREDECESSOR = "ganeti-instance-debootstrap"
# The dependencies of the predecessor, for tests without network.
ITS_DEPENDS = ("debootstrap", "dump", "e2fsprogs", "fdisk", "kpartx", "mount")
OPTIONS = (
    "--variant=apt",
    '--customize-hook=echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/unsafe-io"',
    # The real package of this release.
    f'--customize-hook=cd "$1/srv" && apt-get -o Dir="$1" download {PREDECESSOR}',
)


def clean_tree(suite: str) -> Path:
    """The image with a minimal system, and the dependencies of both packages.

    /srv/ganeti-instance-debootstrap_*.deb is the predecessor's package.
    """
    return kept_tree(suite, sorted({*depends(), *ITS_DEPENDS}), OPTIONS)


def depends() -> list[str]:
    """The packages that debian/control names as dependencies, and Python."""
    control = (TOP / "debian/control").read_text()
    field = re.search(r"^Depends:\n((?: .*\n)+)", control, re.MULTILINE)
    assert field
    return ["python3", *re.findall(r"^ ([a-z][a-z0-9.+-]+)", field[1], re.MULTILINE)]


def on(image: Path, packages: Path, script: str) -> str:
    """Runs a shell script as root on a new system; returns what it prints.

    `$packages` is the directory `packages`. Questions get no answer.
    """
    ran = subprocess.run(
        [ON_NODE, image, "bash", "-euo", "pipefail", "-c", f"packages=$SANDBOX_CACHE\n{script}"],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "SANDBOX_CACHE": str(packages),
            "SANDBOX_TMP": str(packages.parent),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout
