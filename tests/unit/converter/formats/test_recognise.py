"""The hint for an image of another format names an option that then works."""

import pytest

from converter.cli.hints import HINTS
from converter.errors import FormatMismatch
from converter.formats.recognise import check_format
from converter.sources.ssh import FORMATS


def refused(head: bytes, image_format: str, *, is_block: bool = False) -> FormatMismatch:
    image = head.ljust(1024, b"\0") if head else b""

    def read(offset: int, length: int) -> bytes:
        assert offset + length <= len(image)
        return image[offset : offset + length]

    with pytest.raises(FormatMismatch) as caught:
        check_format("a", image_format, read, len(image), is_block=is_block)
    return caught.value


@pytest.mark.parametrize(
    ("head", "image_format", "is_block", "option"),
    [
        (b"LUKS\xba\xbe", "qcow2", False, "--format raw"),
        (b"LUKS\xba\xbe", "qcow2", True, "leave --format out"),
        (b"QFI\xfb", "raw", False, "leave --format out"),
        (b"QFI\xfb", "raw", True, "--format qcow2"),
        (b"KDMV", "qcow2", False, "--format vmdk"),
        (b"conectix", "raw", True, "--format vpc"),
    ],
)
def test_the_option_is_one_that_there_is(
    head: bytes, image_format: str, is_block: bool, option: str
) -> None:
    error = refused(head, image_format, is_block=is_block)
    assert "by its magic it is a " in error.message and f"not {image_format}" in error.message
    assert HINTS[FormatMismatch](error) == f"{option}, if that is its format"
    assert option.removeprefix("--format ") in (*FORMATS, "leave --format out")


def test_what_is_no_image_at_all() -> None:
    for head, begins in ((b"abcd", "61 62 63 64"), (b"", "nothing")):
        error = refused(head, "qcow2")
        assert error.message == f"source a: not a qcow2 image: it begins with {begins}"
        assert "--format raw" in HINTS[FormatMismatch](error)


def test_an_encrypted_disk_is_a_raw_one() -> None:
    check_format("a", "raw", lambda *_: b"LUKS\xba\xbe".ljust(512), 512, is_block=False)
