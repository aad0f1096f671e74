"""The plan of a bootstrap, and the commands of debootstrap(8) and mmdebstrap(1) for it; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installer import releases
from installer.bootstrap.mirrors import Mirrors
from node.errors import KitError

MMDEBSTRAP_HOOKS = "/usr/share/mmdebstrap/hooks"


@dataclass(frozen=True)
class BootstrapPlan:
    """All that determines the tree that an engine makes; the last three do not change the tree.

    Attributes:
        engine: "debootstrap" or "mmdebstrap".
        family: the suite's distribution, see `releases.distribution`.
        packages: sorted, without duplicates; in addition to all of priority important or higher.
        merged_usr: "auto" (debootstrap's default for the suite), "yes" or "no".
        keyrings: files of the node; a signature by a key of any of them is accepted.
        users_hosts: the hosts of mirrors that OS parameters name, and not files of the node.
        alias: SUITE as it was set, if that is an alias of Debian's ("stable"); else "".
    """

    engine: str
    suite: str
    family: str
    arch: str
    mirrors: Mirrors
    components: tuple[str, ...]
    packages: tuple[str, ...]
    merged_usr: str
    keyrings: tuple[Path, ...]
    proxy: str | None = field(repr=False)  # may hold a password
    users_hosts: frozenset[str] = frozenset()
    alias: str = ""


def check_merged_usr(suite: str, merged_usr: str) -> None:
    """Refuses MERGED_USR="no" for suites whose packages need a merged /usr."""
    if merged_usr == "no" and not releases.usr_may_be_unmerged(suite):
        raise KitError(
            f"suite {suite}: its packages need a merged /usr, which MERGED_USR turns off",
            hint="MERGED_USR=no is only for bullseye, jammy (Ubuntu) and older",
        )


def merges_usr(plan: BootstrapPlan) -> bool:
    """Whether the kit merges /usr for a suite whose own packages do not."""
    if not releases.usr_may_be_unmerged(plan.suite):
        return False
    if plan.merged_usr == "auto":
        return releases.usr_is_merged(plan.suite)
    return plan.merged_usr == "yes"


def debootstrap_argv(plan: BootstrapPlan, root: Path, keyring: Path) -> list[str]:
    """The command of debootstrap(8); `keyring` is one file with all of the plan's keys."""
    argv = [
        "debootstrap",
        f"--arch={plan.arch}",
        f"--components={','.join(plan.components)}",
        f"--keyring={keyring}",
        "--force-check-gpg",
    ]
    if plan.packages:
        argv.append(f"--include={','.join(plan.packages)}")
    if plan.merged_usr != "auto":
        argv.append("--merged-usr" if plan.merged_usr == "yes" else "--no-merged-usr")
    argv += [plan.suite, str(root)]
    if plan.mirrors.main:
        argv.append(plan.mirrors.main)
        if releases.debootstrap_script(plan.suite) is None:
            # A suite that is newer than debootstrap is made like the latest of its distribution.
            script = {"debian": "sid", "ubuntu": "gutsy"}.get(plan.family)
            argv += [str(releases.SCRIPTS / script)] if script else []
    return argv


def mmdebstrap_argv(
    plan: BootstrapPlan, root: Path, keyring: Path, no_keys: Path, lines: Sequence[str]
) -> list[str]:
    """The command of mmdebstrap(1).

    Args:
        plan: what to install.
        root: the mounted guest.
        keyring: one file with all of the plan's keys.
        no_keys: an empty directory. It replaces /etc/apt/trusted.gpg.d, so that apt does not accept
            other keys of the node.
        lines: the lines of sources.list, with keyrings; empty for the engine's default.
    """
    argv = [
        "mmdebstrap",
        "--verbose",
        "--mode=root",
        "--format=directory",
        "--variant=important",
        f"--architectures={plan.arch}",
        f"--components={','.join(plan.components)}",
        # Data disks and a /proc are mounted in the root, and we choose the keyrings, see below.
        "--skip=check/empty,check/signed-by,chroot/mount/proc",
    ]
    if not lines:
        argv += [f"--keyring={keyring}", f"--keyring={no_keys}"]
    if plan.packages:
        argv.append(f"--include={','.join(plan.packages)}")
    if not releases.usr_may_be_unmerged(plan.suite):
        argv.append(f"--hook-directory={MMDEBSTRAP_HOOKS}/maybe-merged-usr")
    if any(" file:" in line for line in lines):
        argv.append(f"--hook-directory={MMDEBSTRAP_HOOKS}/file-mirror-automount")
    return [*argv, plan.suite, str(root), *lines]
