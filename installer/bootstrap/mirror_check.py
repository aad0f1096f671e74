"""Checks that the mirrors have the suites that a guest needs, signed by the right keys."""

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

# gpgv's status of signatures that apt does not accept (doc/DETAILS of GnuPG).
_WORTHLESS = {
    "EXPKEYSIG": "which has expired: look for a newer package of the keyring;"
    " BOOTSTRAP=debootstrap accepts it",
    "REVKEYSIG": "which was revoked",
    "EXPSIG": "whose signature has expired",
}


_TIME = "%Y-%m-%d %H:%M UTC"


def check(plan: BootstrapPlan) -> None:
    """Checks the suites of all archives (`mirrors.archives`) on their mirrors.

    An engine's default mirror is not checked, since its URL is not known. If it does not answer,
    the engine fails after the disks have been written.

    Raises:
        KitError: a mirror does not answer, an index is not signed by the plan's keys, the main or
            the security suite is missing, or the engine would not accept an index.
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
    """URI and suite of each missing archive that the guest does not need; else it is an error."""
    from installer.bootstrap import (
        archive,  # imports HTTP and TLS, which most creates do not need
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
            # Object stores answer 403 for files that do not exist. The main suite was found before,
            # so a suite that the guest does not need counts as missing.
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
                + ("; for another distribution, set SUITE to the code name" if plan.alias else ""),
            )
        # No guest or cache without security updates may be made unnoticed. A release that left the
        # mirrors gets no updates any more.
        if suite == security and not releases.left_mirrors(plan.suite):
            raise KitError(
                f"suite {suite}: the mirror {uri} does not have it, so guests would get no"
                " security updates",
                hint="set SECURITY_MIRROR to one that has it, or to none for no security updates",
            )
        missing.append((uri, suite))
    return missing


def _require_usable(
    plan: BootstrapPlan, mirrors: Mirrors, uri: str, suite: str, release: ReleaseFile
) -> None:
    """Refuses an index that the engine would not accept, or that lacks components or architecture.

    apt, and so mmdebstrap, checks the times (apt-secure(8)), debootstrap does not. Both ignore a
    missing component.
    """
    what, now = f"suite {suite} of the mirror {uri}", datetime.now(UTC)
    if plan.engine != "debootstrap":
        if made := release.from_the_future(now):
            raise KitError(
                f"{what}: its index was made at {made:{_TIME}}, but this node's clock says"
                f" {now:{_TIME}}",
                hint="set the node's clock: see timedatectl",
            )
        until = release.expired(now)
        if until and not releases.has_ended(plan.suite):  # see `apt_sources.render_sources_list`
            raise KitError(
                f"{what}: its index expired at {until:{_TIME}}, and this node's clock says"
                f" {now:{_TIME}}",
                hint="check why the mirror is no longer updated, or use another one;"
                " BOOTSTRAP=debootstrap accepts it",
            )
    if (uri, suite) != (mirrors.main, plan.suite):
        return
    if plan.alias and mirrors.origin == "settings" and release.origin != "Debian":
        raise KitError(
            f"suite {plan.alias}: that is {suite} of Debian, but the mirror {uri} is of"
            f" {printable(release.origin[:80]) or 'an unknown distribution'}",
            hint="set SUITE to the code name of the release on that mirror",
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
    """Why gpgv(1) does not accept the signature of an index with these keys, or None.

    Args:
        keyrings: files of the node.
        engine: debootstrap accepts signatures by expired keys, apt of mmdebstrap does not.
        index: the content of InRelease or Release.
        signature: the detached signature of Release; None for InRelease.
    """
    if signature is None and not index.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        return "it is not a signed index"
    options = [f"--keyring={path}" for path in keyrings]
    with ExitStack() as stack:
        signed = [
            stack.enter_context(_in_memory(content))
            for content in (signature, index)
            if content is not None
        ]
        said = run(["gpgv", "--status-fd=1", *options, *signed], check=False)
    # Archives sign with keys of several releases, and a node may have only some of them.
    words = [line.split()[1:] for line in said.stdout.splitlines() if line.startswith("[GNUPG:] ")]
    found = {word[0]: word for word in words if word}
    if "BADSIG" in found:
        return "a signature is wrong: the index was altered"
    # gpgv also reports VALIDSIG for a signature by an expired key.
    if ("VALIDSIG" if engine == "debootstrap" else "GOODSIG") in found:
        return None
    if "NO_PUBKEY" in found:
        names = ", ".join(str(path) for path in keyrings)
        return f"it is signed by the key {found['NO_PUBKEY'][-1]}, which is not in {names}"
    for word, why in _WORTHLESS.items():
        if word in found:
            return f"it is signed by the key {found[word][1]}, {why}"
    return said.stderr.strip().rpartition("\n")[2] or "gpgv finds no signature"


@contextmanager
def _in_memory(content: bytes) -> Iterator[Path]:
    """Makes a file in memory, so that nothing has to be removed after a SIGKILL."""
    descriptor = os.memfd_create("index")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
