"""The agent's NBD client, against what real servers said."""

import errno
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from importer.copying.comparison.agent import Nbd, NbdError
from tests.unit.importer.copying.replay import replayed

DISK = b"x" * 4096 + bytes(8192) + b"y" * 4096
SIZE = len(DISK)


def words(text: str) -> bytes:
    return bytes.fromhex(text)


# Of qemu-nbd 7.2 with a sparse raw file: each pair is what we sent, and what it then said.
GREETING = (b"", words("4e42444d4147494349484156454f50540003"))
STRUCTURED = (
    words("00000003 49484156454f5054 00000008 00000000"),
    words("0003e889045565a9 00000008 00000001 00000000"),
)
META = (
    words("49484156454f5054 0000000a 0000001b 00000000 00000001 0000000f") + b"base:allocation",
    words("0003e889045565a9 0000000a 00000004 00000013 00000000")
    + b"base:allocation"
    + words("0003e889045565a9 0000000a 00000001 00000000"),
)
GO = (
    words("49484156454f5054 00000007 00000006 00000000 0000"),
    words("0003e889045565a9 00000007 00000003 0000000e 0003 00000001 00001000 02000000")
    + words("0003e889045565a9 00000007 00000003 0000000c 0000 0000000000004000 058f")
    + words("0003e889045565a9 00000007 00000001 00000000"),
)
OPENED = (GREETING, STRUCTURED, META, GO)
STATUS = (
    words("25609513 0000 0007 0000000000000000 0000000000000000 00004000"),
    words("668e33ef 0001 0005 0000000000000000 0000001c 00000000")
    + words("00001000 00000000 00002000 00000003 00001000 00000000"),
)
READ_ALL = words("25609513 0000 0000 0000000000000000 0000000000000000 00004000")
READ = (
    READ_ALL,
    words("668e33ef 0000 0001 0000000000000000 00001008 0000000000000000")
    + b"x" * 4096
    + words("668e33ef 0000 0002 0000000000000000 0000000c 0000000000001000 00002000")
    + words("668e33ef 0001 0001 0000000000000000 00001008 0000000000003000")
    + b"y" * 4096,
)
BEYOND = (
    words("25609513 0000 0000 0000000000000000 0000000000004000 00000200"),
    words("668e33ef 0001 8001 0000000000000000 0000003c 00000016 0036")
    + b"operation past EOF; From: 16384, Len: 512, Size: 16384",
)
# As QEMU 2.8 (Debian 9) has it: no structured replies, no OPT_GO.
UNSUPPORTED = "0003e889045565a9 {:08x} 80000001 00000000"
OLD = (
    GREETING,
    (STRUCTURED[0], words(UNSUPPORTED.format(8))),
    (GO[0], words(UNSUPPORTED.format(7))),
    (words("49484156454f5054 00000001 00000000"), words("0000000000004000 0003")),
)
OLD_READ = (READ_ALL, words("67446698 00000000 0000000000000000") + DISK)


def read(disk: Nbd, offset: int = 0, length: int = SIZE) -> bytes:
    found = bytearray(b"?" * length)
    disk.read(offset, memoryview(found))
    return bytes(found)


def test_a_disk_is_described_and_read(tmp_path: Path) -> None:
    with replayed(tmp_path / "s", [*OPENED, STATUS, READ, BEYOND]) as path:
        disk = Nbd(str(path), "", 5)
        assert disk.size == SIZE
        assert disk.status(0, SIZE) == [(4096, 0), (8192, 3), (4096, 0)]
        assert read(disk) == DISK
        with pytest.raises(NbdError) as caught:
            read(disk, SIZE, 512)
        assert caught.value.errno == errno.EINVAL
        disk.close()


def test_an_old_server_has_no_holes(tmp_path: Path) -> None:
    with replayed(tmp_path / "s", [*OLD, OLD_READ]) as path:
        disk = Nbd(str(path), "", 5)
        assert disk.size == SIZE
        assert disk.status(0, SIZE) == [(SIZE, 0)]
        assert read(disk) == DISK
        disk.close()


def test_a_simple_error_has_its_number(tmp_path: Path) -> None:
    with replayed(
        tmp_path / "s", [*OLD, (READ_ALL, words("67446698 00000005" + "00" * 8))]
    ) as path:
        disk = Nbd(str(path), "", 5)
        with pytest.raises(NbdError) as caught:
            read(disk)
        assert caught.value.errno == errno.EIO
        disk.close()


def test_an_unknown_export_is_refused_with_the_servers_words(tmp_path: Path) -> None:
    refusal = words("0003e889045565a9 00000007 80000006 00000003") + b"no!"
    with (
        replayed(tmp_path / "s", [GREETING, STRUCTURED, META, (GO[0], refusal)]) as path,
        pytest.raises(NbdError, match=r"refuses the export \(0x80000006\): no!"),
    ):
        Nbd(str(path), "", 5)


@pytest.mark.parametrize(
    "answer",
    [
        b"",  # closed
        words("00000000"),
        READ[1][:-1],
        words("668e33ef 0001 0001 0000000000000000 00001008 0000000000003001") + bytes(4096),
        words("668e33ef 0001 0002 0000000000000000 0000000c 0000000000000000 00004001"),
        words("668e33ef 0001 0005 0000000000000000 0000000c 0000000000000000 00000000"),
        words("668e33ef 0001 0000 0000000000000000 00000000"),  # done, but nothing was read
        words("668e33ef 0001 0002 0000000000000001 0000000c 0000000000000000 00004000"),
        words("668e33ef 0001 8001 0000000000000000 00000002 0000"),
    ],
)
def test_a_read_that_is_not_answered_fails(answer: bytes, tmp_path: Path) -> None:
    with replayed(tmp_path / "s", [*OPENED, (READ_ALL, answer)]) as path:
        disk = Nbd(str(path), "", 5)
        with pytest.raises(NbdError):
            read(disk)
        disk.close()


@pytest.mark.parametrize(
    "answer",
    [
        words("668e33ef 0001 0005 0000000000000000 00000004 00000000"),  # no run
        words("668e33ef 0001 0005 0000000000000000 0000000c 00000009 00004000 00000000"),
        words("668e33ef 0001 0005 0000000000000000 0000000b 00000000 00004000 000000"),
        words("668e33ef 0001 0001 0000000000000000 00000009 0000000000000000 00"),
    ],
)
def test_a_status_that_is_not_answered_fails(answer: bytes, tmp_path: Path) -> None:
    with replayed(tmp_path / "s", [*OPENED, (STATUS[0], answer)]) as path:
        disk = Nbd(str(path), "", 5)
        with pytest.raises(NbdError):
            disk.status(0, SIZE)
        disk.close()


@pytest.mark.parametrize(
    "talk",
    [
        [(b"", b"SSH-2.0-OpenSSH_9.2\r\n")],
        [(b"", GREETING[1][:-2] + b"\0\0")],  # not fixed newstyle
        [GREETING, (STRUCTURED[0], words("0003e889045565a9 00000007 00000001 00000000"))],
        [GREETING, (STRUCTURED[0], words("0003e889045565a9 00000008 00000001 7fffffff"))],
        [GREETING, STRUCTURED, META, (GO[0], words("0003e889045565a9 00000007 00000001 00000000"))],
    ],
)
def test_what_is_no_nbd_server_is_refused(
    talk: Sequence[tuple[bytes, bytes]], tmp_path: Path
) -> None:
    with replayed(tmp_path / "s", talk) as path, pytest.raises(NbdError):
        Nbd(str(path), "", 5)


def test_a_name_of_an_export_is_sent(tmp_path: Path) -> None:
    named = struct.pack(">I", 3) + b"vda"
    meta = words("49484156454f5054 0000000a 0000001e") + named + META[0][20:]
    go = words("49484156454f5054 00000007 00000009") + named + bytes(2)
    talk = [GREETING, STRUCTURED, (meta, META[1]), (go, GO[1])]
    with replayed(tmp_path / "s", talk) as path:
        Nbd(str(path), "vda", 5).close()
