import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from installer.bootstrap.per_guest import remake
from installer.bootstrap.per_guest.unpackaged import HEAD
from installer.guest_tree import GuestTree
from node.errors import KitError
from node.run import Result


class Package(GuestTree):
    """A guest whose package, when it is configured, makes some of its files: it runs nothing."""

    def __init__(self, root: Path, makes: dict[str, str], exit_code: int = 0) -> None:
        super().__init__(root)
        self.makes = makes
        self.exit_code = exit_code
        self.configured = 0

    def run(self, _argv: Sequence[str], **_options: Any) -> Result:
        self.configured += 1
        for path, text in self.makes.items():
            self.write(path, text)
        return Result(self.exit_code, "", "")


def tried(target: Package, *paths: str) -> tuple[dict[str, list[str]], list[str], list[str]]:
    for path in paths:
        target.write(path, "old")
    return remake._tried(target, {"package": list(paths)})


def test_what_a_package_makes_again_is_taken_out(tmp_path: Path) -> None:
    target = Package(tmp_path, {"etc/a.key": "new", "etc/a.id": "old"})
    assert tried(target, "etc/a.key", "etc/a.id") == ({"package": ["etc/a.key"]}, ["etc/a.id"], [])
    assert not target.exists("etc/a.key") and target.read("etc/a.id") == "old"
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["a.id"]


def test_where_a_package_does_not_make_all_again_its_files_stay(tmp_path: Path) -> None:
    target = Package(tmp_path, {"etc/a.key": "new"})
    assert tried(target, "etc/a.key", "etc/b.key") == ({}, [], [])
    assert target.read("etc/a.key") == "old" and target.read("etc/b.key") == "old"
    assert sorted(path.name for path in (tmp_path / "etc").iterdir()) == ["a.key", "b.key"]


def test_a_package_that_fails_to_configure_has_its_files(tmp_path: Path) -> None:
    target = Package(tmp_path, {}, exit_code=1)
    assert tried(target, "etc/a.key") == ({}, [], [])
    assert target.read("etc/a.key") == "old"


def test_a_package_without_files_that_are_left_is_not_configured(tmp_path: Path) -> None:
    target = Package(tmp_path, {})
    assert remake._tried(target, {"package": ["etc/gone"]}) == ({}, [], [])
    assert target.configured == 0


def test_a_certificate_stays_with_its_key_where_a_trial_fails(tmp_path: Path) -> None:
    makes = {"etc/a.key": "new", "etc/a.crt": "new", "etc/a.conf": "same", "srv/more": "new"}
    target = Package(tmp_path, makes, exit_code=1)
    target.write("etc/a.crt", "old", 0o640)
    target.write("etc/a.conf", "same")
    os.setxattr(tmp_path / "etc/a.crt", "user.comment", b"kept")
    os.utime(tmp_path / "etc/a.crt", ns=(1, 1))
    assert tried(target, "etc/a.key") == ({}, [], [])
    assert target.read("etc/a.key") == "old" and target.read("etc/a.crt") == "old"
    crt = tmp_path / "etc/a.crt"
    assert (crt.stat().st_mode & 0o7777, crt.stat().st_mtime_ns) == (0o640, 1)
    assert os.getxattr(crt, "user.comment") == b"kept"
    assert not target.exists("srv/more")


def test_what_is_too_large_to_be_put_back_is_told(tmp_path: Path) -> None:
    target = Package(tmp_path, {"var/database": "new"})
    target.write("var/database", bytes(HEAD + 1))
    target.write("var/other", bytes(HEAD + 1))
    assert tried(target, "etc/a.key") == ({}, [], ["var/database"])
    assert target.read("etc/a.key") == "old"


def test_nothing_is_put_back_through_a_link_out_of_the_guest(tmp_path: Path) -> None:
    class Linking(Package):
        def run(self, _argv: Sequence[str], **_options: Any) -> Result:
            self.remove("etc/package/conf")
            (self.root / "etc/package").rmdir()
            (self.root / "etc/package").symlink_to(tmp_path / "node")
            return Result(1, "", "")

    (tmp_path / "node").mkdir()
    target = Linking(tmp_path / "guest", {})
    target.write("etc/package/conf", "old")
    with pytest.raises(KitError, match=r"etc/package/conf.* a symlink leads out of"):
        tried(target, "etc/a.key")
    assert [*(tmp_path / "node").iterdir()] == []


def test_what_another_package_has_made_a_link_is_not_tried(tmp_path: Path) -> None:
    class Linking(Package):
        def run(self, argv: Sequence[str], **options: Any) -> Result:
            result = super().run(argv, **options)
            if self.configured == 1:
                self.symlink("etc/b.key", "/etc/a.key")
            return result

    target = Linking(tmp_path, {"etc/a.key": "new", "etc/b.key": "new"})
    for path in ("etc/a.key", "etc/b.key"):
        target.write(path, "old")
    makers = {"a": ["etc/a.key"], "b": ["etc/b.key"]}
    assert remake._tried(target, makers) == ({"a": ["etc/a.key"]}, [], [])
    assert target.configured == 1
