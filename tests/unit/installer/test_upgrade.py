from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from installer import upgrade
from installer.bootstrap.mirrors import Mirrors
from installer.bootstrap.plan import BootstrapPlan
from installer.guest_tree import GuestTree
from node.errors import KitError
from node.run import Result

PLAN = BootstrapPlan(
    engine="mmdebstrap",
    suite="bookworm",
    family="debian",
    arch="amd64",
    mirrors=Mirrors("http://mirror.example.org/debian", None, "settings"),
    components=("main",),
    packages=(),
    merged_usr="auto",
    keyrings=(),
    proxy="http://user:secret@proxy.example.org:3128",
)
FAILED = "E: Some index files failed to download."
FETCH = "W: Failed to fetch http://mirror.example.org/x  Could not resolve 'mirror.example.org'"
ROOM = "After this operation, 100 MB of additional disk space will be used."
DONE = "3 upgraded, 1 newly installed, 0 to remove and 2 not upgraded."


class Guest(GuestTree):
    """Its programs end as they are told to: exit code, stdout, stderr by a word of the command."""

    def __init__(self, root: Path, **answers: tuple[int, str, str]) -> None:
        super().__init__(root)
        self.ran: list[str] = []
        self.configuration = ""
        self.resolver = ""
        self._answers = answers

    def run(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None] | None = None,
        **_: Any,
    ) -> Result:
        self.ran.append(" ".join(argv))
        if self.exists(upgrade.CONFIGURATION):
            self.configuration = self.read(upgrade.CONFIGURATION)
            self.resolver = self.read("etc/resolv.conf")
        name = next((name for name in self._answers if name in self.ran[-1]), None)
        answer = Result(*self._answers[name]) if name else Result(0, "", "")
        for line in (answer.stdout + answer.stderr).splitlines():
            if on_line is not None:
                on_line(line)
        return answer


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = SimpleNamespace(f_bavail=400, f_frsize=2**20)
    monkeypatch.setattr(upgrade.os, "statvfs", lambda _: figures)


@pytest.mark.parametrize(
    ("days", "age", "due"),
    [(1, 0.99, False), (1, 1.0, True), (0, 0.0, True), (None, 1000.0, False), (1, -3.0, False)],
)
def test_the_age_decides(days: int | None, age: float, due: bool) -> None:
    assert upgrade.is_due(days, age) is due


def test_it_is_fetched_within_bounds_then_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    guest = Guest(tmp_path, **{"--no-download": (0, f"{DONE}\n", "")})
    upgrade.upgrade(guest, PLAN, 2.0)
    options = "apt-get --assume-yes --with-new-pkgs upgrade"
    assert guest.ran == [
        "timeout --kill-after=5 60 apt-get update",
        f"timeout --kill-after=5 600 {options} --download-only",
        f"{options} --no-download",
        "apt-get clean",
    ]
    assert "3 upgraded, 1 newly installed" in caplog.text


def test_the_proxy_is_in_a_file_of_roots_that_goes(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    upgrade.upgrade(guest, PLAN, 2.0)
    assert 'Acquire::https::Proxy "http://user:secret@proxy.example.org:3128";' in (
        guest.configuration
    )
    assert not any("secret" in command for command in guest.ran)
    assert not guest.exists(upgrade.CONFIGURATION)
    assert "Proxy" not in upgrade.configuration(None)


def test_names_are_looked_up_as_on_the_node(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    guest.symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    guest.write("etc/hosts", "127.0.0.1 localhost\n")
    upgrade.upgrade(guest, PLAN, 2.0)
    assert guest.resolver == Path("/etc/resolv.conf").read_text()
    link = tmp_path / "etc/resolv.conf"
    assert str(link.readlink()) == "../run/systemd/resolve/stub-resolv.conf"
    assert guest.read("etc/hosts") == "127.0.0.1 localhost\n"
    assert sorted(path.name for path in (tmp_path / "etc").iterdir()) == [
        "apt", "hosts", "resolv.conf",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "why", "commands"),
    [
        ({"update": (100, "", f"{FETCH}\n{FAILED}\n")}, "Could not resolve", 2),
        ({"update": (124, "", "")}, "no answer within 60 seconds", 2),
        ({"update": (-9, "", "")}, "no answer within 60 seconds", 2),
        ({"--download-only": (100, "", f"{FAILED}\n")}, "Some index files", 3),
        ({"--download-only": (124, "", "")}, "no answer within 600 seconds", 3),
        (
            {"--download-only": (0, ROOM.replace("100 ", "200 "), "")},
            "it needs 446.8 MiB in /, but 400 MiB are free",
            3,
        ),
    ],
)
def test_where_it_cannot_be_fetched_the_guest_stays_as_it_is(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    answers: dict[str, tuple[int, str, str]],
    why: str,
    commands: int,
) -> None:
    guest = Guest(tmp_path, **answers)
    guest.make_directory("usr")
    upgrade.upgrade(guest, PLAN, 2.04)
    assert "packages are 2.0 days old and are not upgraded: " in caplog.text and why in caplog.text
    assert len(guest.ran) == commands
    assert guest.ran[-1] == "apt-get clean"
    assert not any("--no-download" in command for command in guest.ran)


def test_one_that_fails_halfway_is_an_error(tmp_path: Path) -> None:
    answers = {
        "--download-only": (0, ROOM, ""),
        "--no-download": (100, "", "dpkg: error processing package less (--configure):\n"),
    }
    guest = Guest(tmp_path, **answers)
    with pytest.raises(KitError, match=r"upgrade of the packages: dpkg: error.* less") as caught:
        upgrade.upgrade(guest, PLAN, 2.0)
    assert "UPGRADE=no" in (caught.value.hint or "")
    assert not guest.exists(upgrade.CONFIGURATION) and not guest.exists("etc/resolv.conf")


def test_indexes_and_their_caches_go(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    for name in ("var/lib/apt/lists/x_InRelease", "var/cache/apt/pkgcache.bin"):
        guest.write(name, "")
    guest.make_directory("var/lib/apt/lists/partial")
    upgrade.upgrade(guest, PLAN, 2.0)
    assert [path.name for path in (tmp_path / "var/lib/apt/lists").iterdir()] == ["partial"]
    assert list((tmp_path / "var/cache/apt").iterdir()) == []


@pytest.mark.parametrize("full", ["", "boot", "usr", "var"])
def test_each_file_system_of_the_guest_needs_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    names = ("", "boot", "usr", "var")
    free = {tmp_path / name: 60 if name == full else 400 for name in names}
    devices = {tmp_path / name: number for number, name in enumerate(names)}
    for name in names:
        (tmp_path / name).mkdir(exist_ok=True)
    real = Path.stat

    def stat(path: Path, **options: Any) -> Any:  # no unit test may mount
        if path in devices:
            return SimpleNamespace(st_dev=devices[path], st_mode=real(path).st_mode)
        return real(path, **options)

    def statvfs(path: Path) -> Any:
        return SimpleNamespace(f_bavail=free[path], f_frsize=2**20)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(upgrade.os, "statvfs", statvfs)
    problem = upgrade._lack_of_room(tmp_path, 10 << 20)
    assert problem is not None and f" in /{full}, but 60 MiB are free" in problem
    free[tmp_path / full] = 400
    assert upgrade._lack_of_room(tmp_path, 10 << 20) is None
    # What packages bring goes to /usr.
    assert "410 MiB in /usr" in (upgrade._lack_of_room(tmp_path, 154 << 20) or "")
