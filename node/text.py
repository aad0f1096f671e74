"""Text for people: what comes from outside, escaped; and numbers of bytes, written and read."""

from collections.abc import Callable

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
# What a user may put behind a number: lower case, without "iB".
_SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def printable(text: str) -> str:
    r"""Text from outside (names, what images and other hosts say) on one line, fit for a terminal.

    Whatever could steer a terminal, begin another line or hide a part of the text is escaped as in
    Python's strings. So are bytes of file names that are no text: `\xff` (os.fsdecode() has them
    as surrogates, PEP 383).
    """
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def on_one_line(text: str) -> str:
    """Text from outside as a log has it: as `printable`, but tabs become blanks."""
    return printable(text.expandtabs())


def _escaped(one: str) -> str:
    if "\udc80" <= one <= "\udcff":
        return f"\\x{ord(one) - 0xDC00:02x}"
    return ascii(one)[1:-1]


def size(count: int, rounded: Callable[[float], int] = round) -> str:
    """A number of bytes in the unit that suits, with one decimal at most: 512 B, 1.5 GiB, 3 PiB.

    What has to suffice is rounded by math.ceil, and what is there by math.floor beside it: they
    never read alike then, and who follows the figure has enough.
    """
    figure, unit = float(count), 0
    # What would be rounded to 1024 is one of the next unit.
    while rounded(figure * 10) >= 10240 and unit < len(UNITS) - 1:
        figure, unit = figure / 1024, unit + 1
    return f"{rounded(figure * 10) / 10:.1f}".removesuffix(".0") + f" {UNITS[unit]}"


def parse_size(text: str) -> int:
    """A number of bytes as users write it: 512, 20G, 5MiB; units are powers of 1024 up to T.

    Raises:
        ValueError: it is none.
    """
    number, unit = text.rstrip("bBiI"), ""
    if number[-1:].lower() in _SUFFIXES:
        number, unit = number[:-1], number[-1:].lower()
    if not number.isascii() or not number.isdigit():
        raise ValueError(f"{text}: not a size, like 20G")
    return int(number) * _SUFFIXES[unit]
