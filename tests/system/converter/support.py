"""Runs qcow2raw as users do, on images and devices of a test's own, and looks at what it did."""

import json
import os
import random
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.system.installer.support import loop, output

__all__ = ["loop", "output"]  # of the create's tests, and as good here

TOP = Path(__file__).parents[3]
PROGRAM = TOP / "converter/qcow2raw.py"
WARM = Path(__file__).with_name("warm_converter.py")
JOURNALS = Path("/var/lib/ganeti-instance-kit/copies")

MIB = 1024 * 1024
CLUSTER = 64 * 1024  # qemu-img's default
SIZE, TARGET = 12 * MIB, 16 * MIB  # of the image and the device of conftest.py
SECONDS = 120
SETTLE_SECONDS = 5.0

DONE, DIFFERS, USAGE, REFUSED, FAILED = range(5)  # the exit codes

# In a mount namespace of the run's own: journals of no other run, and none that outlives the test.
_ENTER = f"""
mkdir -p {JOURNALS}
if [ -n "$1" ]; then mount --bind "$1" {JOURNALS}; else mount -t tmpfs copies {JOURNALS}; fi
shift
exec "$@"
"""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code (negative: by a signal) and what it printed."""

    exit_code: int
    stdout: str
    stderr: str

    def done(self) -> "Outcome":
        assert self.exit_code == DONE, self
        assert not re.search(r"^(error|hint): |Traceback", self.stderr, re.M), self
        return self

    def failed(self, exit_code: int, *words: str) -> "Outcome":
        """Its last lines are one `error:` with these words, and one `hint:`; no traceback."""
        assert self.exit_code == exit_code, self
        assert "Traceback" not in self.stderr, self
        lines = self.stderr.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-2:-1], self
        assert [line for line in lines if line.startswith("hint: ")] == lines[-1:], self
        for word in words:
            assert word in self.error, self
        return self

    @property
    def error(self) -> str:
        """The error line."""
        return self.stderr.splitlines()[-2]

    @property
    def hint(self) -> str:
        """The hint line."""
        return self.stderr.splitlines()[-1]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What `--progress json` printed."""
        return [json.loads(line) for line in self.stdout.splitlines()]


class Run:
    """A qcow2raw that runs, in a process group of its own; `by` is what executes it."""

    def __init__(
        self, *words: str | Path, journals: Path | None = None, by: tuple[str, ...] = ()
    ) -> None:
        self._process = subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation=private", "--"),
                *("sh", "-ec", _ENTER, "qcow2raw", str(journals or "")),
                *(*by, str(PROGRAM), *map(str, words)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        """The program's own: what enters the namespace becomes it."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Sends a signal, unless the run has ended."""
        if not self.ended:
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, timeout: float = SECONDS) -> Outcome:
        """Waits for its end; one that does not end in time is killed."""
        try:
            stdout, stderr = self._process.communicate(timeout=timeout)
        finally:
            self.signal(signal.SIGKILL, group=True)
        # Not in text mode, which would make line feeds of the carriage returns of a bar.
        return Outcome(
            self._process.returncode,
            stdout.decode(errors="replace"),
            stderr.decode(errors="replace"),
        )


def qcow2raw(*words: str | Path, journals: Path | None = None, timeout: float = SECONDS) -> Outcome:
    """Runs the program to its end.

    Args:
        words: its options and arguments.
        journals: where it keeps journals; by default a place that is gone with the run.
        timeout: seconds after which it is killed.
    """
    return Run(*words, journals=journals).wait(timeout)


def in_shell(script: str, *words: str | Path | bytes, **more: object) -> Outcome:
    """Runs a script in a mount namespace of its own, in which `qcow2raw` is the program."""
    made = f'mount -t tmpfs copies "{JOURNALS}"; qcow2raw() {{ "{PROGRAM}" "$@"; }}; {script}'
    JOURNALS.mkdir(parents=True, exist_ok=True)
    enter = ("unshare", "--mount", "--propagation=private", "--", "sh", "-ec", made, "sh")
    ended = subprocess.run(
        [*enter, *words],
        capture_output=True,
        timeout=60,
        check=False,
        **more,  # type: ignore[call-overload]
    )
    return Outcome(
        ended.returncode,
        ended.stdout.decode(errors="backslashreplace"),
        ended.stderr.decode(errors="backslashreplace"),
    )


class Warm:
    """A process in which the program is loaded, and that is forked for each run."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def qcow2raw(self, *words: str | Path, timeout: float = SECONDS) -> Outcome:
        """Runs the program to its end."""
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None
        print(json.dumps([*map(str, words)]), file=requests, flush=True)
        ready, _, _ = select.select([answers], [], [], timeout)
        assert ready, f"{words}: still running after {timeout} s"
        return Outcome(*json.loads(answers.readline()))


@contextmanager
def warm(*enter: str, library: Path = TOP, script: Path = WARM) -> Iterator[Warm]:
    """Loads the program from a directory, in a place that the command `enter` enters."""
    with subprocess.Popen(
        [*enter, "/usr/bin/python3", str(script), str(library)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        yield Warm(process)


@contextmanager
def warm_here() -> Iterator[Warm]:
    """Loads the program on this machine, in a mount namespace as that of `qcow2raw`."""
    enter = ("unshare", "--mount", "--propagation=private", "--")
    with warm(*enter, *("sh", "-ec", _ENTER, "qcow2raw", "")) as loaded:
        yield loaded


def noise(size: int, seed: int) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def prose(size: int, seed: int) -> bytes:
    """Bytes that compress to about a third, other ones in each cluster."""
    source = random.Random(seed)
    words = [source.randbytes(4).hex().encode() for _ in range(64)]
    text = b" ".join(source.choices(words, k=size // 9 + 1))
    return text[:size].ljust(size, b".")


class Write(NamedTuple):
    """What qemu-io writes into an image: `-c` compresses, `-z` makes zero clusters."""

    offset: int
    data: bytes | int  # an int: so many zeros
    compressed: bool = False


def qcow2(path: Path, size: int, *writes: Write, options: str = "") -> Path:
    """Makes an image of `size` bytes with qemu-img and qemu-io; `options` is what `-o` gets."""
    extra = ["-o", options] if options else []
    output("qemu-img", "create", "-q", "-f", "qcow2", *extra, path, str(size))
    pattern = path.with_name(f"{path.name}.write")
    for write in writes:
        if isinstance(write.data, int):
            command = f"write -z {write.offset} {write.data}"
        else:
            pattern.write_bytes(write.data)
            mode = "-c" if write.compressed else ""
            command = f"write {mode} -s {pattern} {write.offset} {len(write.data)}"
        output("qemu-io", "-f", "qcow2", "-c", command, path)
    pattern.unlink(missing_ok=True)
    return path


def place_of(image: Path, offset: int) -> int:
    """Where the data of an offset of the disk lies in the image, whose clusters have 64 KiB.

    docs/interop/qcow2.txt of QEMU: the L1 table is stated at byte 40 of the header, entries of
    both tables are big-endian words, and the low 54 bits of one of a compressed cluster its place.
    """
    with image.open("rb") as file:

        def word(place: int) -> int:
            return int.from_bytes(os.pread(file.fileno(), 8, place), "big")

        index = offset // CLUSTER
        level2 = word(word(40) + index // 8192 * 8) & 0x00FF_FFFF_FFFF_FE00
        entry = word(level2 + index % 8192 * 8)
        compressed = entry >> 62 & 1
        return entry & (1 << 54) - 1 if compressed else entry & 0x00FF_FFFF_FFFF_FE00


def damage(image: Path, offset: int) -> None:
    """Spoils the compressed cluster at an offset of the disk."""
    with image.open("r+b") as file:
        # Deflate has no block type 3: these bytes inflate to nothing at all.
        os.pwrite(file.fileno(), b"\xff" * 64, place_of(image, offset))


def raw_of(image: Path, path: Path, *, source_format: str = "qcow2") -> Path:
    """The contents of an image as qemu-img sees them."""
    output("qemu-img", "convert", "-f", source_format, "-O", "raw", image, path)
    return path


def dirty(path: Path, size: int, seed: int = 99) -> Path:
    """A disk full of an old tenant's bytes; not one of its blocks is zero."""
    block = noise(MIB, seed)
    with path.open("wb") as file:
        for _ in range(-(-size // MIB)):
            file.write(block)
        file.truncate(size)
    return path


def require_same(target: Path, reference: Path) -> None:
    """The target begins with the reference's bytes, and is zero behind them."""
    with target.open("rb") as got, reference.open("rb") as expected:
        size = os.lseek(got.fileno(), 0, os.SEEK_END)
        got.seek(0)
        # What is on the disk counts, not what is cached of it.
        os.posix_fadvise(got.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for offset in range(0, size, 4 * MIB):
            length = min(4 * MIB, size - offset)
            here, there = got.read(length), expected.read(length).ljust(length, b"\0")
            if here != there:
                wrong = next(i for i in range(length) if here[i : i + 1] != there[i : i + 1])
                raise AssertionError(f"{target} differs from {reference} at {offset + wrong}")
        assert not expected.read(1), f"{target} is smaller than {reference}"


def digest(path: Path) -> str:
    """The SHA-256 of a file or device, for "nothing was touched"."""
    return output("sha256sum", path).split()[0]


def left_behind(directory: Path) -> list[str]:
    """Programs that name something of a test's directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(directory) in words:
            found.append(f"{process.name}: {words}")
    return found


def wait_until(happened: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Waits until something has happened."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def require_nothing_left(directory: Path, *, but: str = "nbdfuse|nbdkit") -> None:
    """A moment after a run none of its programs is alive; the test's own ones match `but`."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while left := [words for words in left_behind(directory) if not re.search(but, words)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@contextmanager
def target(path: Path, size: int) -> Iterator[Path]:
    """A dirty loop device of `size` bytes; its file is gone afterwards."""
    try:
        with loop(dirty(path, size), read_only=False) as device:
            yield device
    finally:
        path.unlink(missing_ok=True)
