"""The ways to back up a guest: ours, that of ganeti-instance-debootstrap, and general programs.

Each is a piece of shell that finds in its environment DISK (the whole disk), PARTITION (a device
over its partition), FILES (where that is mounted) and STREAM (the backup's file); or, to restore,
TARGET and TARGET_PARTITION (blank), PLACE (a directory) and STREAM.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import contenders
from backup_goals import DD, DUMP, DUMP_ZSTD, E2IMAGE, QEMU, QEMU_TUNED, TAR
from goals import OURS

# How Ganeti runs an OS script: dd moves what it writes and reads, EXP_SIZE_FD takes the size.
GANETI_EXPORT = (
    'EXP_SIZE_FD=3 EXPORT_INDEX=0 EXPORT_DEVICE="{0}" EXPORT_DISK_PATH="{0}" ./export'
    ' 3>/dev/null | dd bs=1M of="$STREAM" status=none'
)
GANETI_IMPORT = (
    'dd bs=1M if="$STREAM" status=none |'
    ' IMPORT_INDEX=0 IMPORT_DEVICE="{0}" IMPORT_DISK_PATH="{0}" ./import'
)
DUMPED = 'dump -0 -q -f - "$PARTITION" | zstd -1 -q >"$STREAM"'
COPIED = 'dd if="$DISK" bs=1M status=none | zstd -1 -T0 -q >"$STREAM"'
COPIED_BACK = (
    'zstd -dcq "$STREAM" | dd of="$TARGET" bs=1M iflag=fullblock conv=sparse,notrunc status=none'
)
PACKED = 'tar -C "$FILES" --acls --xattrs --numeric-owner -c . | zstd -1 -q >"$STREAM"'
UNPACKED = """
mkfs.ext4 -q "$TARGET_PARTITION"
mount "$TARGET_PARTITION" "$PLACE"
zstd -dcq "$STREAM" | tar -C "$PLACE" --acls --xattrs --numeric-owner -xp
umount "$PLACE"
"""
# These are its fastest options here.
CONVERTED = (
    'qemu-img convert -W -m 16 -f raw -O qcow2 -c -o compression_type=zstd "$DISK" "$STREAM"'
)
CONVERTED_BACK = 'qemu-img convert {} -f qcow2 -O raw -n "$STREAM" "$TARGET"'


@dataclass(frozen=True)
class Contender:
    """A way to back up a disk.

    Attributes:
        export: the shell that makes a backup; empty if another's is restored.
        restore: the shell that restores it; empty if that is not measured.
        stream: whose backup it restores.
        is_of_files: whether it needs the partition, and its file system mounted.
        argv: makes the command line that runs its shell.
    """

    name: str
    export: str
    restore: str
    stream: str
    is_of_files: bool
    argv: Callable[[str, dict[str, str]], list[str]]


def everyone(directory: Path, disk: Path) -> list[Contender]:
    """All contenders, in the order of the tables.

    Args:
        directory: gets the files of both OS definitions.
        disk: the instance's, for Ganeti's environment.
    """
    ganeti = {**contenders.environment(disk), "DEBUG_LEVEL": "0"}
    ours = contenders.ours(directory)
    os_dir, _ = contenders.unpacked_peer(directory)
    theirs = contenders.theirs(directory, os_dir, {"packages": [], "mirror": None}, grub=False)

    def kit(shell: str, variables: dict[str, str]) -> list[str]:
        return _shell(f'cd "{ours.os_dir}"\n{shell}', ganeti | variables)

    def debootstrap(shell: str, variables: dict[str, str]) -> list[str]:
        # Private mounts: its defaults file is hard-coded.
        return theirs.argv(*_shell(shell, ganeti | variables))

    def plain(shell: str, variables: dict[str, str]) -> list[str]:
        return _shell(shell, {"PATH": os.environ["PATH"]} | variables)

    export, restore = GANETI_EXPORT, GANETI_IMPORT
    both = [
        (OURS, export.format("$DISK"), restore.format("$TARGET"), False, kit),
        (
            DUMP,
            export.format("$PARTITION"),
            restore.format("$TARGET_PARTITION"),
            True,
            debootstrap,
        ),
        (DUMP_ZSTD, DUMPED, "", True, plain),
        (DD, COPIED, COPIED_BACK, False, plain),
        (QEMU, CONVERTED, CONVERTED_BACK.format(""), False, plain),
        (TAR, PACKED, UNPACKED, True, plain),
        (E2IMAGE, 'e2image -ra "$PARTITION" "$STREAM"', "", True, plain),
    ]
    found = [
        Contender(name, to_stream, to_disk, name, is_of_files, argv)
        for name, to_stream, to_disk, is_of_files, argv in both
    ]
    tuned = CONVERTED_BACK.format("-W -m 16 -t none")
    return [*found, Contender(QEMU_TUNED, "", tuned, QEMU, False, plain)]


def _shell(text: str, variables: dict[str, str]) -> list[str]:
    given = [f"{name}={value}" for name, value in variables.items()]
    return ["env", "-i", *given, "bash", "-c", f"set -euo pipefail\n{text}"]
