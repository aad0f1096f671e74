"""Text for users: escapes names from outside; prints and parses numbers of bytes."""

from collections.abc import Callable

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
# Units that a user may write after a number, in lower case and without "iB".
_SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def printable(text: str) -> str:
    r"""Escapes text from outside (names, texts of images and other hosts) for a terminal.

    Control characters, line ends and invisible characters become escapes as in Python's strings.
    Bytes of file names that are not UTF-8 become `\xff` (os.fsdecode() returns them as surrogates,
    PEP 383).
    """
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def on_one_line(text: str) -> str:
    """Escapes text from outside for a log: as `printable`, but tabs become blanks."""
    return printable(text.expandtabs())


def _escaped(one: str) -> str:
    if "\udc80" <= one <= "\udcff":
        return f"\\x{ord(one) - 0xDC00:02x}"
    return ascii(one)[1:-1]


def size(count: int, rounded: Callable[[float], int] = round) -> str:
    """A number of bytes with a suitable unit and at most one decimal: 512 B, 1.5 GiB, 3 PiB.

    Args:
        count: bytes.
        rounded: rounds to an integer. Use math.ceil for a needed size and math.floor for an
            available one: the two then never look equal, and the needed size shown is enough.
    """
    figure, unit = float(count), 0
    # A figure that would be rounded to 1024 is shown as 1 of the next unit.
    while rounded(figure * 10) >= 10240 and unit < len(UNITS) - 1:
        figure, unit = figure / 1024, unit + 1
    return f"{rounded(figure * 10) / 10:.1f}".removesuffix(".0") + f" {UNITS[unit]}"


def parse_size(text: str) -> int:
    """Parses a number of bytes as users write it: 512, 20G, 5MiB; powers of 1024, up to T.

    Raises:
        ValueError: the text is not a size.
    """
    number, unit = text.rstrip("bBiI"), ""
    if number[-1:].lower() in _SUFFIXES:
        number, unit = number[:-1], number[-1:].lower()
    if not number.isascii() or not number.isdigit():
        raise ValueError(f"{text}: not a size, like 20G")
    return int(number) * _SUFFIXES[unit]
