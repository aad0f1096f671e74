"""Images on another host, over a real sshd."""

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.converter import source_support as sources
from tests.system.converter import support
from tests.system.converter.nbd_device import hung
from tests.system.converter.sshd import HOST, Sshd, sshd
from tests.system.converter.support import MIB, Write, noise, output, qcow2, raw_of

SIZE = 1024 * MIB
DATA = 24 * MIB


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("far")) as server:
        yield server


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 1 GiB, nearly empty, whose name a shell would take apart."""
    directory = tmp_path_factory.mktemp("images")
    writes = [Write(place * 300 * MIB, noise(DATA // 3, place)) for place in range(3)]
    yield qcow2(directory / "image", SIZE, *writes).rename(directory / "a $(touch x) 'b\".qcow2")
    shutil.rmtree(directory)


def url(path: Path, query: str = "") -> str:
    escaped = str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"ssh://{HOST}{escaped}{query}"


def require_far_side_clean(server: Sshd) -> None:
    """No program of ours runs there, and no directory of ours is left."""
    deadline = time.monotonic() + sources.SETTLE_SECONDS
    while True:
        left: list[object] = [
            *server.processes("qemu-nbd"),
            *Path("/tmp").glob("ganeti-instance-kit-*"),
        ]
        left += support.left_behind(Path("/tmp/ganeti-instance-kit-"))
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_the_bytes_are_the_images_and_no_more_than_its_data_crosses_the_wire(
    far: Sshd, image: Path, tmp_path: Path
) -> None:
    before = far.wire_bytes()
    told = sources.read(url(image), "", tmp_path / "out", far.argv())
    crossed = far.wire_bytes() - before
    assert "error" not in told, told
    assert (told["size"], told["data"]) == (SIZE, DATA)
    assert DATA < crossed < DATA * 1.1 + MIB
    assert sources.same(tmp_path / "out", raw_of(image, tmp_path / "raw"))
    require_far_side_clean(far)
    again = sources.read(url(image), "qcow2", tmp_path / "out", far.argv())
    assert again["identity"] == told["identity"]
    os.utime(image)
    changed = sources.read(url(image), "qcow2", tmp_path / "out", far.argv())
    assert changed["identity"] != told["identity"]


@pytest.mark.quick
@pytest.mark.parametrize("image_format", ["raw", "vmdk", "vdi"])
def test_other_formats(image_format: str, far: Sshd, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(noise(MIB, 1).ljust(4 * MIB, b"\0") + noise(MIB, 2))
    path = tmp_path / "image"
    output("qemu-img", "convert", "-f", "raw", "-O", image_format, raw, path)
    told = sources.read(url(path, f"?format={image_format}"), "", tmp_path / "out", far.argv())
    assert "error" not in told, told
    assert sources.same(tmp_path / "out", raw)


def refused(server: Sshd, path: Path, image_format: str = "") -> str:
    """The error of a source; the other host is clean after it."""
    out = server.home / "out"
    told = sources.read(url(path), image_format, out, server.argv())
    assert "error" in told, told
    assert not out.exists() and told["hint"]
    require_far_side_clean(server)
    return f"{told['error']} - {told['hint']}"


def test_an_image_that_needs_another_file_is_refused(far: Sshd, tmp_path: Path) -> None:
    base = qcow2(tmp_path / "base", MIB, Write(0, noise(MIB, 1)))
    path = tmp_path / "child"
    output("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", path)
    assert "backing file" in refused(far, path)
    output("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", path, "1M")
    assert "other files" in refused(far, path, "vmdk")


def test_a_damaged_image_is_refused(far: Sshd, tmp_path: Path) -> None:
    path = qcow2(tmp_path / "image", MIB, Write(0, noise(MIB, 1)))
    os.truncate(path, path.stat().st_size - support.CLUSTER - 1)
    assert str(path) in refused(far, path)
    assert "qcow2 image, not raw" in refused(far, path, "raw")
    path.write_bytes(bytes(MIB))
    assert "not a qcow2 image" in refused(far, path)


def test_an_encrypted_disk_is_copied_as_the_hint_says(far: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "luks"
    path.write_bytes(b"LUKS\xba\xbe\0\1" + noise(MIB, 3))
    assert "if it is raw" in refused(far, path)
    told = sources.read(url(path), "raw", tmp_path / "out", far.argv())
    assert "error" not in told, told
    assert sources.same(tmp_path / "out", path)


def test_what_is_not_there_is_said(far: Sshd, tmp_path: Path) -> None:
    told = sources.read(url(tmp_path / "none"), "", tmp_path / "out", far.argv())
    assert "no file or block device" in told["error"] and told["kind"] == "KitError"
    require_far_side_clean(far)
    told = sources.read("ssh://nowhere.example.org/a", "", tmp_path / "out", far.argv())
    assert "nowhere.example.org" in told["error"] and "ssh" in told["hint"]
    assert told["kind"] == "SourceLost"
    for wrong in ("ssh://-oProxyCommand=touch@far/a", "ssh://-oX/a", f"ssh://{HOST}/"):
        assert wrong in sources.read(wrong, "", tmp_path / "out", far.argv())["error"]


def test_an_image_that_a_qemu_writes_to_is_refused(far: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(MIB))
    with path.open("rb") as file:
        # As a running QEMU: it writes (byte 101), and nobody else may (byte 201).
        for byte in (101, 201):
            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
            fcntl.fcntl(file.fileno(), 37, lock)  # F_OFD_SETLK
        told = sources.read(url(path), "raw", tmp_path / "out", far.argv())
    assert "in use" in told["error"] and "shut that machine down" in told["hint"]
    assert told["kind"] == "SourceInUse"
    require_far_side_clean(far)


def test_an_image_that_is_mounted_there_is_refused(far: Sshd, tmp_path: Path) -> None:
    path, place = tmp_path / "disk", tmp_path / "mnt"
    path.write_bytes(bytes(8 * MIB))
    output("mkfs.ext4", "-q", "-F", path)
    with support.loop(path, read_only=False) as device:
        assert f"in use: attached as {device}" in refused(far, path, "raw")
        place.mkdir()
        link = tmp_path / "link"
        link.symlink_to(device)
        output(*far.argv("mount", device, place))
        try:
            assert f"in use: mounted: {device.name} {place}" in refused(far, link, "raw")
        finally:
            output(*far.argv("umount", place))
        with support.loop(device, read_only=False) as upper:
            assert f"in use: attached as {upper}" in refused(far, link, "raw")
    with support.loop(path):  # it only reads
        told = sources.read(url(path), "raw", tmp_path / "out", far.argv())
    assert "error" not in told, told
    assert sources.same(tmp_path / "out", path)


@contextmanager
def writing(server: Sshd, path: Path) -> Iterator[str]:
    """A process of the other host has it open for writing; returns the error."""
    script = 'echo $$; exec sleep 60 <>"$1"'
    argv = server.argv("sh", "-c", script, "sh", str(path))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        far = process.stdout.readline().strip()
        support.wait_until(lambda: bool(server.processes("sleep")))
        try:
            yield f"process {far} (sleep) has it open for writing"
        finally:
            output(*server.argv("kill", far))


def test_an_image_that_a_process_writes_to_there_is_refused(far: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "a disk"
    path.write_bytes(noise(MIB, 1))
    with writing(far, path) as words:
        assert f"in use: {words}" in refused(far, path, "raw")
    with support.loop(path, read_only=False) as device, writing(far, device) as words:
        assert f"in use: {words}" in refused(far, device)
    with path.open("rb"):
        told = sources.read(url(path), "raw", tmp_path / "out", far.argv())
    assert "error" not in told, told
    assert sources.same(tmp_path / "out", path)


def test_a_partition_that_a_process_writes_to_there(far: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 * MIB))
    with support.loop(path, read_only=False) as device:
        # As the kernel has it for a disk; it may not read the tables of loop devices.
        words = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", device]
        subprocess.run(words, input="1MiB,2MiB\n", text=True, check=True)
        output("partx", "--add", device)
        try:
            part = Path(f"{device}p1")
            with writing(far, part) as words_of_part:
                assert f"in use: {words_of_part}" in refused(far, device)
            with writing(far, device) as words_of_disk:
                assert f"in use: {words_of_disk}" in refused(far, part)
        finally:
            output("partx", "--delete", device)


@pytest.mark.skipif(not shutil.which("nbdfuse"), reason="needs nbdfuse")
def test_a_file_system_there_that_does_not_answer_is_not_asked(far: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(noise(MIB, 1))
    with hung(tmp_path, *far.argv()):
        told = sources.read(url(path), "raw", tmp_path / "out", far.argv())
    assert "error" not in told, told


def test_a_server_that_forwards_no_sockets_is_named(image: Path, tmp_path: Path) -> None:
    with sshd(tmp_path, forwarding="no") as server:
        told = sources.read(url(image), "", tmp_path / "out", server.argv())
        assert "does not forward unix sockets" in told["error"], told
        assert "AllowStreamLocalForwarding" in told["hint"]
        require_far_side_clean(server)


def test_the_far_side_is_clean_after_we_are_killed(far: Sshd, image: Path, tmp_path: Path) -> None:
    reading = sources.Reading(url(image), "", tmp_path / "out", far.argv())
    assert far.processes("qemu-nbd")
    assert {"ssh", "python3"} <= {name for _, name in reading.family}
    ours = next(pid for pid, name in reading.family if name == "python3")
    os.kill(ours, signal.SIGKILL)
    reading.process.communicate()
    reading.require_family_gone()
    require_far_side_clean(far)


@pytest.mark.parametrize("end", ["near", "far"])
def test_a_cut_connection_is_an_error_that_names_the_byte(
    end: str, far: Sshd, image: Path, tmp_path: Path
) -> None:
    reading = sources.Reading(url(image), "", tmp_path / "out", far.argv())
    if end == "far":
        far.cut()
    else:
        for pid, name in reading.family:
            if name == "ssh":
                os.kill(pid, signal.SIGKILL)
    told = reading.go_on()
    assert "at byte" in told["error"] and "the connection was lost" in told["error"], told
    assert told["kind"] == "SourceLost"
    reading.require_family_gone()
    require_far_side_clean(far)


def test_a_copy_that_was_cut_goes_on(far: Sshd, tmp_path: Path) -> None:
    data = 384 * MIB
    writes = [Write(place, noise(32 * MIB, place)) for place in range(0, data, 32 * MIB)]
    path = qcow2(tmp_path / "image", SIZE, *writes)
    target = support.dirty(tmp_path / "target", SIZE + MIB)
    journals = tmp_path / "journals"
    journals.mkdir()
    command = far.argv(
        *("unshare", "--mount", "--propagation=private", "--"),
        *("sh", "-ec", support._ENTER, "qcow2raw", journals),
        *(support.PROGRAM, "--force", "--force-file", "--progress", "none"),
    )
    before = far.wire_bytes()
    first = subprocess.Popen(
        [*command, url(path), str(target)], stderr=subprocess.PIPE, text=True, cwd="/"
    )
    while far.wire_bytes() - before < 64 * MIB:
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    far.cut()
    _, said = first.communicate(timeout=support.SECONDS)
    assert first.returncode == support.FAILED, said
    assert "the connection was lost" in said and "--resume" in said and "Traceback" not in said
    require_far_side_clean(far)
    before = far.wire_bytes()
    second = subprocess.run(
        [*command, "--resume", url(path), str(target)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=support.SECONDS,
        check=False,
    )
    assert second.returncode == support.DONE, second.stderr
    assert far.wire_bytes() - before < data, "it began anew"
    support.require_same(target, raw_of(path, tmp_path / "raw"))
    require_far_side_clean(far)
    for made in (path, target, tmp_path / "raw"):
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
