"""What QEMU says of images, and how it is told of them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import ImageRefused, SourceInUse
from importer.domains.domain import SourceDisk
from importer.host.images import (
    ImageInfo,
    Served,
    image_info,
    parse_info,
    serve_argv,
    served,
)
from node.errors import KitError
from tests.unit.importer.fake_host import FakeHost, said

ROOT = SourceDisk("vda", "virtio", "qcow2", "/srv/a b,c.qcow2", False)
VOLUME = SourceDisk("vdb", "virtio", "raw", "/dev/vg0/srv", True)
ROOT_IMAGE = (
    '"driver":"qcow2","file":{"driver":"file","filename":"/srv/a b,c.qcow2"},"backing":null'
)
# Of QEMU 7.2, of an image with everything that may hinder a move.
QCOW2 = """\
{
    "backing-filename-format": "qcow2",
    "virtual-size": 1073741824,
    "filename": "/srv/a.qcow2",
    "cluster-size": 65536,
    "format": "qcow2",
    "actual-size": 200704,
    "encrypted": true,
    "snapshots": [
        {"vm-clock-nsec": 0, "name": "before", "date-sec": 1, "id": "1", "vm-state-size": 0}
    ],
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "data-file": "a.data",
            "bitmaps": [
                {"flags": ["in-use", "auto"], "name": "lost", "granularity": 65536},
                {"flags": ["auto"], "name": "good", "granularity": 65536}
            ],
            "refcount-bits": 16,
            "corrupt": true
        }
    },
    "full-backing-filename": "/srv/base.qcow2",
    "backing-filename": "base.qcow2",
    "dirty-flag": false
}
"""
RAW = """\
{"virtual-size": 104857600, "filename": "/srv/b.img", "format": "raw", "actual-size": 4096,
 "dirty-flag": false}
"""


def test_info_of_an_image_in_use() -> None:
    host = FakeHost(said(RAW))
    image_info(host, ROOT)
    image_info(host, VOLUME)
    assert host.asked == [
        [
            *("qemu-img", "info", "--force-share", "--output=json"),
            f'json:{{{ROOT_IMAGE},"force-share":true}}',
        ],
        [
            *("qemu-img", "info", "--force-share", "--output=json"),
            'json:{"driver":"raw","file":{"driver":"host_device","filename":"/dev/vg0/srv"},'
            '"force-share":true}',
        ],
    ]


def test_samples() -> None:
    assert parse_info(QCOW2) == ImageInfo(
        size=1 << 30,
        allocated=200704,
        version=3,
        backing="base.qcow2",
        data_file="a.data",
        is_encrypted=True,
        is_corrupt=True,
        bitmaps={"lost": True, "good": False},
        snapshots=("before",),
    )
    old = parse_info(QCOW2.replace('"1.1"', '"0.10"').replace('"encrypted": true,', ""))
    assert old.version == 2 and not old.is_encrypted
    assert parse_info(RAW) == ImageInfo(100 << 20, 4096, None, None, None, False, False, {}, ())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(
    found=st.fixed_dictionaries(
        {},
        optional={
            "virtual-size": st.integers() | JSON,
            "actual-size": st.integers() | JSON,
            "backing-filename": JSON,
            "snapshots": JSON,
            "format-specific": st.dictionaries(
                st.just("data"),
                st.dictionaries(st.sampled_from(["compat", "bitmaps", "data-file"]), JSON) | JSON,
            )
            | JSON,
        },
    )
    | JSON
)
def test_any_answer_is_understood_or_refused(found: object) -> None:
    try:
        info = parse_info(json.dumps(found))
    except ValueError:
        return
    assert info.size >= 0 and info.allocated >= 0


def test_an_answer_of_another_kind() -> None:
    with pytest.raises(KitError, match="on kvm1: its output is not as expected"):
        image_info(FakeHost(said("{}")), ROOT)


@pytest.mark.parametrize(
    ("why", "message"),
    [
        ("No such file or directory", "source /dev/vg0/srv on kvm1: it does not exist"),
        ("Permission denied", "source /dev/vg0/srv on kvm1: the user there may not read it"),
        ("I/O error", "source /dev/vg0/srv on kvm1: QEMU refuses it: I/O error"),
    ],
)
def test_an_image_that_cannot_be_read(why: str, message: str) -> None:
    stderr = f"qemu-img: Could not open 'json:{{}}': Could not open '/dev/vg0/srv': {why}"
    with pytest.raises(ImageRefused) as caught:
        image_info(FakeHost(said(exit_code=1, stderr=stderr)), VOLUME)
    assert caught.value.message == message


def test_a_server() -> None:
    argv = serve_argv(ROOT)
    assert argv[:2] == ["sh", "-euc"]
    assert argv[3:] == ["serve", f"json:{{{ROOT_IMAGE}}}", "16"]
    assert "qemu-nbd --read-only " in argv[2]
    shared = serve_argv(ROOT, bitmap="since x", force_share=True)
    assert shared[4:] == [
        f'json:{{{ROOT_IMAGE},"force-share":true}}',
        "16",
        "--bitmap=since x",
    ]


class _Ending:
    """A server that ends before it serves."""

    def __init__(self, *complaints: str) -> None:
        self.complaints = complaints

    def line(self, _seconds: float) -> str:
        raise KitError("qemu-nbd: it has ended", hint="debug")


class _Serving:
    complaints = ()

    def line(self, _seconds: float) -> str:
        return "/tmp/x/nbd"


class ServingHost(FakeHost):
    """A host with one service."""

    def __init__(self, service: Any, *, lost: bool = False) -> None:
        super().__init__(said())
        self._service = service
        self._lost = lost

    @contextmanager
    def service(self, argv: Sequence[str], **_: Any) -> Iterator[Any]:
        self.asked.append(list(argv))
        yield self._service

    @contextmanager
    def forwarded(self, remote_socket: str) -> Iterator[Path]:
        self.asked.append([remote_socket])
        yield Path("/here")

    def is_lost(self) -> bool:
        return self._lost


def test_a_disk_is_served_and_forwarded() -> None:
    host = ServingHost(_Serving())
    with served(host, ROOT, force_share=True) as socket:
        assert socket == Served(Path("/here"), "/tmp/x/nbd")
    assert host.asked == [serve_argv(ROOT, force_share=True), ["/tmp/x/nbd"]]


def test_a_disk_that_a_guest_writes() -> None:
    locked = _Ending(
        "qemu-nbd: Failed to blk_new_open 'json:{}': Failed to get shared \"write\" lock",
        "Is another process using the image [/srv/a b,c.qcow2]?",
    )
    with pytest.raises(SourceInUse, match="in use"), served(ServingHost(locked), ROOT):
        pass


def test_a_disk_that_is_damaged() -> None:
    damaged = _Ending("qemu-nbd: Failed to blk_new_open 'json:{}': Image is not in qcow2 format")
    refused = pytest.raises(ImageRefused, match="Image is not in qcow2 format")
    with refused, served(ServingHost(damaged), ROOT):
        pass


@pytest.mark.parametrize("host", [ServingHost(_Ending()), ServingHost(_Ending("x"), lost=True)])
def test_other_ends_are_those_of_the_connection(host: ServingHost) -> None:
    with pytest.raises(KitError) as caught, served(host, ROOT):
        pass
    assert type(caught.value) is KitError
