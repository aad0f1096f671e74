"""Reads and checks the apt sources of the site that are copied into guests (EXTRA_SOURCES)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from installer.bootstrap import apt_sources
from node.errors import KitError
from node.files import read_bytes, read_text

DIRECTORY = "etc/apt/sources.list.d"


@dataclass(frozen=True)
class SourceFile:
    """A *.sources file, and path and content of each keyring that it names."""

    name: str
    text: str
    keyrings: tuple[tuple[str, bytes], ...]


def read(paths: Sequence[str], root: Path = Path("/")) -> tuple[SourceFile, ...]:
    """Reads files of the node in the deb822-style format of sources.list(5).

    Raises:
        KitError: a file cannot be read, has another format, holds a password, or names a keyring
            that the node does not have; or two files have the same name.
    """
    files = tuple(_read(path, root) for path in paths)
    names = [file.name for file in files]
    for name in names:
        if names.count(name) > 1:
            raise KitError(f"EXTRA_SOURCES: two files are called {name}", hint="rename one of them")
    return files


def _read(path: str, root: Path) -> SourceFile:
    hint = f"correct {path}, or EXTRA_SOURCES; sources.list(5) describes the format"
    try:
        text = read_text(root / path.lstrip("/"))
    except OSError as error:
        raise KitError(f"apt sources {path}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError:
        raise KitError(f"apt sources {path}: it is not UTF-8 text", hint=hint) from None
    entries = apt_sources.parse_deb822(text)
    if not entries:
        raise KitError(f"apt sources {path}: no stanza has Types, URIs and Suites", hint=hint)
    # Comments and disabled stanzas are copied, too.
    if re.search(r"://[^/\s]*@", text):
        raise KitError(
            f"apt sources {path}: a URI holds a password, which all users of the guest could read",
            hint="remove it, and let a site hook write it to /etc/apt/auth.conf.d",
        )
    named = {word for entry in entries for word in _keyring_paths(entry.signed_by)}
    keyrings = tuple((keyring, _keyring(keyring, path, root)) for keyring in sorted(named))
    return SourceFile(Path(path).name, text, keyrings)


def _keyring_paths(signed_by: str) -> list[str]:
    """The files in a Signed-By field, which may also hold a key itself, or fingerprints."""
    if "BEGIN PGP" in signed_by:
        return []
    return [word for word in re.split(r"[,\s]+", signed_by) if word.startswith("/")]


def _keyring(keyring: str, path: str, root: Path) -> bytes:
    try:
        return read_bytes(root / keyring.lstrip("/"))
    except OSError as error:
        raise KitError(
            f"keyring {keyring}, which {path} names: {error.strerror}",
            hint="put it there on the node: it is copied to the same path in the guest",
        ) from error
