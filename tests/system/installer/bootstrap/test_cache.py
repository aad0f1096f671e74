"""The cache with real tar and zstd, on small trees with everything that a file can carry."""

import multiprocessing
import os
import signal
import stat
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest

from installer.bootstrap import cache, cache_directory
from installer.bootstrap.mirrors import Mirrors
from installer.bootstrap.plan import BootstrapPlan
from installer.settings import Settings
from node.errors import CommandError, KitError
from node.isolation.mount import mounted
from node.lockfile import part_of
from node.log import log
from tests.system.installer.support import output

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
# acl(5) in the kernel's format: user::rw-, user:1234:r--, group::r--, mask::r--, other::r--
ACL = bytes.fromhex(
    "02000000 01000600ffffffff 02000400d2040000 04000400ffffffff 10000400ffffffff 20000400ffffffff"
)
PLAN = BootstrapPlan(
    engine="mmdebstrap",
    suite="bookworm",
    family="debian",
    arch="amd64",
    mirrors=Mirrors(None, None, "the engine"),
    components=("main",),
    packages=(),
    merged_usr="auto",
    keyrings=(),
    proxy=None,
)


class Bootstrap:
    """Stands in for an engine: writes a small tree, and counts how often."""

    def __init__(self, payload: bytes = b"") -> None:
        self.payload = payload
        self.runs = 0

    def __call__(self, root: Path, _plan: BootstrapPlan) -> tuple[str, ...]:
        self.runs += 1
        for name in ("usr/bin", "var/log", "dev", "proc", "run", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "bin").symlink_to("usr/bin")
        ping = root / "usr/bin/ping"
        ping.write_bytes(b"program")
        ping.chmod(0o4755)
        os.setxattr(ping, "security.capability", CAPABILITY)
        app_log = root / "var/log/app log\n\xe9"
        app_log.write_text("text")
        os.chown(app_log, 4321, 98765)
        os.setxattr(app_log, "system.posix_acl_access", ACL)
        # What stands in there already, as below usr/bin, inherits nothing.
        os.setxattr(root / "usr/bin", "system.posix_acl_default", ACL)
        os.setxattr(app_log, "user.comment", b"kept")
        (root / "usr/bin/ping6").hardlink_to(ping)
        os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (root / "tmp").chmod(0o1777)
        (root / "var/payload").write_bytes(self.payload)
        with (root / "var/sparse").open("wb") as file:
            file.truncate(64 * 2**20)
        os.utime(ping, ns=(1, 1_600_000_000_123_456_789))
        root.chmod(0o755)
        return ()


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        name, status = str(path.relative_to(root)), path.lstat()
        if name == "lost+found":
            continue
        regular = stat.S_ISREG(status.st_mode)
        found[name] = (
            oct(status.st_mode),
            (status.st_uid, status.st_gid, status.st_rdev),
            status.st_mtime_ns if regular else None,
            inodes.setdefault(status.st_ino, name) if regular else None,
            path.read_bytes() if regular else None,
            path.readlink() if path.is_symlink() else None,
            sorted(
                (attribute, os.getxattr(path, attribute, follow_symlinks=False))
                for attribute in os.listxattr(path, follow_symlinks=False)
            ),
        )
    return found


@pytest.fixture(autouse=True)
def _seen_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log as it is before a command sets it up, which other tests do."""
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(log, "handlers", [])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def guest(tmp_path: Path) -> Callable[[], Path]:
    def make() -> Path:
        root = tmp_path / f"guest{len(list(tmp_path.iterdir()))}"
        (root / "lost+found").mkdir(parents=True, mode=0o700)
        return root

    return make


def stored(settings: Settings) -> Path:
    return Path(settings.cache_dir) / cache.file_name(PLAN)


def names(settings: Settings) -> list[str]:
    return sorted(path.name for path in Path(settings.cache_dir).iterdir())


def test_a_copy_is_the_same_to_the_last_attribute(
    settings: Settings, guest: Callable[[], Path]
) -> None:
    bootstrap = Bootstrap()
    first, second = guest(), guest()
    cache.fill(first, PLAN, settings, bootstrap)
    cache.fill(second, PLAN, settings, bootstrap)
    assert bootstrap.runs == 1
    assert snapshot(first) == snapshot(second)
    app_log = second / "var/log/app log\n\xe9"
    assert os.getxattr(second / "usr/bin/ping", "security.capability") == CAPABILITY
    assert os.getxattr(app_log, "system.posix_acl_access") == ACL
    assert (second / "var/sparse").stat().st_blocks == 0
    assert names(settings) == [stored(settings).name]
    assert stat.S_IMODE(stored(settings).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(settings.cache_dir).stat().st_mode) == 0o700


def test_contents_of_proc_run_and_tmp_are_not_kept(
    settings: Settings, guest: Callable[[], Path]
) -> None:
    def bootstrap(root: Path, plan: BootstrapPlan) -> tuple[str, ...]:
        for name in ("proc", "run", "tmp", "lost+found"):
            (root / name).mkdir(exist_ok=True)
            (root / name / "left").touch()
        return Bootstrap()(root, plan)

    cache.fill(guest(), PLAN, settings, bootstrap)
    copy = guest()
    cache.fill(copy, PLAN, settings, bootstrap)
    assert not list(copy.rglob("left"))
    assert (copy / "run").is_dir()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def zero_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    path.write_bytes(data)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def make_empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [truncate, zero, zero_middle, flip_a_bit, make_empty])
def test_a_damaged_cache_is_made_anew(
    settings: Settings,
    guest: Callable[[], Path],
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bootstrap = Bootstrap(os.urandom(2**20))
    first, second, third = guest(), guest(), guest()
    cache.fill(first, PLAN, settings, bootstrap)
    damage(stored(settings))
    cache.fill(second, PLAN, settings, bootstrap)
    assert "is damaged: it is made again" in caplog.text
    cache.fill(third, PLAN, settings, bootstrap)
    assert bootstrap.runs == 2
    assert snapshot(second).keys() == snapshot(third).keys() == snapshot(first).keys()
    assert (second / "lost+found").is_dir()


def test_mounts_of_the_guest_are_kept_and_filled(
    settings: Settings, guest: Callable[[], Path]
) -> None:
    bootstrap = Bootstrap(os.urandom(2**20))
    root = guest()
    (root / "var").mkdir()
    with mounted("tmpfs", root / "var", fstype="tmpfs"):
        cache.fill(root, PLAN, settings, bootstrap)
        assert (root / "var/payload").exists()
    copy = guest()
    (copy / "var").mkdir()
    truncate(stored(settings))
    with mounted("tmpfs", copy / "var", fstype="tmpfs"):
        (copy / "var/lost+found").mkdir()
        cache.fill(copy, PLAN, settings, bootstrap)
        assert (copy / "var").is_mount()
        assert (copy / "var/payload").read_bytes() == bootstrap.payload
    assert list((copy / "var").iterdir()) == []


def _fill(root: Path, settings: Settings, started: Event, go: Event, built: Path) -> None:
    def slow(target: Path, plan: BootstrapPlan) -> tuple[str, ...]:
        with built.open("a") as file:
            file.write("built\n")
        started.set()
        go.wait(30)
        return Bootstrap()(target, plan)

    cache.fill(root, PLAN, settings, slow)


def waits_for_a_lock(process: multiprocessing.Process) -> bool:
    """proc_locks(5): lines with an arrow are of those who wait."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(words[1] == "->" and words[5] == str(process.pid) for words in lines)


def test_two_at_once_build_once(
    settings: Settings, guest: Callable[[], Path], tmp_path: Path
) -> None:
    started, go = multiprocessing.Event(), multiprocessing.Event()
    roots, built = (guest(), guest()), tmp_path / "built"
    one, other = (
        multiprocessing.Process(target=_fill, args=(root, settings, started, go, built))
        for root in roots
    )
    one.start()
    assert started.wait(30)
    other.start()
    while not waits_for_a_lock(other):
        assert other.is_alive()
    go.set()
    for process in (one, other):
        process.join(30)
        assert process.exitcode == 0
    assert built.read_text() == "built\n"
    assert snapshot(roots[0]) == snapshot(roots[1])
    assert names(settings) == [stored(settings).name]


def test_a_killed_builder_lets_the_next_one_build(
    settings: Settings, guest: Callable[[], Path], tmp_path: Path
) -> None:
    started, go = multiprocessing.Event(), multiprocessing.Event()
    args = (guest(), settings, started, go, tmp_path / "built")
    builder = multiprocessing.Process(target=_fill, args=args)
    builder.start()
    assert started.wait(30)
    builder.kill()
    builder.join(30)
    assert names(settings) == [stored(settings).name + ".lock"]
    bootstrap = Bootstrap()
    cache.fill(guest(), PLAN, settings, bootstrap)
    assert bootstrap.runs == 1
    assert names(settings) == [stored(settings).name]


def _hold_part(path: Path, started: Event) -> None:
    with part_of(path):
        started.set()
        signal.pause()


def test_a_half_written_cache_goes_when_its_maker_is_dead(settings: Settings) -> None:
    path = stored(settings)
    path.parent.mkdir(mode=0o700)
    started = multiprocessing.Event()
    maker = multiprocessing.Process(target=_hold_part, args=(path, started))
    maker.start()
    assert started.wait(30)
    cache_directory.tidy(path.parent, settings, "")
    assert [name.endswith(".part") for name in names(settings)] == [True]
    maker.kill()
    maker.join(30)
    cache_directory.tidy(path.parent, replace(settings, clean_cache=None), "")
    assert names(settings) == []


def directory_on(settings: Settings, *options: str) -> AbstractContextManager[None]:
    """The cache directory is a small file system of its own."""
    directory = Path(settings.cache_dir)
    directory.mkdir()
    return mounted("tmpfs", directory, fstype="tmpfs", options=("mode=700", *options))


@pytest.mark.parametrize("options", ["size=1m", "size=64m,nr_inodes=1", "size=64m,ro"])
def test_a_directory_that_takes_no_cache_is_no_reason_to_fail(
    settings: Settings, guest: Callable[[], Path], options: str, caplog: pytest.LogCaptureFixture
) -> None:
    bootstrap = Bootstrap(os.urandom(4 * 2**20))
    with directory_on(settings, options):
        root = guest()
        cache.fill(root, PLAN, settings, bootstrap)
        assert names(settings) == []
    assert bootstrap.runs == 1
    assert (root / "var/payload").read_bytes() == bootstrap.payload
    [warning] = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert f"cache {stored(settings)}: this bootstrap is not stored: " in warning
    assert ("Read-only" if "ro" in options.split(",") else "No space left on device") in warning


def test_a_directory_that_cannot_be_made(settings: Settings, guest: Callable[[], Path]) -> None:
    bootstrap = Bootstrap()
    with directory_on(settings, "ro"):
        below = replace(settings, cache_dir=f"{settings.cache_dir}/below")
        cache.fill(guest(), PLAN, below, bootstrap)
    assert bootstrap.runs == 1


@pytest.mark.parametrize("what", ["cache", "lock", "other part", "other lock"])
@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink"])
def test_what_has_a_caches_name_and_is_none(
    settings: Settings, guest: Callable[[], Path], what: str, kind: str
) -> None:
    place = stored(settings)
    place.parent.mkdir(mode=0o700)
    name = place.name
    place = place.with_name(
        {
            "cache": name,
            "lock": f"{name}.lock",
            "other part": f".{name}.x1.part",
            "other lock": f"{name}.lock".replace("bookworm", "trixie"),
        }[what]
    )
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to("/etc/passwd")
    before = place.lstat().st_ino
    bootstrap = Bootstrap()
    first, second = guest(), guest()
    cache.fill(first, PLAN, settings, bootstrap)
    cache.fill(second, PLAN, settings, bootstrap)
    assert snapshot(first) == snapshot(second) or bootstrap.runs == 2
    assert place.lstat().st_ino == before
    assert bootstrap.runs == (1 if "other" in what else 2)


def test_a_damaged_cache_that_cannot_be_removed(
    settings: Settings, guest: Callable[[], Path]
) -> None:
    with directory_on(settings, "size=64m"):
        stored(settings).write_bytes(b"damaged")
        stored(settings).chmod(0o600)
        output("mount", "-o", "remount,ro", settings.cache_dir)
        bootstrap = Bootstrap()
        cache.fill(guest(), PLAN, settings, bootstrap)
        assert bootstrap.runs == 1


def fill_with(settings: Settings, root: Path, suite: str, size: int) -> Path:
    """Another cache, of a guest with so much that cannot be compressed."""
    plan = replace(PLAN, suite=suite)
    cache.fill(root, plan, settings, Bootstrap(os.urandom(size)))
    return Path(settings.cache_dir) / cache.file_name(plan)


def test_of_too_many_caches_the_least_recently_used_goes(
    settings: Settings, guest: Callable[[], Path]
) -> None:
    settings = replace(settings, cache_size=4)
    first = fill_with(settings, guest(), "bookworm", 3 * 2**19)
    os.utime(first, (time.time() - 200, time.time() - 200))
    second = fill_with(settings, guest(), "trixie", 3 * 2**19)
    os.utime(second, (time.time() - 100, time.time() - 100))
    made = first.stat().st_mtime
    cache.fill(guest(), replace(PLAN, suite="bookworm"), settings, Bootstrap())
    assert first.stat().st_atime > second.stat().st_atime
    assert first.stat().st_mtime == made  # its age is what it was
    third = fill_with(settings, guest(), "forky", 3 * 2**19)
    assert names(settings) == sorted([first.name, third.name])
    # Another limit counts for what is there, but for what is about to be used.
    cache_directory.tidy(first.parent, replace(settings, cache_size=1), first.name)
    assert names(settings) == [first.name]
    cache_directory.tidy(first.parent, replace(settings, cache_size=None), "")
    assert names(settings) == [first.name]


def test_a_bootstrap_that_is_larger_than_all_may_be_is_not_kept(
    settings: Settings, guest: Callable[[], Path], caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(settings, cache_size=1)
    small = fill_with(settings, guest(), "bookworm", 2**16)
    large = fill_with(settings, guest(), "trixie", 2**21)
    assert not large.exists()
    assert "it needs 2.1 MiB, but CACHE_SIZE allows 1 MiB" in caplog.text
    assert names(settings) == [small.name]


@pytest.mark.parametrize("settings_", [{"cache_size": 1}, {"clean_cache": 0}])
def test_what_another_create_reads_stays(
    settings: Settings, guest: Callable[[], Path], settings_: dict[str, int]
) -> None:
    path = fill_with(settings, guest(), "bookworm", 2**21)
    os.utime(path, (time.time() - 200, time.time() - 200))
    descriptor = cache._open(path)
    assert descriptor is not None
    cache_directory.tidy(path.parent, replace(settings, **settings_), "")
    assert path.exists()
    os.close(descriptor)
    cache_directory.tidy(path.parent, replace(settings, **settings_), "")
    assert not path.exists()


def test_what_no_two_guests_may_share_is_not_kept(
    settings: Settings, guest: Callable[[], Path], caplog: pytest.LogCaptureFixture
) -> None:
    def bootstrap(root: Path, plan: BootstrapPlan) -> tuple[str, ...]:
        Bootstrap()(root, plan)
        return ("/etc/x/key (a private key)", "/etc/y (a password)")

    cache.fill(guest(), PLAN, settings, bootstrap)
    assert names(settings) == []
    assert "guests must not share /etc/x/key (a private key), /etc/y (a password)" in caplog.text


def _fill_alone(
    root: Path, settings: Settings, go: Event, first: Event, at_once: Barrier | None, place: Path
) -> None:
    """A guest of which nothing can be kept; those with a barrier have to bootstrap together."""

    def bootstrap(target: Path, plan: BootstrapPlan) -> tuple[str, ...]:
        first.set()
        if at_once is not None:
            at_once.wait(20)
        else:
            go.wait(30)
        Bootstrap(os.urandom(4 * 2**20))(target, plan)
        return () if place.is_mount() else ("/etc/x/key (a private key)",)

    cache.fill(root, PLAN, settings, bootstrap)


@pytest.mark.parametrize("why", ["secrets", "full disk", "no cache"])
def test_who_waits_for_what_cannot_be_kept_bootstraps_with_the_others(
    settings: Settings, guest: Callable[[], Path], why: str
) -> None:
    go, first, at_once = (
        multiprocessing.Event(),
        multiprocessing.Event(),
        multiprocessing.Barrier(3),
    )
    place = Path(settings.cache_dir)
    with directory_on(settings, "size=1m") if why == "full disk" else nullcontext():
        place.mkdir(mode=0o700, exist_ok=True)
        if why == "no cache":
            stored(settings).mkdir()
        shared = (settings, go, first)
        maker = multiprocessing.Process(target=_fill_alone, args=(guest(), *shared, None, place))
        maker.start()
        assert first.wait(30)
        waiting = [
            multiprocessing.Process(target=_fill_alone, args=(guest(), *shared, at_once, place))
            for _ in range(3)
        ]
        for process in waiting:
            process.start()
            while why != "no cache" and not waits_for_a_lock(process):
                assert process.is_alive()
        go.set()
        for process in (maker, *waiting):
            process.join(60)
            assert process.exitcode == 0
        assert names(settings) == ([stored(settings).name] if why == "no cache" else [])


def test_a_guest_that_cannot_be_read_is_an_error(
    settings: Settings, guest: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk of the guest that fails just while it is packed cannot be had: tar's own words."""

    def fails(*_args: object, **_options: object) -> None:
        said = "/usr/bin/tar: ./var/x: Read error at byte 0: Input/output error"
        raise CommandError(said, exit_code=2, stdout="", stderr=f"{said}\n", hint="")

    monkeypatch.setattr(cache, "run", fails)
    with pytest.raises(CommandError, match="Read error"):
        cache.fill(guest(), PLAN, settings, Bootstrap())
    assert names(settings) == []


def test_no_space_in_the_guest(settings: Settings, guest: Callable[[], Path]) -> None:
    bootstrap = Bootstrap(os.urandom(8 * 2**20))
    cache.fill(guest(), PLAN, settings, bootstrap)
    small = guest()
    with (
        mounted("tmpfs", small, fstype="tmpfs", options=("size=4m",)),
        pytest.raises(KitError, match=r"its files need [\d.]+ MiB, the root file system has 4 MiB"),
    ):
        cache.fill(small, PLAN, settings, bootstrap)
    assert names(settings) == [stored(settings).name]


def test_old_caches_of_any_plan_are_removed(settings: Settings, guest: Callable[[], Path]) -> None:
    cache.fill(guest(), PLAN, settings, Bootstrap())
    other = Path(settings.cache_dir) / "cache-buster-amd64.tar"  # ganeti-instance-debootstrap's
    other.touch()
    for path in (stored(settings), other):
        os.utime(path, (0, time.time() - 15 * 86400))
    cache_directory.tidy(Path(settings.cache_dir), replace(settings, clean_cache=None), "")
    assert len(names(settings)) == 2
    bootstrap = Bootstrap()
    unrelated = replace(PLAN, suite="trixie")
    cache.fill(guest(), unrelated, replace(settings, clean_cache=14), bootstrap)
    assert names(settings) == [other.name, cache.file_name(unrelated)]


def test_a_cache_that_others_may_write_to_is_refused(
    settings: Settings, guest: Callable[[], Path]
) -> None:
    cache.fill(guest(), PLAN, settings, Bootstrap())
    stored(settings).chmod(0o620)
    with pytest.raises(KitError, match="others may write to it"):
        cache.fill(guest(), PLAN, settings, Bootstrap())
    stored(settings).chmod(0o600)
    os.chown(stored(settings), 1234, 0)
    with pytest.raises(KitError, match="owner 1234"):
        cache.check(PLAN, settings)
    os.chown(stored(settings), 0, 0)
    Path(settings.cache_dir).chmod(0o777)
    with pytest.raises(KitError, match="mode 0777"):
        cache.check(PLAN, settings)
    Path(settings.cache_dir).chmod(0o755)  # as ganeti-instance-debootstrap's package makes it
    cache.check(PLAN, settings)


def test_without_generate_cache_nothing_is_kept_but_what_is_there_is_used(
    settings: Settings, guest: Callable[[], Path]
) -> None:
    bootstrap = Bootstrap()
    without = replace(settings, generate_cache=False)
    cache.fill(guest(), PLAN, without, bootstrap)
    assert names(settings) == []
    cache.fill(guest(), PLAN, settings, bootstrap)
    cache.fill(guest(), PLAN, without, bootstrap)
    assert bootstrap.runs == 2


def test_a_copy_tells_which_engine_made_it(
    settings: Settings, guest: Callable[[], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ganeti-instance-kit")
    cache.fill(guest(), PLAN, settings, Bootstrap())
    cache.fill(guest(), PLAN, settings, Bootstrap())
    assert f"cache: {stored(settings).name}, made by mmdebstrap 0.0 days ago" in caplog.text


def test_a_failed_bootstrap_keeps_nothing(settings: Settings, guest: Callable[[], Path]) -> None:
    def fails(_root: Path, _plan: BootstrapPlan) -> None:
        raise KitError("bootstrap of bookworm: failed", "what to do")

    with pytest.raises(KitError, match="failed"):
        cache.fill(guest(), PLAN, settings, fails)
    assert names(settings) == []
