"""Do the mirrors have what a guest needs, signed by the right keys?"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from installer import releases
from installer.bootstrap import release_file
from installer.bootstrap.mirrors import Mirrors, archives
from installer.bootstrap.plan import BootstrapPlan
from installer.bootstrap.release_file import ReleaseFile
from node.errors import KitError
from node.log import log
from node.run import run
from node.text import printable

# What gpgv says of signatures that apt takes for none (doc/DETAILS of GnuPG).
_WORTHLESS = {
    "EXPKEYSIG": "which has expired: is there a newer package of the keyring?"
    " BOOTSTRAP=debootstrap takes it all the same",
    "REVKEYSIG": "which was revoked",
    "EXPSIG": "whose signature has expired",
}


_TIME = "%Y-%m-%d %H:%M UTC"


def check(plan: BootstrapPlan) -> None:
    """Asks the mirrors for the suites of all archives, see `mirrors.archives`.

    An engine's default mirror is not asked, since its URL is not known: if that one is dead, the
    engine itself says so, after the disks have been written.

    Raises:
        KitError: one of them cannot be asked, is not signed by the plan's keys, or lacks the main
            suite or that of the security updates; or the engine will not take what it has.
    """
    _missing(plan, plan.mirrors)


def served(plan: BootstrapPlan, mirrors: Mirrors) -> list[tuple[str, str]]:
    """URI and suite of each archive that exists; a warning for each that does not."""
    missing = _missing(plan, mirrors)
    for uri, suite in missing:
        log.warning("mirror %s has no suite %s: the guest goes without it", uri, suite)
    security = releases.security_suite(plan.suite, plan.family)
    if security and not mirrors.security:
        log.warning("no mirror is set for %s: the guest gets no security updates", security)
    return [found for found in archives(plan.suite, plan.family, mirrors) if found not in missing]


def _missing(plan: BootstrapPlan, mirrors: Mirrors) -> list[tuple[str, str]]:
    """URI and suite of each archive that does not exist, and that the guest can do without."""
    from installer.bootstrap import (
        archive,  # brings HTTP and TLS, for which most creates have no use
    )

    verify = partial(signature_problem, plan.keyrings, plan.engine)
    asker = archive.Asker(plan.proxy, verify, public_only=plan.users_hosts)
    security = releases.security_suite(plan.suite, plan.family)
    missing = []
    for uri, suite in archives(plan.suite, plan.family, mirrors):
        is_main = (uri, suite) == (mirrors.main, plan.suite)
        try:
            index = asker.index(uri, suite)
        except archive.AccessError as error:
            # Object stores answer 403 for what they do not have. The main suite was had, and only
            # what a guest can do without is taken for missing.
            if is_main or suite == security or error.status != archive.FORBIDDEN:
                raise
            log.warning("%s", error.message)
            index = None
        if index is not None:
            _require_usable(plan, mirrors, uri, suite, release_file.parse(index))
            continue
        if is_main:
            named = f" ({plan.alias} of Debian)" if plan.alias else ""
            raise KitError(
                f"suite {suite}{named}: the mirror {uri} (from {mirrors.origin}) does not have it",
                hint=(
                    "it has reached its end of life: set MIRROR to an archive of old releases"
                    if releases.has_ended(plan.suite)
                    else "correct SUITE, or set MIRROR to one that has it"
                )
                + ("; of another distribution, name the release itself" if plan.alias else ""),
            )
        # A guest without them must not come about unnoticed, nor such a cache be kept. What has
        # reached its end of life gets none any more.
        if suite == security and not releases.left_mirrors(plan.suite):
            raise KitError(
                f"suite {suite}: the mirror {uri} does not have it, so guests would get no"
                " security updates",
                hint="set SECURITY_MIRROR to one that has it, or to none if they shall get none",
            )
        missing.append((uri, suite))
    return missing


def _require_usable(
    plan: BootstrapPlan, mirrors: Mirrors, uri: str, suite: str, release: ReleaseFile
) -> None:
    """Refuses an index of which the engine cannot make the guest; all others are taken.

    apt, and so mmdebstrap, heeds the times (apt-secure(8)), debootstrap does not. Both skip a
    component that is not there.
    """
    what, now = f"suite {suite} of the mirror {uri}", datetime.now(UTC)
    if plan.engine != "debootstrap":
        if made := release.from_the_future(now):
            raise KitError(
                f"{what}: its index was made at {made:{_TIME}}, and this node's clock says"
                f" {now:{_TIME}}",
                hint="set the node's clock: see timedatectl",
            )
        until = release.expired(now)
        if until and not releases.has_ended(plan.suite):  # see `apt_sources.render`
            raise KitError(
                f"{what}: its index has expired at {until:{_TIME}}, and this node's clock says"
                f" {now:{_TIME}}",
                hint="see why the mirror is no longer brought up to date, or take another one;"
                " BOOTSTRAP=debootstrap takes it all the same",
            )
    if (uri, suite) != (mirrors.main, plan.suite):
        return
    if plan.alias and mirrors.origin == "settings" and release.origin != "Debian":
        raise KitError(
            f"suite {plan.alias}: that is {suite} of Debian, and the mirror {uri} is of"
            f" {printable(release.origin[:80]) or 'nobody knows whom'}",
            hint="name the release itself as SUITE, as that mirror calls it",
        )
    lacking = release.lacking(plan.components)
    if lacking == plan.components:
        raise KitError(
            f"{what}: it does not have the components {', '.join(lacking)}",
            hint="correct COMPONENTS; the mirror has "
            + printable(release.fields["components"][:200]),
        )
    if lacking:
        log.warning("%s: it does not have the components %s", what, ", ".join(lacking))
    if not release.has_architecture(plan.arch):
        raise KitError(
            f"{what}: it does not have the architecture {plan.arch}",
            hint="correct ARCH, or set MIRROR to one that has it; this one has "
            + printable(release.fields["architectures"][:200]),
        )


def signature_problem(
    keyrings: Sequence[Path], engine: str, index: bytes, signature: bytes | None
) -> str | None:
    """Why an index of an archive is not signed by one of these keys, or None; asks gpgv(1).

    Args:
        keyrings: files of the node.
        engine: debootstrap takes signatures by keys that have expired, apt of mmdebstrap does not.
        index: an InRelease, or a Release.
        signature: that of a Release.
    """
    if signature is None and not index.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        return "it is no signed index at all"
    options = [f"--keyring={path}" for path in keyrings]
    with ExitStack() as stack:
        signed = [
            stack.enter_context(_in_memory(content))
            for content in (signature, index)
            if content is not None
        ]
        said = run(["gpgv", "--status-fd=1", *options, *signed], check=False)
    # Archives sign with the keys of several releases, of which a node may know only some.
    words = [line.split()[1:] for line in said.stdout.splitlines() if line.startswith("[GNUPG:] ")]
    found = {word[0]: word for word in words if word}
    if "BADSIG" in found:
        return "a signature is wrong: the index was altered"
    # gpgv says VALIDSIG of those of an expired key, too.
    if ("VALIDSIG" if engine == "debootstrap" else "GOODSIG") in found:
        return None
    if "NO_PUBKEY" in found:
        names = ", ".join(str(path) for path in keyrings)
        return f"signed by the key {found['NO_PUBKEY'][-1]}, which is not in {names}"
    for word, why in _WORTHLESS.items():
        if word in found:
            return f"by the key {found[word][1]}, {why}"
    return said.stderr.strip().rpartition("\n")[2] or "gpgv finds no signature"


@contextmanager
def _in_memory(content: bytes) -> Iterator[Path]:
    """A file that no directory names: after a SIGKILL nobody has to remove it."""
    descriptor = os.memfd_create("index")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
