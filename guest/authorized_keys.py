"""Parses and renders authorized_keys (sshd(8), "AUTHORIZED_KEYS FILE FORMAT")."""

import base64
import re

# The types that sshd of all suites accepts; ssh-dss is off by default since OpenSSH 7.
KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
# Options have blanks only between double quotes, in which \" is a quote.
_LINE = re.compile(
    rf"""((?:[^\s"]|"(?:[^"\\]|\\.)*")+\ +)?
    (?P<type>{"|".join(map(re.escape, KEY_TYPES))})\ +(?P<key>[A-Za-z0-9+/]+={{0,2}})(\ .*)?""",
    re.VERBOSE,
)


def parse(text: str) -> tuple[str, ...]:
    """The keys of a text with one key per line; empty lines and comments are skipped.

    Raises:
        ValueError: a line is not a public key. The text has the line's number and the reason, but
            not the line itself, which may be a private key.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.strip()
        if words and not words.startswith("#"):
            if problem := _problem(words):
                raise ValueError(f"line {number} {problem}")
            keys.append(words)
    return tuple(keys)


def render(keys: tuple[str, ...]) -> str:
    """The text of a file with these keys."""
    return "".join(f"{key}\n" for key in keys)


def _problem(line: str) -> str | None:
    if "PRIVATE KEY" in line:
        return "is a private key: use the public key, from the file that ends in .pub"
    if not line.isprintable():
        return "has control characters"
    match = _LINE.fullmatch(line)
    if match is None:
        return f"is not a public key: options, one of {', '.join(KEY_TYPES)}, the key, a comment"
    try:
        blob = base64.b64decode(match["key"], validate=True)
    except ValueError:
        return "is cut off: its key is not base64"
    fields = _fields(blob)
    if fields is None:
        return "is cut off or damaged"
    if fields[:1] != [match["type"].encode()]:
        return f"is damaged: its key is not of the type {match['type']}"
    return None


def _fields(blob: bytes) -> list[bytes] | None:
    """The fields of a key (RFC 4253, 6.6), the first is its type; None if the key is damaged."""
    fields = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end:
            return None
        fields.append(blob[4:end])
        blob = blob[end:]
    return fields
