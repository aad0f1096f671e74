"""Programs for which fsync(2) and its kin do nothing.

Package managers sync after every step, each time down to the platter. Where the whole result is
thrown away after a crash, that is time lost: half of a bootstrap on a loop device. A seccomp(2)
filter lets these calls succeed at once, for the program and all of its children, whatever C
library they bring. The caller syncs when all is done; unmounting does.
"""

import ctypes
import struct

# AUDIT_ARCH_* (linux/audit.h) and, of each, the numbers of fsync, fdatasync, sync, syncfs,
# sync_file_range and msync (asm/unistd.h).
SYSCALLS = {
    0xC000003E: (74, 75, 162, 306, 277, 26),  # x86-64
    0x40000003: (118, 148, 36, 344, 314, 144),  # i386
    0xC00000B7: (82, 83, 81, 267, 84, 227),  # arm64
}
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
RET_ALLOW, RET_ERRNO_0 = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data


def program() -> list[tuple[int, int, int, int]]:
    """The filter as code, jump-if-true, jump-if-false and operand of each instruction (bpf(4))."""
    filters = []
    for architecture, numbers in SYSCALLS.items():
        count = len(numbers)
        filters.append((LOAD_WORD, 0, 0, ARCHITECTURE))
        filters.append((JUMP_IF_EQUAL, 0, count + 3, architecture))
        filters.append((LOAD_WORD, 0, 0, NUMBER))
        filters += [
            (JUMP_IF_EQUAL, count - place, 0, number) for place, number in enumerate(numbers)
        ]
        filters.append((RETURN, 0, 0, RET_ALLOW))
        filters.append((RETURN, 0, 0, RET_ERRNO_0))
    filters.append((RETURN, 0, 0, RET_ALLOW))
    return filters


# Made beforehand: between fork(2) and execve(2), the less is done the better.
_libc = ctypes.CDLL(None)
_code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program()))
_header = struct.pack("HP", len(program()), ctypes.addressof(_code))


def suppress_syncs() -> None:
    """Installs the filter for this process and its children; kernels without seccomp go on as is.

    Being root, it needs no no_new_privs, which would keep set-user-ID programs from working.
    """
    _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, _header, 0, 0)
