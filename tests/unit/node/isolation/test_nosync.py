import pytest

from node.isolation.nosync import (
    ARCHITECTURE,
    JUMP_IF_EQUAL,
    LOAD_WORD,
    RET_ALLOW,
    RET_ERRNO_0,
    RETURN,
    SYSCALLS,
    program,
)

X86_64, I386, ARM64 = SYSCALLS
RISCV64 = 0xC00000F3


def verdict(architecture: int, number: int) -> int:
    """Runs the filter as the kernel does."""
    place, word = 0, 0
    code = program()
    while True:
        what, if_true, if_false, operand = code[place]
        place += 1
        if what == LOAD_WORD:
            word = architecture if operand == ARCHITECTURE else number
        elif what == JUMP_IF_EQUAL:
            place += if_true if word == operand else if_false
        else:
            assert what == RETURN
            return operand


@pytest.mark.parametrize("architecture", SYSCALLS)
def test_each_sync_succeeds_at_once(architecture: int) -> None:
    for number in SYSCALLS[architecture]:
        assert verdict(architecture, number) == RET_ERRNO_0


@pytest.mark.parametrize(
    ("architecture", "number"),
    [(X86_64, 0), (X86_64, 118), (I386, 74), (ARM64, 74), (RISCV64, 74), (RISCV64, 81)],
)
def test_all_else_is_done(architecture: int, number: int) -> None:
    assert verdict(architecture, number) == RET_ALLOW
