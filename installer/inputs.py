"""Reads what a guest depends on: Ganeti's environment, and the files of the node."""

import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guest.instance import Instance
from guest.resolv import Resolver, parse, without_loopback
from installer import extra_sources
from installer.extra_sources import SourceFile
from installer.settings import Settings
from node.errors import KitError
from node.files import read_text
from node.run import run

# If /etc/resolv.conf names the stub of systemd-resolved, the second file has the upstream resolvers
# (systemd-resolved.service(8)).
RESOLV_CONFS = ("etc/resolv.conf", "run/systemd/resolve/resolv.conf")


@dataclass(frozen=True)
class NodeFacts:
    """The properties and files of the node that guests depend on.

    `authorized_keys` is the file's text, None if there is no file or HOOK_AUTHORIZED_KEYS is no.
    Bytes that are not UTF-8 are in it as surrogates.
    """

    hostname: str
    codename: str
    architecture: str
    resolver: Resolver
    timezone: str
    authorized_keys: str | None
    extra_sources: tuple[SourceFile, ...] = ()


def read_instance(environ: Mapping[str, str]) -> Instance:
    """The instance that Ganeti describes.

    Raises:
        KitError: a variable is missing or invalid.
    """
    try:
        return Instance.from_environ(environ)
    except ValueError as error:
        raise KitError(
            f"environment of the OS script: {error}", hint="this program is run by Ganeti"
        ) from error


def read_node(settings: Settings, root: Path = Path("/")) -> NodeFacts:
    """Reads the properties and files of this node that guests depend on.

    Raises:
        KitError: the node's release is not known, or a file that a setting names cannot be read.
    """
    return NodeFacts(
        hostname=socket.gethostname(),
        codename=_codename(),
        architecture=run(["dpkg", "--print-architecture"]).stdout.strip(),
        resolver=resolver(root),
        timezone=_timezone(root),
        authorized_keys=_authorized_keys(settings, root),
        extra_sources=extra_sources.read(settings.extra_sources, root),
    )


def _authorized_keys(settings: Settings, root: Path) -> str | None:
    path = root / settings.authorized_keys.lstrip("/")
    if not settings.hook_authorized_keys or not path.exists():
        return None
    try:
        # Comments may have any encoding; sshd(8) does not read them.
        return read_text(path, errors="surrogateescape")
    except OSError as error:
        raise KitError(
            f"authorized keys {path}: {error.strerror}",
            hint="correct AUTHORIZED_KEYS, or set HOOK_AUTHORIZED_KEYS=no",
        ) from error


def _codename() -> str:
    try:
        codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(
            f"release of this node, os-release(5): {getattr(error, 'strerror', None) or error}",
            hint="install the Debian package base-files again",
        ) from error
    return codename or "sid"  # Debian unstable has none, as os-release(5) allows


def resolver(root: Path) -> Resolver:
    """The name servers of this node that guests can use, too; none if it has only a stub."""
    for name in RESOLV_CONFS:
        path = root / name
        if path.is_file():
            found = without_loopback(parse(read_text(path, errors="replace")))
            if found.nameservers:
                return found
    return Resolver((), ())


def _timezone(root: Path) -> str:
    path = root / "etc/timezone"
    if path.is_file() and (name := read_text(path, errors="replace").strip()):
        return name
    localtime = root / "etc/localtime"
    if localtime.is_symlink():
        _, found, name = str(localtime.readlink()).partition("zoneinfo/")
        if found:
            return name
    return "Etc/UTC"
