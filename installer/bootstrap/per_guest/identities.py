"""Tells by a file's name, mode and content whether it holds a key, a password or an identity. Pure.

No list of files decides, since any package may make them: what looks random counts. Of files that
not everybody may read, that is anything which is no plain text. A false alarm costs a bootstrap.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath

_ACCOUNTS = re.compile(r"etc/(passwd|group|shadow|gshadow)-?")
# Made of what packages have brought alone: ucf(1), debconf(7), depmod(8). What is in an initramfs
# is looked at by itself (`installer.bootstrap.per_guest.remake`).
_KNOWN = re.compile(
    r"var/lib/ucf/hashfile(\.\d+)?|var/cache/debconf/templates\.dat(-old)?"
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
# Of two neighbours, letters and digits at random are of different kinds (lower, upper, digit) in
# 40 % of all cases, base64 in 60 %; words, names and paths in a few.
_TURNS = 0.25
_CAPITALS = 3


def find_identity(path: str, mode: int, data: bytes) -> str | None:
    """Why a file must not be shared by guests; None for one that may be.

    Args:
        path: in the guest, without a leading slash.
        mode: its permission bits.
        data: its content, or the beginning of it.
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
    """The second fields of shadow(5), without those that no password gives: *, !, !*."""
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
            erlangs = restricted and re.fullmatch("[A-Z]{16,}", word)  # cookies are such
            if erlangs or _is_random(word, 16 if restricted else _LONG):
                return "what looks random"
    return None


def _is_random(word: str, least: int) -> bool:
    """Whether a word is of letters and digits that take turns as in no name and no path."""
    if len(word) < least or not re.search("[A-Za-z]", word):
        return False
    kinds = [_kind(char) for char in word]
    pairs = [(one, other) for one, other in pairwise(kinds) if one and other]
    # In base64, 2 % of 128 bits have no digit; NamesLikeThis have few capitals in a row.
    mixed = "0" in kinds or (len(word) >= _LONG and pairs.count(("A", "A")) >= _CAPITALS)
    return mixed and sum(one != other for one, other in pairs) >= _TURNS * len(word)


def _kind(char: str) -> str:
    """Lower case, upper case or digit; "" for what separates words."""
    return "a" if char.islower() else "A" if char.isupper() else "0" if char.isdigit() else ""
