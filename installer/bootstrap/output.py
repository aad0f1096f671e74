"""Reduces an engine's thousands of lines to phases, counts, and the reason of a failure."""

import re
from collections import deque
from collections.abc import Callable

EVERY = 50  # packages between two lines of progress
TAIL_LINES = 15

_COUNTED = (
    (re.compile(r"I: Retrieving \S+ \S+$|Get:\d+ \S+ \S+ \S+ \S+ \S+ .*\[[^]]*B\]$"), "downloaded"),
    (re.compile(r"I: Extracting |I: Unpacking \S+\.\.\.|Unpacking \S+ \("), "unpacked"),
    (re.compile(r"I: Configuring \S+\.\.\.|Setting up \S+ \("), "set up"),
)
_DROPPED = re.compile(r"I: (Validating |skipping |running --)")
_SHOWN = re.compile(r"(I|W|E|N): |Err:|Need to get |Fetched |After this operation|dpkg: error")
_FAULTS = (
    # The most useful line first: the last line of an engine often only says that a child failed. If
    # /tmp is full, apt reports that each index is not signed.
    re.compile(r".*(Couldn't create temporary file|Unable to mkstemp|cannot create temp).*", re.I),
    re.compile(r".*No space left on device.*"),
    re.compile(r"E: You don't have enough free space.*"),
    re.compile(r".*(NO_PUBKEY|EXPKEYSIG|BADSIG|Release signed by unknown key|is not signed).*"),
    re.compile(
        r"E: (Unable to locate package|Package '|Couldn't find these debs|Failed getting).*"
    ),
    re.compile(r"(dpkg: error|Err:|E: Failed to fetch).*"),
    re.compile(r"(E|W): .*"),
)


class EngineOutput:
    """Passes on the lines of debootstrap or mmdebstrap --verbose that show the progress.

    Call it with each line. Packages are counted, and reported every EVERY packages.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._counts = dict.fromkeys((word for _, word in _COUNTED), 0)
        self._last: deque[str] = deque(maxlen=4000)

    def __call__(self, line: str) -> None:
        """Handles one line of the engine."""
        line = line.rstrip()
        if not line:
            return
        self._last.append(line)
        for pattern, word in _COUNTED:
            if pattern.match(line):
                self._counts[word] += 1
                if self._counts[word] % EVERY == 0:
                    self._on_line(f"{word} {self._counts[word]} packages")
                return
        repeated = len(self._last) > 1 and self._last[-2] == line  # such as apt's "Fetched"
        if _SHOWN.match(line) and not _DROPPED.match(line) and not repeated:
            self._on_line(line)

    def tail(self) -> list[str]:
        """The last lines, also those that were not passed on."""
        return list(self._last)[-TAIL_LINES:]

    def fault(self) -> str | None:
        """The line that most likely says why the engine failed; None if there is none."""
        lines = list(self._last)
        for pattern in _FAULTS:
            for number, line in enumerate(lines):
                if pattern.match(line):
                    # apt prints the reason on the next line.
                    reason = lines[number + 1 : number + 2] if line.startswith("Err:") else []
                    return ": ".join([line, *(text.strip() for text in reason)])
        return None

    def disk_usage(self) -> int:
        """The bytes that the packages need on the disk, as apt reported; 0 if it did not."""
        units = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
        found = (
            re.match(r"After this operation, ([\d.,]+) ([kMG]?B) of additional", line)
            for line in self._last
        )
        return sum(int(float(m[1].replace(",", "")) * units[m[2]]) for m in found if m)
