import logging
import os
import struct
from pathlib import Path

import pytest
from seccomp import ALLOW, Arch, Attr, SyscallFilter

from node.isolation import nosync
from node.isolation.nosync import sync_filter

# AUDIT_ARCH_* (linux/audit.h).
X86_64, I386, ARM64, ARM, PPC64LE, RISCV64 = (
    *(0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0xC0000015, 0xC00000F3),
)
# Of each, the numbers of fsync, fdatasync, sync, syncfs, sync_file_range and msync (asm/unistd.h).
SYNCS = {
    X86_64: (74, 75, 162, 306, 277, 26),
    I386: (118, 148, 36, 344, 314, 144),
    ARM64: (82, 83, 81, 267, 84, 227),
    ARM: (118, 148, 36, 373, 341, 144),
    PPC64LE: (118, 148, 36, 348, 308, 144),
}
# On a node of which architecture the filter is made.
NODES = {
    X86_64: Arch.X86_64,
    I386: Arch.X86_64,
    ARM64: Arch.AARCH64,
    ARM: Arch.AARCH64,
    PPC64LE: Arch.PPC64LE,
}
X32 = 0x40000000  # a bit in the numbers of an architecture that Debian has no node of
RET_ALLOW, RET_ERRNO_0 = 0x7FFF0000, 0x00050000
DATA = struct.Struct("=iIQ6Q")  # struct seccomp_data: number, architecture, and what is not asked


def verdict(made: SyscallFilter, path: Path, architecture: int, number: int) -> int:
    """Runs the filter as the kernel does (bpf of linux/filter.h)."""
    with path.open("wb") as file:
        made.export_bpf(file)
    code = list(struct.iter_unpack("=HBBI", path.read_bytes()))
    data = DATA.pack(number, architecture, *[0] * 7)
    place, word = 0, 0
    while True:
        what, if_true, if_false, operand = code[place]
        place += 1
        match what:
            case 0x20:  # load a word
                (word,) = struct.unpack_from("=I", data, operand)
            case 0x05:  # jump
                place += operand
            case 0x15:  # jump if equal
                place += if_true if word == operand else if_false
            case 0x25:  # jump if greater
                place += if_true if word > operand else if_false
            case 0x35:  # jump if greater or equal
                place += if_true if word >= operand else if_false
            case _:
                assert what == 0x06, "an instruction that this test does not know"
                return int(operand)


@pytest.mark.parametrize("architecture", SYNCS)
def test_each_sync_succeeds_at_once(architecture: int, tmp_path: Path) -> None:
    made = sync_filter(NODES[architecture])
    for number in SYNCS[architecture]:
        assert verdict(made, tmp_path / "code", architecture, number) == RET_ERRNO_0


@pytest.mark.parametrize(
    ("node", "architecture", "number"),
    [
        (Arch.X86_64, X86_64, 0),
        (Arch.X86_64, X86_64, 118),
        (Arch.X86_64, X86_64, X32 + 74),
        (Arch.X86_64, X86_64, -1),  # of a tracer that wants it left out
        (Arch.X86_64, I386, 74),
        (Arch.X86_64, RISCV64, 74),
        (Arch.X86_64, RISCV64, 81),
        (Arch.AARCH64, ARM64, 74),
        (Arch.AARCH64, X86_64, 74),
    ],
)
def test_all_else_is_done(node: int, architecture: int, number: int, tmp_path: Path) -> None:
    assert verdict(sync_filter(node), tmp_path / "code", architecture, number) == RET_ALLOW


def test_set_user_id_programs_go_on_working() -> None:
    assert sync_filter().get_attr(Attr.CTL_NNP) == 0


def test_trying_the_filter_leaves_this_process_as_it_was() -> None:
    nosync._require_effect(sync_filter())
    with pytest.raises(OSError, match=os.strerror(9)):
        os.fsync(nosync.NOT_OPEN)


def refused() -> SyscallFilter:
    raise RuntimeError("Library error (errno = -125)")


@pytest.mark.parametrize(
    ("made", "why"), [(lambda: SyscallFilter(ALLOW), os.strerror(9)), (refused, "errno = -125")]
)
def test_a_node_where_it_has_no_effect_hears_so_once(
    made: object, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A kernel without seccomp cannot be had here: a filter that does nothing stands for it."""
    monkeypatch.setattr(nosync, "sync_filter", made)
    nosync.suppressor.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                nosync.suppressor()()
    finally:
        nosync.suppressor.cache_clear()
    (warning,) = caplog.messages
    assert "no effect" in warning and why in warning
