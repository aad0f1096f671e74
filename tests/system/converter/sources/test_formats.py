"""Images that QEMU reads for us, and NBD servers: their bytes, and that nothing else is read."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from converter.sources.qemu_image import driver_options
from converter.sources.sandbox import MEMORY, confined
from node.run import Result, run
from tests.system.converter import source_support as sources
from tests.system.converter.support import MIB, noise, prose, raw_of, wait_until
from tests.system.installer.support import output

SIZE = 64 * MIB
SECRET = b"SecretOfThisNode"  # 16 bytes, a line of qemu-io
KINDS = {
    "vmdk": ("vmdk", []),
    "vmdk-stream": ("vmdk", ["-o", "subformat=streamOptimized"]),
    "vdi": ("vdi", []),
    "vdi-static": ("vdi", ["-o", "static=on"]),
    "vhdx": ("vhdx", []),
    "vhdx-fixed": ("vhdx", ["-o", "subformat=fixed"]),
    "vpc": ("vpc", []),
    "vpc-fixed": ("vpc", ["-o", "subformat=fixed"]),
    "qed": ("qed", []),
    "parallels": ("parallels", []),
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A raw disk with data of both kinds and much nothing."""
    directory = tmp_path_factory.mktemp("disk")
    disk = directory / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(SIZE)
        for offset, data in ((0, prose(MIB, 1)), (9 * MIB + 512, noise(2 * MIB, 2))):
            os.pwrite(file.fileno(), data, offset)
        os.pwrite(file.fileno(), noise(MIB, 3), SIZE - MIB)
    yield disk
    shutil.rmtree(directory)


def make(disk: Path, kind: str, path: Path) -> tuple[str, Path]:
    """An image of the disk; gives its format, too."""
    image_format, options = KINDS[kind]
    output("qemu-img", "convert", "-f", "raw", "-O", image_format, *options, disk, path)
    return image_format, path


def poke(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        assert os.pwrite(file.fileno(), data, offset) == len(data)


@pytest.mark.quick
@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_are_those_that_qemu_img_sees(kind: str, disk: Path, tmp_path: Path) -> None:
    image_format, image = make(disk, kind, tmp_path / "a b'c.img")
    told = sources.read(image, image_format, tmp_path / "out")
    assert "error" not in told, told
    assert sources.same(
        tmp_path / "out", raw_of(image, tmp_path / "raw", source_format=image_format)
    )
    if kind in ("vmdk", "vmdk-stream", "vdi", "vpc", "qed", "parallels"):
        assert told["data"] < SIZE / 4, "zeros were read, too"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", [1, 4096, MIB + 4096])
def test_a_truncated_image_is_refused(kind: str, lost: int, disk: Path, tmp_path: Path) -> None:
    image_format, image = make(disk, kind, tmp_path / "image")
    if kind == "vmdk-stream":
        lost += 64 * 1024  # qemu-img ends it with so many bytes that mean nothing
    os.truncate(image, image.stat().st_size - lost)
    told = sources.read(image, image_format, tmp_path / "out")
    assert str(image) in told["error"] and told["hint"]
    assert not (tmp_path / "out").exists()


def test_another_format_than_said_is_an_error(disk: Path, tmp_path: Path) -> None:
    _, image = make(disk, "vdi", tmp_path / "image.vmdk")
    assert "it is vdi, not vmdk" in sources.read(image, "vmdk", tmp_path / "out")["error"]
    output("qemu-img", "convert", "-O", "qcow2", disk, image)
    assert "it is qcow2, not vmdk" in sources.read(image, "vmdk", tmp_path / "out")["error"]
    assert "it is not a vhdx image" in sources.read(disk, "vhdx", tmp_path / "out")["error"]
    told = sources.read(image, "img", tmp_path / "out")
    assert "format img: unknown" in told["error"] and "vmdk, vdi" in told["hint"]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET.ljust(MIB, b"s"))
    return path


def descriptor(secret: Path) -> bytes:
    return (
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 2048 FLAT "{secret}" 0\n'
    ).encode()


def flat_vmdk(image: Path, secret: Path) -> str:
    image.write_bytes(descriptor(secret).ljust(MIB, b"\0"))
    return "vmdk"


def capacity_0_vmdk(image: Path, secret: Path) -> str:
    """A sparse extent whose embedded descriptor QEMU takes for all that there is."""
    header = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, 0, 128, 1, 20)
    image.write_bytes(header.ljust(512, b"\0") + descriptor(secret).ljust(MIB, b"\0"))
    return "vmdk"


def sparse_vmdk_of_others(image: Path, secret: Path) -> str:
    output("qemu-img", "create", "-q", "-f", "vmdk", image, "1M")
    poke(image, 512, descriptor(secret).ljust(20 * 512, b"\0"))
    return "vmdk"


def esx_extent(image: Path, _secret: Path) -> str:
    image.write_bytes(b"COWD".ljust(MIB, b"\0"))
    return "vmdk"


def vmdk_with_parent(image: Path, secret: Path) -> str:
    parent = image.with_name("parent.vmdk")
    output("qemu-img", "convert", "-O", "vmdk", "-f", "raw", secret, parent)
    output("qemu-img", "create", "-q", "-f", "vmdk", "-b", parent, "-F", "vmdk", image)
    return "vmdk"


def qed_with_parent(image: Path, secret: Path) -> str:
    output("qemu-img", "create", "-q", "-f", "qed", "-b", secret, "-F", "raw", image)
    return "qed"


def differencing_vdi(image: Path, secret: Path) -> str:
    output("qemu-img", "convert", "-O", "vdi", "-f", "raw", secret, image)
    poke(image, 0x4C, struct.pack("<I", 4))
    return "vdi"


def linked_vdi(image: Path, secret: Path) -> str:
    output("qemu-img", "convert", "-O", "vdi", "-f", "raw", secret, image)
    poke(image, 0x1A8, b"\x01" * 16)
    return "vdi"


def differencing_vpc(image: Path, secret: Path) -> str:
    output("qemu-img", "convert", "-O", "vpc", "-f", "raw", secret, image)
    for footer in (0, image.stat().st_size - 512):
        poke(image, footer + 60, struct.pack(">I", 4))
    return "vpc"


def differencing_vhdx(image: Path, secret: Path) -> str:
    output("qemu-img", "convert", "-O", "vhdx", "-f", "raw", secret, image)
    guid = bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b")  # of the file parameters
    content = image.read_bytes()
    entry = content.index(guid)
    table = content.rindex(b"metadata", 0, entry)
    at = table + struct.unpack_from("<I", content, entry + 16)[0]
    poke(image, at + 4, struct.pack("<I", 2))
    return "vhdx"


@pytest.mark.parametrize(
    "hostile",
    [
        flat_vmdk, capacity_0_vmdk, sparse_vmdk_of_others, esx_extent, vmdk_with_parent,
        qed_with_parent, differencing_vdi, linked_vdi, differencing_vpc, differencing_vhdx,
    ],
)  # fmt: skip
def test_an_image_that_needs_another_file_is_refused(
    hostile: object, secret: Path, tmp_path: Path
) -> None:
    assert callable(hostile)
    image_format = hostile(tmp_path / "image", secret)
    told = sources.read(tmp_path / "image", image_format, tmp_path / "out")
    assert "parent" in told["error"] or "file" in told["error"], told
    assert "qemu-img convert" in told["hint"]
    assert not (tmp_path / "out").exists()


def in_room(image: Path, *command: str, checked: Path | None = None) -> Result:
    status = (checked or image).stat()
    return run(confined(list(command), image, status, 60), check=False)


@pytest.mark.parametrize("hostile", [flat_vmdk, capacity_0_vmdk])
def test_in_the_room_there_is_no_other_file(hostile: object, secret: Path, tmp_path: Path) -> None:
    """Even past our checks: QEMU, which does open the other file, finds none."""
    assert callable(hostile)
    hostile(tmp_path / "image", secret)
    command = ["qemu-io", "-r", "-c", f"read -v 0 {len(SECRET)}"]
    outside = output(*command, driver_options("vmdk", str(tmp_path / "image")))
    assert SECRET.decode() in outside, "the attack does not work: this test proves nothing"
    inside = in_room(tmp_path / "image", *command, driver_options("vmdk", "/image"))
    assert inside.exit_code != 0 and SECRET.decode() not in inside.stdout
    assert "No such file" in inside.stderr


@pytest.mark.quick
def test_the_room_is_closed(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"image")
    assert in_room(image, "cat", "/image").stdout == "image"
    assert in_room(image, "ls", "/").stdout.split() == sorted(
        ["bin", "dev", "etc", "image", "lib", "run", "sbin", "usr"]
        + [name for name in ("lib32", "lib64", "libx32") if Path("/", name).is_symlink()]
    )
    assert in_room(image, "ls", "/etc", "/dev", "/run").stdout.split() == [
        *("/dev:", "null", "/etc:", "ld.so.cache", "/run:")
    ]
    rights = in_room(image, "setpriv", "--dump").stdout
    assert "no_new_privs: 1" in rights and "Capability bounding set: [none]" in rights
    for command in (
        "chroot / true",
        "mount -t tmpfs none /run",
        "unshare --net true",
        "unshare --user true",
    ):
        refused = in_room(image, *command.split())
        assert refused.exit_code != 0 and re.search("permi", refused.stderr), refused
    for path in ("/image", "/usr/bin/new"):
        assert in_room(image, "sh", "-c", f"echo x >>{path}").exit_code != 0
    assert image.read_bytes() == b"image"
    limits = in_room(image, "sh", "-c", "ulimit -v; ulimit -t; ulimit -c; ulimit -f")
    assert limits.stdout.split() == [str(MEMORY // 1024), "60", "0", "0"]
    network = in_room(image, "sh", "-c", "ip -brief link").stdout
    assert [line.split()[:2] for line in network.splitlines()] == [["lo", "DOWN"]]


def test_the_room_has_no_file_but_the_one_that_was_checked(tmp_path: Path) -> None:
    for name in ("checked", "other"):
        (tmp_path / name).write_text(name)
    found = in_room(tmp_path / "other", "cat", "/image", checked=tmp_path / "checked")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "it was replaced by another file" in found.stderr


@pytest.mark.parametrize("owner", [0, 65533])
def test_nothing_stays_of_a_run_that_is_killed(owner: int, disk: Path, tmp_path: Path) -> None:
    image_format, image = make(disk, "vmdk", tmp_path / "image")
    os.chown(image, owner, owner)
    reading = sources.Reading(image, image_format, tmp_path / "out")
    assert "qemu-nbd" in [name for _, name in reading.family]
    reading.kill()
    reading.require_family_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_stays_of_a_run_that_is_stopped(
    number: signal.Signals, disk: Path, tmp_path: Path
) -> None:
    image_format, image = make(disk, "vdi", tmp_path / "image")
    reading = sources.Reading(image, image_format, tmp_path / "out")
    reading.process.send_signal(number)
    reading.process.communicate(timeout=sources.SECONDS)
    reading.require_family_gone()


def test_a_server_that_dies_is_named_with_the_byte(disk: Path, tmp_path: Path) -> None:
    image_format, image = make(disk, "vmdk", tmp_path / "image")
    reading = sources.Reading(image, image_format, tmp_path / "out")
    (server,) = [pid for pid, name in reading.family if name == "qemu-nbd"]
    os.kill(server, signal.SIGKILL)
    told = reading.go_on()
    assert "byte" in told["error"] and "the connection was lost" in told["error"], told
    assert told["kind"] == "SourceLost"
    reading.require_family_gone()


@contextmanager
def nbdkit(directory: Path, *words: str | Path) -> Iterator[str]:
    """Runs an nbdkit; gives the URI of its export."""
    socket = directory / "server.sock"
    server = subprocess.Popen(
        ["nbdkit", "--foreground", "--exit-with-parent", "-U", socket, *words]
    )
    try:
        wait_until(lambda: socket.exists() or server.poll() is not None)
        yield f"nbd+unix:///?socket={socket}"
    finally:
        server.kill()  # it may miss a SIGTERM that comes early
        server.wait()


@pytest.mark.quick
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--no-sr"],  # no structured replies: no block status either
        ["--filter=multi-conn", "multi-conn-mode=disable"],
        ["--filter=blocksize-policy", "blocksize-minimum=4096", "blocksize-error-policy=error"],
    ],
)
def test_an_nbd_server_gives_the_bytes(options: list[str], disk: Path, tmp_path: Path) -> None:
    filters = [word for word in options if word.startswith("-")]
    settings = [word for word in options if not word.startswith("-")]
    with nbdkit(tmp_path, "--read-only", *filters, "file", disk, *settings) as uri:
        told = sources.read(uri, "", tmp_path / "out")
    assert "error" not in told, told
    assert sources.same(tmp_path / "out", disk)
    assert (told["data"] == SIZE) == ("--no-sr" in options)
    assert json.dumps(told["identity"]) and told["identity"]["uri"] == uri


@pytest.mark.parametrize("options", [[], ["blocksize-minimum=512"], ["blocksize-minimum=4096"]])
def test_an_nbd_server_gives_disks_of_odd_sizes_whole(options: list[str], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(noise(2 * MIB + 1000, 5))
    filters = ["--filter=blocksize-policy"] if options else []
    with nbdkit(tmp_path, "--read-only", *filters, "file", disk, *options) as uri:
        told = sources.read(uri, "", tmp_path / "out")
    assert "error" not in told, told
    assert sources.same(tmp_path / "out", disk)


def test_a_failing_read_is_named_with_its_byte(disk: Path, tmp_path: Path) -> None:
    trigger = tmp_path / "trigger"
    faults = ["error-pread=EIO", "error-pread-rate=100%", f"error-pread-file={trigger}"]
    with nbdkit(tmp_path, "--filter=error", "file", disk, *faults) as uri:
        reading = sources.Reading(uri, "raw", tmp_path / "out")
        trigger.touch()
        told = reading.go_on()
    assert told["error"].startswith(f"read of {uri} at byte ")
    assert told["error"].endswith("Input/output error (EIO)"), told


def test_a_server_that_is_not_there_or_no_raw_disk(tmp_path: Path) -> None:
    uri = f"nbd+unix:///?socket={tmp_path}/none"
    told = sources.read(uri, "", tmp_path / "out")
    assert uri in told["error"] and "No such file" in told["error"]
    assert "raw disk" in sources.read(uri, "vmdk", tmp_path / "out")["error"]
