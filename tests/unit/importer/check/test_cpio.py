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
    names = ("kernel/x86/microcode.bin",)
    assert part(MICROCODE + magic + b"...") == Part(2048, method, names)
    assert part(magic + b"...") == Part(0, method)


def test_an_archive_that_is_not_compressed() -> None:
    whole = entry("lib/modules/6.1/virtio_blk.ko", b"x" * 7) + entry("TRAILER!!!")
    module = "lib/modules/6.1/virtio_blk.ko"
    assert part(whole) == Part(0, None, (module,))
    assert part(MICROCODE + whole) == Part(2048, None, ("kernel/x86/microcode.bin", module))


def test_modules_in_front_of_the_compressed_part() -> None:
    """Those that are compressed themselves, in Ubuntu 24.04."""
    module = "usr/lib/modules/6.8.0-31-generic/kernel/drivers/virtio/virtio_pci.ko.zst"
    modules = entry(module, b"x" * 9) + entry("TRAILER!!!")
    found = part(modules + b"\x28\xb5\x2f\xfd...")
    assert found is not None and (found.method, found.names) == ("zstd", (module,))


@pytest.mark.parametrize("field", [b"-0000100", b" 0000001", b"0x000001", b"0000_001"])
@pytest.mark.parametrize("place", [54, 94])
def test_a_number_that_python_takes_and_linux_does_not(field: bytes, place: int) -> None:
    """A negative size led backwards in the file, and the appliance failed."""
    whole = entry("a", b"x" * 9)
    assert part(whole[:place] + field + whole[place + 8 :] + whole) is None


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"nonsense", b"070701nonsense" + b"x" * 200])
def test_what_is_no_initramfs(content: bytes) -> None:
    assert part(content) is None


@given(st.binary(max_size=600))
def test_whatever_it_has_it_ends(content: bytes) -> None:
    found = part(MICROCODE[:1200] + content)
    assert found is None or 0 <= found.offset <= 1200 + len(content)


def test_gzip() -> None:
    found = part(MICROCODE + gzip.compress(b"x"))
    assert found is not None and (found.offset, found.method) == (2048, "gzip")
