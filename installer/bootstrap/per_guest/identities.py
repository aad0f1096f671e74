"""Finds keys, passwords and identities by a file's name, mode and content. Pure.

There is no list of files, since any package may make them: data that looks random counts. In files
that not everybody may read, all data that is not plain text counts. After a false alarm, the
bootstrap is not cached.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath

_ACCOUNTS = re.compile(r"etc/(passwd|group|shadow|gshadow)-?")
# Files that are made only from files of packages: ucf(1), debconf(7), depmod(8). The files in an
# initramfs are checked in `installer.bootstrap.per_guest.remake`. And the one that the bootstrap
# writes itself: all guests of this cache have these mirrors.
_KNOWN = re.compile(
    r"etc/apt/sources\.list|var/lib/ucf/hashfile(\.\d+)?|var/cache/debconf/templates\.dat(-old)?"
    r"|(usr/)?lib/modules/[^/]+/modules\.[a-z.]+|boot/init(rd|ramfs)[^/]*"
)

_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File")
# PEM (RFC 7468): certificates and public keys.
_PUBLIC_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
# Kerberos keytabs and Java's keystores.
_MAGICS = (b"\x05\x02", b"\x05\x01", b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_KEY_NAME = re.compile(
    r"(^|[._-])(keys?|secrets?|keytab|pfx|p12|jks|cookie|token|password|credentials?)([._-]|$)"
)

_COMMENT = re.compile(r"^\s*(#|;|//(\s|$))")  # base64 may begin with slashes
_CHECKSUM = re.compile(r"^[0-9a-f]{32,128}\s+\*?/\S+$")
_HEX = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{32,}(?![0-9A-Za-z])")
_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])", re.I)
_IQN = re.compile(r"\b(iqn|eui|naa)\.\S*[0-9a-f]{8,}", re.I)
_ASSIGNED = re.compile(
    r"(?:passw(?:or)?d|passphrase|secret|token|cookie|psk|credential|[a-z]*[-_]?key|host_?id)\w*"
    r"[\"']?\s*[:=\s]\s*[\"']?([A-Za-z0-9+/=_-]{12,})",
    re.I,
)
_WORD = re.compile(r"[A-Za-z0-9+/=_-]{16,}")
_LONG = 22  # characters: 128 bits in base64
# The share of neighbouring characters of different kinds (lower, upper, digit): 40 % in random
# letters and digits, 60 % in base64, and less in words, names and paths.
_TURNS = 0.25
_CAPITALS = 3


def find_identity(path: str, mode: int, data: bytes) -> str | None:
    """Why guests must not share a file; None if they may.

    Args:
        path: the path in the guest, without a leading slash.
        mode: the permission bits.
        data: the content, or the beginning of it.
    """
    if not data or _KNOWN.fullmatch(path):
        return None
    if _PRIVATE_KEY.search(data):
        return "a private key"
    restricted = not mode & 0o004
    try:
        text = data.decode() if b"\0" not in data else None
    except UnicodeDecodeError:
        text = None
    if _ACCOUNTS.fullmatch(path) and text is not None:
        hashed = any(len(field) > 2 for field in _hashes(text))
        return "a password" if hashed and "shadow" in path else None
    if text is None:
        if restricted or data.startswith(_MAGICS) or _KEY_NAME.search(PurePosixPath(path).name):
            return "binary data that looks like a key"
        return None
    return _in_text(_PUBLIC_BLOCK.sub("", text), restricted=restricted)


def _hashes(text: str) -> Iterator[str]:
    """The password hashes of shadow(5), without the marks of locked accounts: *, !, !*."""
    for line in text.splitlines():
        yield line.partition(":")[2].partition(":")[0].lstrip("!*")


def _in_text(text: str, *, restricted: bool) -> str | None:
    for line in text.splitlines():
        if _COMMENT.match(line) or _CHECKSUM.match(line):
            continue
        if _HEX.search(line) or _UUID.search(line) or _IQN.search(line):
            return "an identity or key"
        if any(_is_random(match[1], 12) for match in _ASSIGNED.finditer(line)):
            return "a key or password"
        for word in _WORD.findall(line):
            erlangs = restricted and re.fullmatch("[A-Z]{16,}", word)  # Erlang's cookie
            if erlangs or _is_random(word, 16 if restricted else _LONG):
                return "what looks random"
    return None


def _is_random(word: str, least: int) -> bool:
    """Whether the kinds of a word's characters change more often than in names and paths."""
    if len(word) < least or not re.search("[A-Za-z]", word):
        return False
    kinds = [_kind(char) for char in word]
    pairs = [(one, other) for one, other in pairwise(kinds) if one and other]
    # In base64, 2 % of 128 bits have no digit; NamesLikeThis have few capitals in a row.
    mixed = "0" in kinds or (len(word) >= _LONG and pairs.count(("A", "A")) >= _CAPITALS)
    return mixed and sum(one != other for one, other in pairs) >= _TURNS * len(word)


def _kind(char: str) -> str:
    """The kind of a character: "a" lower case, "A" upper case, "0" digit, "" others."""
    return "a" if char.islower() else "A" if char.isupper() else "0" if char.isdigit() else ""
