import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer import guest_tree as tree
from installer.guest_tree import File, GuestTree, chroot
from node.errors import KitError


@pytest.fixture
def target(tmp_path: Path) -> GuestTree:
    root = tmp_path / "guest"
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "etc").mkdir()
    (root / "var").symlink_to("/var")
    (root / "srv").symlink_to("../outside")
    (root / "hop").symlink_to("var")
    (tmp_path / "outside").mkdir()
    return GuestTree(root)


@pytest.mark.parametrize(
    "relative", ["/etc/passwd", "../outside/x", "etc/../../x", "", "var/log/x", "srv/x", "hop/x"]
)
def test_paths_that_leave_the_guest_are_refused(target: GuestTree, relative: str) -> None:
    with pytest.raises(KitError):
        target.path(relative)


def test_links_of_a_merged_usr_are_followed(target: GuestTree) -> None:
    target.write("bin/tool", "#!/bin/sh\n", 0o755)
    assert (target.root / "usr/bin/tool").stat().st_mode & 0o777 == 0o755


def test_a_link_is_replaced_and_not_written_through(target: GuestTree, tmp_path: Path) -> None:
    (target.root / "etc/resolv.conf").symlink_to(tmp_path / "outside/resolv.conf")
    target.write("etc/resolv.conf", "nameserver 192.0.2.1\n")
    assert not (tmp_path / "outside/resolv.conf").exists()
    assert target.read("etc/resolv.conf") == "nameserver 192.0.2.1\n"


def test_a_link_is_not_read(target: GuestTree) -> None:
    (target.root / "etc/shadow").symlink_to("/etc/shadow")
    with pytest.raises(KitError, match="not a regular file"):
        target.read("etc/shadow")


@pytest.mark.parametrize(
    ("relative", "goal", "made"),
    [
        ("etc/localtime", "/usr/share/zoneinfo/Etc/UTC", "../usr/share/zoneinfo/Etc/UTC"),
        ("bin/tool", "/etc/tool", "../../etc/tool"),  # bin -> usr/bin
        ("vmlinuz", "/boot/vmlinuz-6.1", "boot/vmlinuz-6.1"),
        ("etc/mtab", "../proc/self/mounts", "../proc/self/mounts"),
    ],
)
def test_links_are_relative_so_that_they_never_name_a_file_of_the_node(
    target: GuestTree, relative: str, goal: str, made: str
) -> None:
    target.symlink(relative, goal)
    link = target.path(relative)
    assert str(link.readlink()) == made


def test_modes_do_not_depend_on_the_umask(target: GuestTree) -> None:
    before = os.umask(0o077)
    try:
        target.write_all({"etc/a": File("a"), "etc/b": File("b", 0o600)})
    finally:
        os.umask(before)
    modes = [(target.root / f"etc/{name}").stat().st_mode & 0o777 for name in "ab"]
    assert modes == [0o644, 0o600]


def test_a_file_is_replaced_as_a_whole(target: GuestTree) -> None:
    target.write("etc/hostname", "old-and-long\n")
    target.write("etc/hostname", "new\n")
    assert target.read("etc/hostname") == "new\n"
    assert [path.name for path in (target.root / "etc").iterdir()] == ["hostname"]


@given(st.text(alphabet="ab./\\ \n", min_size=1, max_size=12))
def test_no_path_is_outside_of_the_root(relative: str) -> None:
    root = Path("/nonexistent-guest")
    try:
        path = GuestTree(root).path(relative)
    except KitError:
        return
    assert os.path.normpath(path).startswith(f"{root}/")


def test_what_was_begun_and_not_awaited_is_ended_first(
    target: GuestTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    class Program:
        """Stands in for a program, which no unit test may run."""

        def end(self) -> None:
            happened.append("ended")

    monkeypatch.setattr(tree, "start", lambda *_args, **_options: Program())
    monkeypatch.setattr(tree, "mounted", lambda *_args, **_options: nullcontext())
    monkeypatch.setattr(tree, "proc_of_guest", lambda _target: nullcontext())
    monkeypatch.setattr(tree, "_fill_dev", lambda *_args: None)
    monkeypatch.setattr(tree, "end_processes_in", lambda _root: happened.append("looked"))
    (target.root / "run").mkdir()
    (target.root / "usr/sbin").mkdir()

    def fail() -> None:
        with chroot(target, ()):
            target.start(["ssh-keygen"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert happened == ["ended", "looked"]


@pytest.mark.parametrize("own", ["#!/bin/sh\nexit 104\n", None])
def test_a_policy_of_the_guests_own_outlives_ours(target: GuestTree, own: str | None) -> None:
    if own is not None:
        target.write(tree.POLICY_RC_D, own, 0o755)
    for _ in range(2):  # as creates do: for the hooks, and once more after those of the site
        with tree.services_forbidden(target):
            assert target.read(tree.POLICY_RC_D) == tree.POLICY
    assert [path.name for path in (target.root / "usr/sbin").iterdir()] == (
        [] if own is None else ["policy-rc.d"]
    )
    assert own is None or target.read(tree.POLICY_RC_D) == own


def test_a_policy_that_a_hook_writes_stays(target: GuestTree) -> None:
    target.write(tree.POLICY_RC_D, "#!/bin/sh\nexit 104\n", 0o755)
    with tree.services_forbidden(target):
        target.write(tree.POLICY_RC_D, "#!/bin/sh\nexit 0\n", 0o755)
    with tree.services_forbidden(target):
        pass
    assert target.read(tree.POLICY_RC_D) == "#!/bin/sh\nexit 0\n"
    assert [path.name for path in (target.root / "usr/sbin").iterdir()] == ["policy-rc.d"]
