"""Plans the partitions of a root disk, and renders their table for sfdisk(8); pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from installer.settings import MIB

SECTOR = 512
GPT_BACKUP = 33 * SECTOR  # backup entries and header, at the end of the disk (UEFI 2.10, 5.3)
MSDOS_LIMIT = 2**32 * SECTOR  # 32-bit sector numbers
BIOS_SIZE = 1 * MIB
ESP_SIZE = 128 * MIB


class Use(Enum):
    """What a partition holds."""

    BIOS_BOOT = "BIOS boot"
    ESP = "EFI system"
    ROOT = "root"


@dataclass(frozen=True)
class Partition:
    """A partition of the root disk; offset and size in bytes."""

    number: int
    use: Use
    offset: int
    size: int


def plan_partitions(style: str, size: int, alignment: int) -> tuple[Partition, ...]:
    """The partitions of a root disk; root is the last one, so that it can grow.

    Args:
        style: msdos, gpt or none.
        size: of the disk, in bytes.
        alignment: of each partition's start, in sectors of 512 bytes.
    """
    step = alignment * SECTOR
    if style == "none":
        return ()
    if style == "msdos":
        end = min(size, MSDOS_LIMIT)
        return (Partition(1, Use.ROOT, step, (end - step) // MIB * MIB),)
    bios, esp = step, step + _rounded_up(BIOS_SIZE, step)
    root = esp + _rounded_up(ESP_SIZE, step)
    return (
        Partition(1, Use.BIOS_BOOT, bios, BIOS_SIZE),
        Partition(2, Use.ESP, esp, ESP_SIZE),
        Partition(3, Use.ROOT, root, (size - GPT_BACKUP - root) // MIB * MIB),
    )


def _rounded_up(size: int, step: int) -> int:
    return -(-size // step) * step


def sfdisk_script(style: str, label_uuid: str, partitions: Iterable[Partition]) -> str:
    """The partition table as sfdisk(8) reads it from stdin."""
    types = {
        Use.BIOS_BOOT: "21686148-6449-6E6F-744E-656564454649",
        Use.ESP: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        # Not a root type of the Discoverable Partitions Specification, which systemd would mount
        # automatically. debian-installer also uses plain Linux data.
        Use.ROOT: "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    }
    if style == "msdos":
        lines = ["label: dos", f"label-id: 0x{label_uuid[:8]}"]
    else:
        lines = ["label: gpt", f"label-id: {label_uuid.upper()}"]
    lines += ["unit: sectors", ""]
    for part in partitions:
        kind = "83, bootable" if style == "msdos" else types[part.use]
        lines.append(f"start={part.offset // SECTOR}, size={part.size // SECTOR}, type={kind}")
    return "\n".join(lines) + "\n"
