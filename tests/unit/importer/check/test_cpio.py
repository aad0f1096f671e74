import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.check.cpio import MAGICS, Part, compressed_part


def entry(name: str, content: bytes = b"") -> bytes:
    """An entry of a cpio archive in the format newc."""
    fields = [0] * 13
    fields[6], fields[11] = len(content), len(name) + 1
    head = b"070701" + b"".join(b"%08X" % field for field in fields)
    named = (head + name.encode() + b"\0").ljust(-(-(len(head) + len(name) + 1) // 4) * 4, b"\0")
    return named + content.ljust(-(-len(content) // 4) * 4, b"\0")


MICROCODE = (entry("kernel/x86/microcode.bin", b"x" * 1001) + entry("TRAILER!!!")).ljust(
    2048, b"\0"
)


def part(content: bytes) -> Part | None:
    return compressed_part(lambda offset, length: content[offset : offset + length], len(content))


@pytest.mark.parametrize(("magic", "method"), MAGICS.items())
def test_the_compressed_part_is_behind_the_microcode(magic: bytes, method: str) -> None:
    assert part(MICROCODE + magic + b"...") == Part(2048, method)
    assert part(magic + b"...") == Part(0, method)


def test_an_archive_that_is_not_compressed() -> None:
    whole = entry("lib/modules/6.1/virtio_blk.ko", b"x" * 7) + entry("TRAILER!!!")
    assert part(whole) == Part(0, None)
    assert part(MICROCODE + whole) == Part(2048, None)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"nonsense", b"070701nonsense" + b"x" * 200])
def test_what_is_no_initramfs(content: bytes) -> None:
    assert part(content) is None


@given(st.binary(max_size=600))
def test_whatever_it_has_it_ends(content: bytes) -> None:
    found = part(MICROCODE[:1200] + content)
    assert found is None or 0 <= found.offset <= 1200 + len(content)


def test_gzip() -> None:
    found = part(MICROCODE + gzip.compress(b"x"))
    assert found == Part(2048, "gzip")
