"""What is told of an image that QEMU does not read; the lines are those of QEMU 7.2."""

import pytest

from converter.sources.refusal import refusal

JSON = 'json:{"driver":"vhdx","file":{"driver":"file","filename":"/image"}}'
REPLAY = [
    f"qemu-img: Could not open '{JSON}': VHDX image file '/image' opened read-only, but contains a"
    " log that needs to be replayed",
    "To replay the log, run:",
    "qemu-img check -r all '/image'",
]


@pytest.mark.parametrize(
    ("image_format", "said", "why"),
    [
        ("vhdx", REPLAY, "its log has changes that are not applied yet"),
        (
            "parallels",
            [
                "ERROR image was not closed correctly",
                "ERROR space leaked at the end of the image 133169152",
                "",
                "1 errors were found on the image.",
            ],
            "it was not closed",
        ),
        (
            "qed",
            [
                "ERROR cluster 3 is out of range",
                "ERROR cluster 5 is out of range",
                "2 errors were found on the image.",
                "Data may be corrupted, or further writes to the image may corrupt it.",
            ],
            "cluster 3 is out of range (and 1 more errors)",
        ),
        (
            "vdi",
            [f"qemu-img: Could not open '{JSON}': unsupported VDI image (block size 5)"],
            "unsupported VDI image (block size 5)",
        ),
        ("vmdk", ["qemu-img: Could not open '/dev/fd/3': invalid VMDK"], "invalid VMDK"),
        ("vmdk", ["something else", "last words"], "last words"),
        ("vmdk", [], "it ended without a message"),
        ("vmdk", ["qemu-img: VMDK: '/image' has it"], "VMDK: '/srv/a b' has it"),
    ],
)
def test_the_reason(image_format: str, said: list[str], why: str) -> None:
    error = refusal("/srv/a b", image_format, said, internal="/image", path="/srv/a b")
    assert error.message.startswith(f"source /srv/a b: QEMU refuses it: {why}"), error.message
    assert "/image" not in error.message + (error.hint or "")


def test_how_it_is_repaired_and_where() -> None:
    error = refusal("a b", "vhdx", REPLAY, internal="/image", path="a b")
    assert error.hint is not None
    assert error.hint.endswith("nothing uses it: qemu-img check -r all -f vhdx 'a b'")
    url = "ssh://far/srv/a%20b"
    error = refusal(url, "vhdx", REPLAY, internal="/image", path="/srv/a b", host="far")
    assert error.message.startswith(f"source {url}: ")
    assert error.hint is not None
    assert error.hint.endswith("on far: qemu-img check -r all -f vhdx '/srv/a b'")


def test_what_cannot_be_repaired_is_not_said_to_be() -> None:
    for image_format in ("vmdk", "vdi", "vpc", "qcow2", "raw"):
        error = refusal("a", image_format, [], internal="/image", path="a")
        assert error.hint is not None and "check -r" not in error.hint
