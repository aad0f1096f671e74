"""What is on a device or file of this node: the signatures that libblkid finds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

from node.run import Result, run

SECONDS = 30
NOTHING_FOUND = 2  # blkid(8)
# Bytes at either end where signatures stand: that of VMFS at 2 MiB is the farthest that libblkid
# looks at by itself (libblkid/src/superblocks).
ENDS = 4 * 1024 * 1024


@dataclass(frozen=True)
class Probed:
    """What was found: nothing, if both are empty.

    Attributes:
        fields: blkid's `-o export`: TYPE, UUID, PTTYPE and the like.
        unclear: in words, why it is not known what is there.
    """

    fields: Mapping[str, str]
    unclear: str = ""


def probe(path: str | PathLike[str]) -> Probed:
    """Asks blkid(8), and where that finds nothing, looks closer; only reads.

    Its exit code 2 stands for "nothing found", but also for a path that cannot be opened and for
    errors of reading. In util-linux 2.41 it stands for signatures that contradict each other, too
    (blkid_do_safeprobe() of libblkid/src/probe.c makes one error of all); in 2.38, these are 8.
    wipefs(8) lists each signature by itself, those with bad checksums, too.
    """
    probed = _run("blkid", "-p", "-o", "export", path)
    fields = dict(line.split("=", 1) for line in probed.stdout.splitlines() if "=" in line)
    if probed.exit_code == 0 and fields:
        return Probed(fields)
    if probed.exit_code == NOTHING_FOUND and (error := _read_error(path)):
        return Probed({}, f"what cannot be read ({error})")
    listed = _run("wipefs", "--no-act", "--noheadings", "--output=TYPE", path)
    if listed.exit_code == 0 and (types := listed.stdout.split()):
        return Probed({}, f"what blkid cannot tell: signatures of {', '.join(types)}")
    if probed.exit_code != NOTHING_FOUND or listed.exit_code != 0:
        codes = f"blkid: {probed.exit_code}, wipefs: {listed.exit_code}"
        return Probed({}, f"what blkid cannot tell (exit codes of {codes})")
    return Probed({})


def _run(*argv: str | PathLike[str]) -> Result:
    return run(["timeout", "--kill-after=5", str(SECONDS), *argv], check=False)


def _read_error(path: str | PathLike[str]) -> str | None:
    """Why the ends of a device or file cannot be read, or None."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            size = os.lseek(fd, 0, os.SEEK_END)
            for place, end in ((0, min(ENDS, size)), (max(size - ENDS, 0), size)):
                while place < end:
                    # Of what is readable up to an error, it gives that much.
                    place += len(os.pread(fd, end - place, place)) or end
        finally:
            os.close(fd)
    except OSError as error:
        return error.strerror
    return None
