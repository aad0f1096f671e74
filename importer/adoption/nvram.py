"""Carries the UEFI variables of a domain, with its boot entries of partitions, to the nodes."""

import base64
import binascii
import os
from pathlib import Path

from importer.adoption.boot_entries import without_old_hardware
from importer.ganeti import Ganeti
from importer.host.connection import KvmHost
from importer.plan.hypervisor import FIRMWARE
from importer.plan.model import Variables
from node.errors import KitError
from node.files import read_bytes, write_whole

# $1: the file. Written beside it, and renamed, so that there is never a part of it.
_WRITE = """
umask 077
mkdir -p "$(dirname "$1")"
base64 -d > "$1.new"
sync "$1.new"
mv "$1.new" "$1"
"""


def read(host: KvmHost, variables: Variables) -> bytes:
    """The variables of a domain, for its new hardware; they change while it runs.

    Raises:
        KitError: they cannot be read, or are no variables for the firmware here.
    """
    what = f"UEFI variables {variables.source}"
    arguments = (variables.source, str(max(FIRMWARE) + 1))
    said = host.script('head -c "$2" -- "$1" | base64', *arguments, what=what).stdout
    content = _decoded(said, what)
    try:
        if len(content) not in FIRMWARE:
            raise ValueError(f"{len(content)} bytes, or more: no raw file of variables of OVMF")
        return without_old_hardware(content)
    except ValueError as error:
        raise KitError(
            f"{what}: {error}",
            hint="remove [variables] from the plan, and use -bios in its kvm_extra: the firmware"
            " then boots \\EFI\\BOOT\\BOOTX64.EFI",
        ) from error


def fetch(host: KvmHost, variables: Variables) -> None:
    """Copies the variables of a domain that does not run to this node.

    Raises:
        KitError: as `read`, or they cannot be written.
    """
    content = read(host, variables)
    path = Path(variables.file)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, content, mode=0o600, durable=True)
    except OSError as error:
        raise KitError(f"{path}: {error.strerror}", hint="see df and the directory") from error


def distribute(ganeti: Ganeti, variables: Variables, node: str) -> None:
    """Copies the variables from this node to another one, which may run the instance.

    Raises:
        KitError: that node cannot be reached, or the file not be read or written.
    """
    try:
        content = read_bytes(Path(variables.file))
    except OSError as error:
        raise KitError(
            f"UEFI variables {variables.file}: {error.strerror}", hint="copy them to all nodes"
        ) from error
    argv = ["sh", "-euc", _WRITE, "variables", variables.file]
    ganeti.run(argv, node=node, input=base64.b64encode(content).decode())


def remove(variables: Variables) -> None:
    """Removes the variables of this node.

    Raises:
        KitError: they cannot be removed.
    """
    try:
        Path(variables.file).unlink(missing_ok=True)
    except OSError as error:
        raise KitError(
            f"{variables.file}: {error.strerror}", hint=f"rm {os.fspath(variables.file)}"
        ) from error


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise KitError(f"{what}: {error}", hint="is base64 on that host?") from error
