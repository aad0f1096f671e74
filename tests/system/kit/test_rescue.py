"""mount, umount, shell and cp on a disk with two partitions; each appliance takes 10 s to start."""

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from kit import gc
from kit.rescue import records
from node import syscalls
from node.devices import qemu_locks
from tests.system import loops
from tests.system.installer.support import TOP, output

MIB = 1 << 20
SECTOR = 512
FIRST, SECOND, SECTORS = 2048, 2048 + 131072, 131072
ROOT = "0e5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a11"
SRV = "1f5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a12"
User = Callable[[Path], AbstractContextManager[None]]
DATA_TIME = 10**18  # nanoseconds
SECONDS = 300  # for an appliance on a loaded machine


@pytest.fixture(autouse=True)
def _own_records() -> Iterator[None]:
    """A node on which nothing was mounted, for each test; nothing stays of one that failed."""
    place = records.DIRECTORY.parent
    place.mkdir(exist_ok=True)
    output("mount", "-t", "tmpfs", "tmpfs", place)
    yield
    for record in records.all_records():  # of a test that failed
        with suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGKILL)
        records.ended(record)
        output("umount", record.directory, check=False)
    output("umount", "--recursive", place)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed system, /srv on the second partition, links that lead out of the guest."""
    top = tmp_path_factory.mktemp("pristine")
    root, srv = top / "root", top / "srv"
    for name in ("etc", "srv", "usr/lib"):
        (root / name).mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=debian\n")
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/fstab").write_text(
        f"UUID={ROOT} / ext4 defaults 0 1\nUUID={SRV} /srv ext4 defaults 0 2\n"
        "LABEL=gone /gone ext4 defaults 0 2\n"
    )
    (root / "out").symlink_to("/srv")
    (root / "etc/shadow").symlink_to("/etc/hostname")
    srv.mkdir()
    (srv / "data").write_text("data\n")
    (srv / "data").chmod(0o640)
    os.utime(srv / "data", ns=(DATA_TIME, DATA_TIME))
    disk = top / "disk"
    with disk.open("wb") as file:
        file.truncate(200 * MIB)
    table = f"label: dos\nstart={FIRST},size={SECTORS}\nstart={SECOND},size={SECTORS}\n"
    subprocess.run(["sfdisk", "-q", disk], input=table.encode(), check=True)
    for start, uuid, tree in ((FIRST, ROOT, root), (SECOND, SRV, srv)):
        part = top / "part"
        with part.open("wb") as file:
            file.truncate(SECTORS * SECTOR)
        output("mkfs.ext4", "-q", "-F", "-U", uuid, "-d", tree, part)
        output("dd", f"if={part}", f"of={disk}", f"seek={start}", "bs=512", "conv=notrunc")
    return disk


@pytest.fixture
def disk(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(pristine, tmp_path / "disk"))


def kit(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOP / "kit/instance_kit.py", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env={**os.environ, "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"},
    )


def done(*argv: str | Path) -> str:
    ran = kit(*argv)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refused(*argv: str | Path) -> str:
    ran = kit(*argv)
    assert ran.returncode == 3, ran.stdout
    error, hint = ran.stderr.splitlines()[-2:]
    assert hint.startswith("hint: ")
    return error


def on_disk(disk: Path, start: int, command: str, tmp_path: Path) -> str:
    """What debugfs finds in a partition of the disk's file, without any mount."""
    part = tmp_path / "partition"
    output("dd", f"if={disk}", f"of={part}", f"skip={start}", f"count={SECTORS}", "bs=512")
    output("e2fsck", "-f", "-n", part)
    return output("debugfs", "-R", command, part)


def test_read_only_until_its_process_is_ended(disk: Path, tmp_path: Path) -> None:
    before = disk.read_bytes()
    ran = kit("mount", disk)
    assert ran.returncode == 0, ran.stderr
    assert "not mounted: /gone: no file system LABEL=gone on the disks" in ran.stderr
    (record,) = records.all_records()
    place = Path(record.directory)
    assert ran.stdout.splitlines()[:3] == [
        f"{disk}: mounted on {place}, read-only",
        "  /  /dev/sda1",
        "  /srv  /dev/sda2",
    ]
    assert place.stat().st_uid == 0
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert (place / "etc/hostname").read_text() == "guest\n"
    assert (place / "srv/data").read_text() == "data\n"
    with pytest.raises(OSError, match="Read-only"):
        (place / "srv/new").write_text("new")
    options = output("findmnt", "-no", "OPTIONS", place)
    assert "nosuid" in options
    assert "nodev" in options
    assert "mounted already at" in refused("mount", disk)
    # A QEMU that would run the instance is kept out.
    assert "lock" in output("qemu-io", "-f", "raw", "-c", "write 0 512", disk, check=False)
    alias = tmp_path / "alias"
    alias.symlink_to(disk)
    assert "in use: " in refused("mount", "--write", alias)
    # A copy of the mount in another namespace, as a create has, does not keep it from its end.
    with subprocess.Popen(["unshare", "--mount", "sleep", "600"]) as namespace:
        os.kill(record.pid, signal.SIGTERM)
        assert records.ended(record) is None
        namespace.kill()
    assert not os.path.ismount(place)
    assert not list(records.all_records())
    assert disk.read_bytes() == before


def test_written_until_umount_and_after_a_kill(disk: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    said = json.loads(done("mount", "--write", "--json", disk, place))
    assert said == {
        "name": str(disk),
        "directory": str(place),
        "write": True,
        "file_systems": [
            {"device": "/dev/sda1", "mount_point": "/"},
            {"device": "/dev/sda2", "mount_point": "/srv"},
        ],
        "left_out": ["/gone: no file system LABEL=gone on the disks"],
    }
    assert place.stat().st_dev != tmp_path.stat().st_dev
    with disk.open("rb") as file:
        assert qemu_locks.is_written(file.fileno())
    (place / "srv/new").write_text("new\n")
    (place / "etc/hostname").write_text("other\n")
    done("umount", place)
    assert not place.exists()
    assert on_disk(disk, SECOND, "cat new", tmp_path).endswith("\nnew\n")
    assert on_disk(disk, FIRST, "cat etc/hostname", tmp_path).endswith("\nother\n")

    done("mount", "--write", disk, place)
    (record,) = records.all_records()
    (place / "srv/later").write_text("later\n")
    os.kill(record.pid, signal.SIGKILL)
    assert records.ended(record) == record
    found = [each for each in gc.leftovers([]) if each.path == place]
    assert [each.what for each in found] == [f"mount of {disk}: its process was killed"]
    assert "may not be on the disk" in refused("umount", disk)
    assert not place.exists()
    assert not list(records.all_records())
    assert "not mounted by instance-kit" in refused("umount", disk)


def test_gc_clears_what_was_killed(disk: Path, tmp_path: Path) -> None:
    """A record whose process is gone, with a FUSE mount whose server is."""
    place = tmp_path / "place"
    place.mkdir()
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0"
    syscalls.mount("fuse", place, "fuse", 0, options)
    os.close(fuse)
    record = records.Record(str(disk), str(place), made=True, write=False, pid=1)
    records.DIRECTORY.mkdir(parents=True, exist_ok=True)
    with record.path.open("wb") as file:
        records._write(file.fileno(), record)
    assert f"left over: {place}: mount of {disk}" in done("gc", "--dry-run")
    assert f"removed: {place}: mount of {disk}" in done("gc")
    assert not place.exists()
    assert not record.path.exists()


def test_a_signal_while_it_starts(disk: Path) -> None:
    with subprocess.Popen(
        [TOP / "kit/instance_kit.py", "mount", disk],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"},
    ) as running:
        deadline = time.monotonic() + 60
        while not list(records.all_records()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        assert running.wait(SECONDS) == 128 + signal.SIGINT
        assert running.stderr is not None
        assert "stopped by SIGINT" in running.stderr.read()
    assert not list(records.DIRECTORY.iterdir())


@contextmanager
def attached(disk: Path) -> Iterator[None]:
    with loops.loop(disk, read_only=False):
        yield


@contextmanager
def running_qemu(disk: Path) -> Iterator[None]:
    with disk.open("r+b") as file:
        assert qemu_locks.lock_whole(file.fileno())
        yield


@contextmanager
def opened_for_writing(disk: Path) -> Iterator[None]:
    # A shell has it open, as our own process does not count for itself.
    script = ["sh", "-c", 'exec 3<>"$0"; echo; read x', disk]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        yield
        shell.kill()


@contextmanager
def opened_for_reading(disk: Path) -> Iterator[None]:
    with disk.open("rb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("user", [attached, running_qemu, opened_for_writing])
@pytest.mark.parametrize("mode", [[], ["--write"]], ids=["read", "write"])
def test_a_disk_in_use(disk: Path, mode: list[str], user: User) -> None:
    with user(disk):
        assert "in use: " in refused("mount", *mode, disk)
        assert not list(records.DIRECTORY.iterdir())


def test_a_disk_in_use_by_a_reader_is_not_written(disk: Path) -> None:
    with opened_for_reading(disk):
        assert "has it open" in refused("mount", "--write", disk)


def test_an_image_of_another_format(tmp_path: Path) -> None:
    image = tmp_path / "image"
    output("qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
    assert "a qcow2 image, and only raw ones" in refused("mount", image)


def test_a_mount_point_that_is_not_empty(disk: Path, tmp_path: Path) -> None:
    assert "Directory not empty" in refused("mount", disk, tmp_path)
    assert "Not a directory" in refused("mount", disk, disk / "x")
    assert not list(records.DIRECTORY.iterdir())


@pytest.mark.trixie
def test_copies_keep_all_and_stay_in_the_guest(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "odd $ö' name"
    (source / "sub").mkdir(parents=True)
    file = source / "sub/-file\n"
    file.write_text("content\n")
    os.chown(file, 1234, 5678)
    file.chmod(0o4750)
    with (source / "sparse").open("wb") as sparse:
        sparse.write(b"begin")
        sparse.truncate(128 << 20)  # more than the guest's file system has
    os.setxattr(file, "user.key", b"value\0")
    output("setcap", "cap_net_raw+ep", file)
    (source / b"\xff".decode("utf-8", "surrogateescape")).touch()
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "fifo")
    os.utime(file, ns=(10**18 + 1, 10**18 + 2))
    os.utime(source, ns=(10**18 + 3, 10**18 + 4))

    # /out is a link to /srv: the guest's, not this node's.
    done("cp", source, f"{disk}:/out")
    assert not Path("/srv", source.name).exists()
    assert "data" in on_disk(disk, SECOND, "ls", tmp_path)

    copied = tmp_path / "copied"
    done("cp", f"{disk}:/out/{source.name}", copied)
    assert manifest(copied) == manifest(source)
    done("cp", f"{disk}:/out/{source.name}/sparse", tmp_path)
    assert (tmp_path / "sparse").stat().st_blocks * 512 < 1 << 20
    (tmp_path / "into/out").mkdir(parents=True)
    assert "directories are not merged" in refused("cp", f"{disk}:/out", tmp_path / "into")
    assert not list(tmp_path.glob(".*.part"))


def test_a_file_out(disk: Path, tmp_path: Path) -> None:
    left = tmp_path / ".data.abc_wxyz.part"
    left.mkdir()
    (tmp_path / "data").write_text("replaced")
    done("cp", f"{disk}:/out/data", tmp_path)  # by the link in the guest
    assert (tmp_path / "data").read_text() == "data\n"
    assert (tmp_path / "data").stat().st_mtime_ns == DATA_TIME
    assert (tmp_path / "data").stat().st_mode == stat.S_IFREG | 0o640
    assert not left.exists()


def manifest(top: Path) -> list[tuple[object, ...]]:
    """Everything that a copy has to keep, of each file below a directory."""
    found = []
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        names = os.listxattr(path, follow_symlinks=False)
        found.append(
            (
                str(path.relative_to(top)),
                (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns),
                path.readlink() if path.is_symlink() else None,
                path.read_bytes() if path.is_file() and not path.is_symlink() else None,
                {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
            )
        )
    return found


@pytest.mark.trixie
def test_a_shell_s_exit_code_and_what_it_sees(disk: Path) -> None:
    script = 'pwd; cat data; findmnt -no FSTYPE /mnt; echo x > new 2>/dev/null || exit "$0"'
    ran = kit("shell", "--partition", "/dev/sda2", disk, "sh", "-c", script, "7")
    assert ran.returncode == 7, ran.stderr
    assert ran.stdout.splitlines() == ["/mnt", "data", "fuse"]
    assert kit("shell", disk, "--write").returncode == 2


def test_a_tmpdir_of_the_node(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As libpam-tmpdir sets it: libguestfs cannot write there."""
    place = tmp_path / "user"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    done("cp", f"{disk}:/etc/hostname", tmp_path)
    assert (tmp_path / "hostname").read_text() == "guest\n"


def test_what_cp_takes(disk: Path, tmp_path: Path) -> None:
    assert "both are in guests" in refused("cp", "a:/b", "c:/d")
    assert "neither is in a guest" in refused("cp", "a", "c")
    assert "no such file" in refused("cp", tmp_path / "none", f"{disk}:/")
    assert "no such directory" in refused("cp", f"{disk}:/etc/hostname", tmp_path / "a/b")
