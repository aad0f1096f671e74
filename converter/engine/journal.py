"""What outlives a killed copy: up to where its target is known to be right, and of what source."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import xxhash

from converter.identity import Identity
from node.errors import KitError
from node.files import sync_directory, write_whole

DIRECTORY = Path("/var/lib/ganeti-instance-kit/copies")
VERSION = 2  # 1 had other identities of files and devices


@dataclass(frozen=True)
class Record:
    """One copy: what it reads and writes, how, and how far it is.

    Everything on the target before `done` (bytes) is as it shall be, and on the disk.
    """

    source: Identity
    target: Identity
    options: Identity  # those that change what the target shall hold
    done: int
    path: str = ""  # of the target, as the user named it
    version: int = VERSION


class Journal:
    """The record of the copy to one target, in a file of its own.

    Its name comes from the target's identity, so there is one at most for each.
    """

    def __init__(self, target: Identity, directory: Path = DIRECTORY) -> None:
        name = xxhash.xxh3_128_hexdigest(json.dumps(dict(target), sort_keys=True).encode())
        self.path = directory / f"{name}.json"
        self._replaced = False
        self._earlier: bytes | None = None  # what `begin` or `remove` has replaced

    def read(self) -> Record | None:
        """The record; None where there is none.

        Raises:
            KitError: it cannot be read, or is not one of ours.
        """
        try:
            fields = json.loads(self.path.read_bytes())
            if fields["version"] != VERSION:
                raise ValueError(f"version {fields['version']}")
            record = Record(**fields)
            if not isinstance(record.done, int):
                raise TypeError("no place")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise KitError(
                f"journal {self.path}: it cannot be understood: {error}",
                hint="another version of the kit wrote it, or it is damaged: remove it, and copy"
                " from the beginning",
            ) from error
        return record

    def of_another(self, path: str) -> Path | None:
        """The file of a copy to what had this path then, and is another target than ours."""
        for other in sorted(self.path.parent.glob("*.json")):
            with suppress(OSError, ValueError, TypeError, KeyError):
                if other != self.path and json.loads(other.read_bytes())["path"] == path:
                    return other
        return None

    def begin(self, record: Record) -> None:
        """Writes the first record of a copy.

        It need not be on the disk, as it promises nothing; but where it takes the place of an
        earlier copy's record it must be: a power cut would bring that back, and it promises
        bytes that this copy overwrites.

        Raises:
            KitError: it cannot be written.
        """
        self._note_earlier()
        self._write(record, durable=self.path.exists())

    def withdraw(self) -> None:
        """Undoes `begin` or `remove` where no byte was written: an earlier record stands again.

        Raises:
            KitError: it cannot be written, or taken away.
        """
        if not self._replaced:
            return
        if self._earlier is None:
            self.remove()
        else:
            self._put(self._earlier, durable=True)

    def _note_earlier(self) -> None:
        if not self._replaced:
            with suppress(OSError):  # what cannot be read is of no use to anyone
                self._earlier = self.path.read_bytes()
            self._replaced = True

    def advance(self, record: Record, done: int) -> None:
        """Replaces the record by one that is further on, and is on the disk afterwards.

        The caller has flushed the target before.

        Raises:
            KitError: it cannot be written.
        """
        self._write(replace(record, done=done), durable=True)

    def _write(self, record: Record, *, durable: bool) -> None:
        self._put(json.dumps(asdict(record)).encode(), durable=durable)

    def _put(self, content: bytes, *, durable: bool) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self.path, content, durable=durable)
        except OSError as error:
            raise KitError(
                f"journal {self.path}: {error.strerror}",
                hint="the journal makes the copy resumable: make room there",
            ) from error

    def remove(self) -> None:
        """Takes the record away: the copy is complete, or will not go on.

        Raises:
            KitError: it cannot be taken away.
        """
        self._note_earlier()
        try:
            self.path.unlink()
            sync_directory(self.path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise KitError(
                f"journal {self.path}: {error.strerror}", hint="remove it: it is of no use any more"
            ) from error


def contradiction(before: Record, now: Record) -> str | None:
    """What is not as it was when an interrupted copy began; None where all is."""
    for what, old, new in (
        ("the source", before.source, now.source),
        ("what shall become of it", before.options, now.options),
    ):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return f"{what} is not as it was: {key} was {old.get(key)}, is {new.get(key)}"
    return None
