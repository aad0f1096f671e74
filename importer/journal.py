"""The journal of an import: what its plan was, what was made and changed, and how far it is.

    /var/lib/ganeti-instance-kit/imports/INSTANCE/state.json    mode 0600, in a directory 0700
    /var/lib/ganeti-instance-kit/imports/.INSTANCE.lock         while a command works on it

Write what a step is about to change before it does (`update`), so that `import abort` and a rerun
find it after SIGKILL or a power cut.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from importer.fields import decoded
from importer.import_state import (
    VERSION,
    ImportState,
    NicAddresses,
    Pass,
    Step,
    Volume,
)
from importer.plan import names
from importer.plan.file import PlanInvalid, changes, parse
from importer.plan.model import ImportPlan
from node.errors import KitError
from node.files import read_bytes, sync_directory, write_whole
from node.lockfile import is_locked, locked

__all__ = ["ImportState", "NicAddresses", "Pass", "Step", "Volume"]

DIRECTORY = Path("/var/lib/ganeti-instance-kit/imports")
STATE = "state.json"


class Journal:
    """The journal of one import, while its lock is held (`opened`)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self) -> ImportState:
        """The state.

        Raises:
            KitError: it cannot be read, is damaged, or another version wrote it.
        """
        return _read(self.directory)

    def update(self, change: Callable[[ImportState], ImportState]) -> ImportState:
        """Changes the state, atomically and durably (fsync(2)); returns the new one.

        Raises:
            KitError: it cannot be read or written.
        """
        state = change(self.read())
        _write(self.directory, state)
        return state

    def completed(self, step: Step) -> ImportState:
        """Notes that a step is complete."""
        return self.update(lambda state: state.with_step(step))

    def note_plan_file(self, path: Path) -> None:
        """Notes where the plan is, for the hints of verbs that are given the instance only.

        Raises:
            KitError: as `update`.
        """
        self.update(lambda state: replace(state, plan_file=str(path.absolute())))

    def remove(self) -> None:
        """Removes the import's directory.

        Raises:
            KitError: it cannot be removed.
        """
        try:
            # A directory without a state is no import (see `imports`); the rest follows.
            (self.directory / STATE).unlink(missing_ok=True)
            sync_directory(self.directory)
            shutil.rmtree(self.directory)
        except OSError as error:
            raise _unusable(self.directory, error) from error


@contextmanager
def opened(instance: str, directory: Path = DIRECTORY) -> Iterator[Journal]:
    """Holds the lock of an import during the block.

    Args:
        instance: its full name.
        directory: of all imports.

    Raises:
        KitError: there is no such import, or another command works on it.
    """
    _require_name(instance)
    with _locked(instance, directory):
        journal = Journal(directory / instance)
        journal.read()
        yield journal


@contextmanager
def resumed(plan: ImportPlan, text: str, directory: Path = DIRECTORY) -> Iterator[Journal]:
    """Holds the lock of an import that has begun during the block; see `begun`.

    Raises:
        KitError: there is no such import; and as `begun`.
    """
    with opened(plan.instance, directory) as journal:
        _accept(journal, plan, text)
        yield journal


@contextmanager
def begun(plan: ImportPlan, text: str, directory: Path = DIRECTORY) -> Iterator[Journal]:
    """Holds the lock of an import during the block; begins it if there is none of that instance.

    Args:
        plan: the plan.
        text: of its file.
        directory: of all imports.

    Raises:
        KitError: another command works on it, or it began with another plan, or cannot be
            written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _unusable(directory, error) from error
    with _locked(plan.instance, directory):
        journal = Journal(directory / plan.instance)
        if not (journal.directory / STATE).exists():
            state = ImportState(plan.instance, plan.host, plan.domain, plan.uuid, text, time.time())
            try:
                journal.directory.mkdir(exist_ok=True, mode=0o700)
                sync_directory(directory)
            except OSError as error:
                raise _unusable(journal.directory, error) from error
            _write(journal.directory, state)
        else:
            _accept(journal, plan, text)
        yield journal


def read(instance: str, directory: Path = DIRECTORY) -> ImportState:
    """The state of an import; another command may be working on it.

    Raises:
        KitError: there is none of that name, or it cannot be read.
    """
    _require_name(instance)
    return _read(directory / instance)


def imports(directory: Path = DIRECTORY) -> Iterator[str]:
    """The instances of all imports, by name."""
    for path in sorted(directory.glob(f"*/{STATE}")):
        yield path.parent.name


def in_use(instance: str, directory: Path = DIRECTORY) -> bool:
    """Whether a command works on an import at the moment."""
    return is_locked(_lock(instance, directory))


def recorded_plan(state: ImportState) -> ImportPlan:
    """The plan of an import.

    Raises:
        KitError: another version of the kit has written it.
    """
    try:
        return parse(state.plan)
    except PlanInvalid as error:
        raise KitError(
            f"plan in the journal of {state.instance}: {error}",
            hint="go on with the version of the kit that began the import",
        ) from error


def _require_name(instance: str) -> None:
    """Refuses what is no name, such as a path: there is no such import."""
    if not names.is_instance(instance):
        raise _missing(instance)


def _lock(instance: str, directory: Path) -> Path:
    return directory / f".{instance}.lock"  # no instance has a name with a dot at its start


@contextmanager
def _locked(instance: str, directory: Path) -> Iterator[None]:
    if in_use(instance, directory):
        raise KitError(
            f"import {instance}: another command works on it",
            hint=f"wait for its end; instance-kit import status {instance}",
        )
    if not directory.is_dir():
        raise _missing(instance)
    with locked(_lock(instance, directory), f"import {instance}"):
        yield


def _read(directory: Path) -> ImportState:
    path = directory / STATE
    try:
        value = json.loads(read_bytes(path))
        if isinstance(value, dict) and value.get("version") != VERSION:
            raise ValueError(f"version {value.get('version')!r}, not {VERSION}")
        return decoded(ImportState, value)
    except FileNotFoundError as error:
        raise _missing(directory.name) from error
    except (OSError, ValueError, RecursionError) as error:
        raise KitError(
            f"journal {path}: unreadable: {error}",
            hint="another version of the kit wrote it, or it is damaged: finish the import with"
            f" that version, or remove the volumes with the tag import+{directory.name} by hand",
        ) from error


def _write(directory: Path, state: ImportState) -> None:
    path = directory / STATE
    try:
        content = json.dumps(asdict(state), indent=1).encode()
        write_whole(path, content, mode=0o600, durable=True)
    except OSError as error:
        raise _unusable(path, error) from error


def _missing(instance: str) -> KitError:
    return KitError(
        f"import {instance}: there is none of that name on this node",
        hint="instance-kit import status lists all",
    )


def _unusable(path: Path, error: OSError) -> KitError:
    return KitError(
        f"journal {path}: {error.strerror}",
        hint="an import keeps there what it has made: see df and the directory",
    )


def _accept(journal: Journal, plan: ImportPlan, text: str) -> None:
    """Takes over changes of the plan that do not concern what was made by the old one.

    Raises:
        KitError: they do.
    """
    state = journal.read()
    if text == state.plan:
        return
    changed = changes(recorded_plan(state), plan, adopted=state.done("add"))
    if changed:
        name = plan.instance
        raise KitError(
            f"import {name}: {', '.join(changed)} of its plan changed since the first step",
            hint=f"change it back, or begin anew: instance-kit import abort {name}; an instance"
            " that exists is changed by gnt-instance modify",
        )
    journal.update(lambda state: replace(state, plan=text))
