"""Finds the signatures on a device or file of this node, with blkid(8) and wipefs(8)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

from node.run import Result, run

SECONDS = 30
NOTHING_FOUND = 2  # blkid(8)
# Bytes at either end that can hold signatures: the farthest one that libblkid knows is that of
# VMFS, at 2 MiB (libblkid/src/superblocks).
ENDS = 4 * 1024 * 1024


@dataclass(frozen=True)
class Probed:
    """The result of a probe; the device or file is empty if both attributes are.

    Attributes:
        fields: of blkid's `-o export`: TYPE, UUID, PTTYPE and the like.
        unclear: why the content could not be determined, in words.
    """

    fields: Mapping[str, str]
    unclear: str = ""


def probe(path: str | PathLike[str]) -> Probed:
    """Runs blkid(8), and looks closer if that finds nothing; only reads.

    blkid's exit code 2 means "nothing found", but also that the path cannot be opened or read. In
    util-linux 2.41 it also means signatures that contradict each other (blkid_do_safeprobe() of
    libblkid/src/probe.c returns one error for all); in 2.38, that is exit code 8. wipefs(8) lists
    each signature by itself, also those with bad checksums.
    """
    probed = _run("blkid", "-p", "-o", "export", path)
    fields = dict(line.split("=", 1) for line in probed.stdout.splitlines() if "=" in line)
    if probed.exit_code == 0 and fields:
        return Probed(fields)
    if probed.exit_code == NOTHING_FOUND and (error := _read_error(path)):
        return Probed({}, f"data that cannot be read ({error})")
    listed = _run("wipefs", "--no-act", "--noheadings", "--output=TYPE", path)
    if listed.exit_code == 0 and (types := listed.stdout.split()):
        return Probed({}, f"something unclear to blkid: signatures of {', '.join(types)}")
    if probed.exit_code != NOTHING_FOUND or listed.exit_code != 0:
        codes = f"blkid: {probed.exit_code}, wipefs: {listed.exit_code}"
        return Probed({}, f"something unclear to blkid (exit codes of {codes})")
    return Probed({})


def _run(*argv: str | PathLike[str]) -> Result:
    return run(["timeout", "--kill-after=5", str(SECONDS), *argv], check=False)


def _read_error(path: str | PathLike[str]) -> str | None:
    """Why the start or the end of a device or file cannot be read; None if both can."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            size = os.lseek(fd, 0, os.SEEK_END)
            for place, end in ((0, min(ENDS, size)), (max(size - ENDS, 0), size)):
                while place < end:
                    # Before an error, it returns the bytes that are readable.
                    place += len(os.pread(fd, end - place, place)) or end
        finally:
            os.close(fd)
    except OSError as error:
        return error.strerror
    return None
