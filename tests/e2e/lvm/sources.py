"""What the tests in the guest read: images of all kinds, on a disk of their own."""

import shutil
from pathlib import Path

from tests.system.backup import payload
from tests.system.converter import support
from tests.system.converter.support import MIB, Write

from .lvm_guest import ROOT_SIZE, SOURCES

# Not a multiple of LVM's extents of 4 MiB.
SIZE = 66 * MIB + 512
DATA = 6 * MIB
SWAP_UUID = "0d5b6c2e-3c1f-4f0e-9a57-5a1f3f1c7a11"
SWAP_LABEL = "tenant-swap"
DEBIAN_SIZE = ROOT_SIZE

SMALL = f"{SOURCES}/small.qcow2"
SMALL_RAW = f"{SOURCES}/small.raw"
DAMAGED = f"{SOURCES}/damaged.qcow2"
DAMAGED_AT = 40 * MIB
SWAP = f"{SOURCES}/swap.qcow2"
PAYLOAD = Path(payload.__file__)
DEBIAN = f"{SOURCES}/debian.qcow2"


def make_sources(directory: Path, debian: Path) -> None:
    writes = (
        Write(0, support.noise(2 * MIB, 1)),
        Write(8 * MIB, support.prose(2 * MIB, 2), compressed=True),
        Write(16 * MIB, 4 * MIB),
        Write(40 * MIB, support.prose(MIB, 3), compressed=True),
        Write(65 * MIB, support.noise(MIB + 512, 4)),
    )
    small = support.qcow2(directory / "small.qcow2", SIZE, *writes)
    raw = support.raw_of(small, directory / "small.raw")
    shutil.copy(raw, directory.parent)
    shutil.copy(PAYLOAD, directory)
    damaged = Path(shutil.copy(small, directory / "damaged.qcow2"))
    support.damage(damaged, DAMAGED_AT)
    area = directory / "swap.raw"
    area.write_bytes(support.noise(48 * MIB, 6))
    support.output("mkswap", "-q", "-U", SWAP_UUID, "-L", SWAP_LABEL, area)
    convert = ("qemu-img", "convert", "-O", "qcow2")
    support.output(*convert, "-f", "raw", area, directory / "swap.qcow2")
    area.unlink()
    options = ("-c", "-m", "2", "-o", "compression_type=zstd", "-f", "raw")
    support.output(*convert, *options, debian, directory / "debian.qcow2")
