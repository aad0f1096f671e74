"""The resume journal: how far a copy is on the disk, and which source and target it has."""

import json
from collections.abc import Iterator
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
    """One copy: its source, target and options, and how far it is.

    Everything on the target before `done` (bytes) is complete, and on the disk.
    """

    source: Identity
    target: Identity
    options: Identity  # those that change the target's content
    done: int
    path: str = ""  # of the target, as the user named it
    version: int = VERSION


def recorded(directory: Path = DIRECTORY) -> Iterator[tuple[Path, str, Identity]]:
    """The file of each record, of any version, with the path and identity of its target.

    Files that cannot be read are left out.
    """
    for path in sorted(directory.glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            fields = json.loads(path.read_bytes())
            yield path, str(fields["path"]), dict(fields["target"])


class Journal:
    """The record of the copy to one target, in a file of its own.

    The file's name is a hash of the target's identity, so each target has at most one.
    """

    def __init__(self, target: Identity, directory: Path = DIRECTORY) -> None:
        name = xxhash.xxh3_128_hexdigest(json.dumps(dict(target), sort_keys=True).encode())
        self.path = directory / f"{name}.json"
        self._replaced = False
        self._earlier: bytes | None = None  # what `begin` or `remove` has replaced

    def read(self) -> Record | None:
        """The record; None if there is none.

        Raises:
            KitError: it cannot be read, is damaged, or another version wrote it.
        """
        try:
            fields = json.loads(self.path.read_bytes())
            if fields["version"] != VERSION:
                raise ValueError(f"version {fields['version']}")
            record = Record(**fields)
            if not isinstance(record.done, int):
                raise TypeError("done is no number")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise KitError(
                f"journal {self.path}: unreadable: {error}",
                hint="another version of the kit wrote it, or it is damaged: remove it, and copy"
                " from the beginning",
            ) from error
        return record

    def of_another(self, path: str) -> Path | None:
        """The journal of an interrupted copy to another target that then had the same path."""
        for other in sorted(self.path.parent.glob("*.json")):
            with suppress(OSError, ValueError, TypeError, KeyError):
                if other != self.path and json.loads(other.read_bytes())["path"] == path:
                    return other
        return None

    def begin(self, record: Record) -> None:
        """Writes the first record of a copy.

        A first record need not be flushed, as it says that nothing is done. But if it replaces an
        earlier copy's record, it is flushed: after a power cut that record would come back, and it
        lists bytes as done that this copy overwrites.

        Raises:
            KitError: it cannot be written.
        """
        self._note_earlier()
        self._write(record, durable=self.path.exists())

    def withdraw(self) -> None:
        """Undoes `begin` or `remove` if no byte was written: restores an earlier record.

        Raises:
            KitError: it cannot be written or removed.
        """
        if not self._replaced:
            return
        if self._earlier is None:
            self.remove()
        else:
            self._put(self._earlier, durable=True)

    def _note_earlier(self) -> None:
        if not self._replaced:
            with suppress(OSError):  # a record that cannot be read need not be restored
                self._earlier = self.path.read_bytes()
            self._replaced = True

    def advance(self, record: Record, done: int) -> None:
        """Replaces the record by one with a new `done`, and flushes it to the disk.

        The caller must flush the target before.

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
                hint="copies need this journal to be resumable: see df and the file's directory",
            ) from error

    def remove(self) -> None:
        """Removes the record: the copy is complete, or cannot go on.

        Raises:
            KitError: it cannot be removed.
        """
        self._note_earlier()
        try:
            self.path.unlink()
            sync_directory(self.path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise KitError(
                f"journal {self.path}: {error.strerror}",
                hint="remove it: it is no longer needed",
            ) from error


def contradiction(before: Record, now: Record) -> str | None:
    """What has changed since an interrupted copy began, in words; None if nothing has."""
    for what, old, new in (
        ("the source", before.source, now.source),
        ("an option", before.options, now.options),
    ):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return f"{what} has changed: {key} was {old.get(key)}, is {new.get(key)}"
    return None
