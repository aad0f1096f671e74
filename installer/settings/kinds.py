"""Kinds of settings: each parses a text, and says which values are allowed."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from guest import authorized_keys
from node.text import printable

# GRUB's menu is a script. Characters that are special to it or to the shell of update-grub are not
# allowed.
_KERNEL_ARGUMENT = re.compile(r"[A-Za-z0-9_.,:/=+@%-]+", re.ASCII)
# The users and groups of base-passwd and of the packages that guests have. useradd also makes a
# group with the user's name.
_NO_USERS = re.compile(
    "root|daemon|bin|sys|sync|games|man|lp|mail|news|uucp|proxy|www-data|backup|list|irc|gnats"
    "|nobody|adm|tty|disk|kmem|dialout|fax|voice|cdrom|floppy|tape|sudo|audio|dip|operator|src"
    "|shadow|utmp|video|sasl|plugdev|staff|users|nogroup|input|kvm|render|sgx|crontab|netdev"
    "|messagebus|polkitd|sshd|ssh|systemd-.*"
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Debian policy 5.6.1 (names of packages), and an architecture after a colon, as apt accepts it.
_PACKAGE = r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?"
# Sectors of 512 bytes, 1 MiB. GRUB needs this space; `layers` raises smaller values to it.
MIN_ALIGNMENT = 2048
_YES = frozenset({"yes", "true", "on", "1"})
_NO = frozenset({"no", "false", "off", "0"})


@dataclass(frozen=True)
class Kind(Generic[T_co]):
    """A kind of values.

    Attributes:
        allowed: a noun phrase for the allowed values, as in "not <allowed>".
        parse: converts a text; raises ValueError that says why the text is not allowed.
        secret: whether values may contain a user and a password (`user:password@host`).
        opaque: whether messages do not show values, since they are long or private.
    """

    allowed: str
    parse: Callable[[str], T_co]
    secret: bool = False
    opaque: bool = False


def masked(text: str) -> str:
    """Replaces all that may be a user and a password before the `@` of a URL.

    It may replace too much, so that a malformed URL does not show its password either.
    """
    return re.sub(r"://.*@", "://***@", text, flags=re.DOTALL)


def shown_without_password(kind: Kind[object], text: str) -> str:
    """A value for messages: on one line, and without its password."""
    if kind.opaque:
        return "..."
    safe = masked(text)
    if kind.secret and "://***@" not in safe:
        safe = re.sub(r"^.*@", "***@", safe, flags=re.DOTALL)
    return printable(safe)


def _kind(allowed: str, read: Callable[[str], T | None], *, secret: bool = False) -> Kind[T]:
    """A kind whose reader returns None, or raises ValueError, for texts that are not allowed."""

    def parse(text: str) -> T:
        try:
            value = read(text)
        except ValueError:
            value = None
        if value is None:
            raise ValueError(f"not {allowed}")
        return value

    return Kind(allowed, parse, secret)


def choice(*words: str) -> Kind[str]:
    """One of a few words."""
    return _kind(f"one of {', '.join(words)}", lambda text: text if text in words else None)


def matching(pattern: str, allowed: str) -> Kind[str]:
    """A text that a regular expression matches from start to end."""
    compiled = re.compile(pattern, re.ASCII)
    return _kind(allowed, lambda text: text if compiled.fullmatch(text) else None)


def whole(allowed: str, *, minimum: int = 0, maximum: int = 2**31) -> Kind[int]:
    """A whole number between a minimum and a maximum (inclusive)."""

    def read(text: str) -> int | None:
        if not re.fullmatch(r"[0-9]{1,12}", text, re.ASCII):
            return None
        number = int(text)
        return number if minimum <= number <= maximum else None

    return _kind(allowed, read)


def listed(item: Kind[T], allowed: str) -> Kind[tuple[T, ...]]:
    """Any number of items, split at commas and blanks."""

    def parse(text: str) -> tuple[T, ...]:
        items: list[T] = []
        for word in re.split(r"[,\s]+", text):
            if word:
                try:
                    items.append(item.parse(word))
                except ValueError as error:
                    raise ValueError(f"'{shown_without_password(item, word)}' is {error}") from None
        return tuple(items)

    return Kind(allowed, parse)


def or_word(word: str, kind: Kind[str]) -> Kind[str]:
    """A value of a kind, or one additional word."""
    return _kind(
        f"{kind.allowed}, or {word}",
        lambda text: text if text == word else kind.parse(text),
        secret=kind.secret,
    )


def url(*schemes: str, example: str, bare: bool = False) -> Kind[str]:
    """A URL with a host (none for file:) of one of these schemes.

    Args:
        schemes: in lower case, without a colon.
        example: what errors show.
        bare: whether user and password (RFC 3986 3.2.1), query and fragment are refused: all users
            of the guest may read the URL, and the path of a suite is appended to it.
    """

    def read(text: str) -> str | None:
        parts = urlsplit(text)
        # No quotes, angle brackets and the like: the URL is written into files of apt.
        plain = re.fullmatch(r"[A-Za-z0-9.:/?#@!$&()*+,;=%~_\[\]-]+", text) is not None
        if parts.scheme == "file":
            located = not parts.netloc and len(parts.path) > 1
        else:
            # .port raises ValueError for text that is not a port.
            located = bool(parts.hostname) and parts.port != 0
        simple = "@" not in parts.netloc and "?" not in text and "#" not in text
        fits = plain and located and parts.scheme in schemes and (simple or not bare)
        return text if fits else None

    named = ", ".join(f"{scheme}:" for scheme in schemes)
    without = ", without user and password, query and fragment" if bare else ""
    return _kind(f"a URL ({named}) like {example}{without}", read, secret=True)


def _with_scheme(kind: Kind[str]) -> Kind[str]:
    """Also accepts host:port, which means http://host:port, as programs do for http_proxy."""

    def parse(text: str) -> str:
        bare = re.fullmatch(r"([^/@\s]+@)?[A-Za-z0-9.-]+:[0-9]+/?", text, re.ASCII)
        return kind.parse(f"http://{text}" if bare else text)

    return Kind(f"{kind.allowed}, or host:port", parse, kind.secret)


def _read_yes_no(text: str) -> bool | None:
    word = text.lower()
    return True if word in _YES else False if word in _NO else None


def _read_path(text: str) -> str | None:
    path = PurePosixPath(text)
    fits = path.is_absolute() and ".." not in path.parts and text.isprintable()
    return str(path) if fits else None


def _read_domain(text: str) -> str | None:
    label = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
    fits = len(text) <= 253 and re.fullmatch(rf"{label}(\.{label})*\.?", text, re.ASCII)
    return text if fits else None


def _read_address(text: str) -> str | None:
    address = ip_address(text)
    # The zone of a link-local address is a NIC, here one of the guest (RFC 4007, 11).
    zone = getattr(address, "scope_id", None)
    fits = zone is None or (address.is_link_local and re.fullmatch(r"eth[0-9]{1,3}", zone))
    return str(address) if fits else None


def _read_alignment(text: str) -> int | None:
    sectors = whole("", minimum=1, maximum=2**21).parse(text)
    return sectors if sectors < MIN_ALIGNMENT or sectors % 8 == 0 else None


PROXY = _with_scheme(url("http", "https", example="http://proxy.example.org:3128"))


def _parse_days_or_no(text: str) -> int | None:
    if text.lower() in _NO - {"0"}:
        return None
    return whole(DAYS_OR_NO.allowed, maximum=36500).parse(text)


def _read_kernel_arguments(text: str) -> str | None:
    words = text.split()
    return " ".join(words) if all(map(_KERNEL_ARGUMENT.fullmatch, words)) else None


def _read_user(text: str) -> str | None:
    fits = re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", text, re.ASCII)
    return text if fits and not _NO_USERS.fullmatch(text) else None


YES_NO = _kind("yes or no", _read_yes_no)
PATH = _kind("an absolute path without '..'", _read_path)
SUITE = matching(r"[a-z][a-z0-9.-]*", "a suite name like bookworm")
ARCHITECTURE = matching(r"[a-z0-9][a-z0-9-]*", "an architecture name like amd64")
# apt-get(8) would remove a package whose name ends in a minus, and takes a dot before a plus for a
# pattern.
PACKAGE = matching(rf"(?!.*(-|\.\+)(:|$)){_PACKAGE}", "a package name (Debian policy 5.6.1)")
PACKAGES = listed(PACKAGE, "package names, separated by commas or blanks")
COMPONENTS = listed(
    matching(r"[a-z][a-z0-9-]*", "a component name like main"),
    "component names, separated by commas or blanks",
)
ADDRESSES = listed(
    _kind("an IP address", _read_address),
    "IPv4 and IPv6 addresses, separated by commas or blanks",
)
DOMAINS = listed(
    _kind("a domain name", _read_domain),
    "domain names, separated by commas or blanks",
)
KERNEL = _kind(
    "auto, none or a package name like linux-image-amd64",
    lambda text: text if re.fullmatch(_PACKAGE, text, re.ASCII) else None,
)
ALIGNMENT = _kind(f"a multiple of 8 that is {MIN_ALIGNMENT} (1 MiB) or more", _read_alignment)
TIMEZONE = matching(
    r"(?!.{65})[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", "a time zone like Europe/Berlin"
)
LOCALE = matching(r"[A-Za-z0-9_.@-]{1,64}", "a locale like C.UTF-8 or de_DE.UTF-8")
DAYS_OR_NO = Kind("a number of days, or no", _parse_days_or_no)
SSH_KEYS = Kind(
    "public keys in the format of authorized_keys, one per line",
    authorized_keys.parse,
    opaque=True,
)
KERNEL_ARGUMENTS = _kind(
    "arguments of letters, digits and _ . , : / = + @ % -, separated by blanks",
    _read_kernel_arguments,
)
USER = _kind("a name of lower-case letters, digits, - and _, not that of a system user", _read_user)
SOURCE_FILES = listed(
    _kind(
        "an absolute path that ends in .sources",
        lambda text: _read_path(text) if re.search(r"/[A-Za-z0-9_.-]+\.sources$", text) else None,
    ),
    "absolute paths that end in .sources, separated by commas or blanks",
)
