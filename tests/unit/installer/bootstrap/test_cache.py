from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.bootstrap.cache import empty, extract_argv, file_name, key, store_argv
from installer.bootstrap.cache_directory import tidy
from installer.bootstrap.mirrors import Mirrors
from installer.bootstrap.plan import BootstrapPlan
from installer.settings import Settings

MIRROR = "http://mirror.example.org/debian"


@pytest.fixture
def plan(tmp_path: Path) -> BootstrapPlan:
    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(b"keys")
    return made(keyring)


def made(*keyrings: Path, packages: tuple[str, ...] = ("openssh-server",)) -> BootstrapPlan:
    return BootstrapPlan(
        engine="mmdebstrap",
        suite="bookworm",
        family="debian",
        arch="amd64",
        mirrors=Mirrors(MIRROR, MIRROR + "-security", "settings"),
        components=("main",),
        packages=packages,
        merged_usr="auto",
        keyrings=keyrings,
        proxy=None,
    )


def test_the_file_name_tells_suite_and_architecture(plan: BootstrapPlan) -> None:
    assert file_name(plan) == f"cache-bookworm-amd64-{key(plan)}.tar.zst"
    assert len(key(plan)) == 16


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("engine", "debootstrap"),
        ("suite", "trixie"),
        ("arch", "i386"),
        ("mirrors", Mirrors(MIRROR, None, "settings")),
        ("mirrors", Mirrors(None, None, "the engine")),
        ("components", ("main", "contrib")),
        ("packages", ()),
        ("packages", ("openssh-server", "vim-tiny")),
        ("merged_usr", "no"),
        ("keyrings", ()),
    ],
)
def test_whatever_determines_the_tree_changes_the_key(
    plan: BootstrapPlan, field: str, value: object
) -> None:
    assert key(replace(plan, **{field: value})) != key(plan)  # type: ignore[arg-type]


def test_the_proxy_and_who_chose_the_mirror_do_not(plan: BootstrapPlan) -> None:
    other = Mirrors(MIRROR, MIRROR + "-security", "the node's apt sources")
    assert key(replace(plan, proxy="http://proxy.example.org:3128", mirrors=other)) == key(plan)


def test_the_keys_count_and_not_their_file(plan: BootstrapPlan, tmp_path: Path) -> None:
    before = key(plan)
    moved = plan.keyrings[0].rename(tmp_path / "moved.gpg")
    assert key(replace(plan, keyrings=(moved,))) == before
    moved.write_bytes(b"other keys")
    assert key(replace(plan, keyrings=(moved,))) != before


NAMES = st.tuples(st.text(st.characters(min_codepoint=33, max_codepoint=126)))


@given(NAMES, NAMES)
def test_different_packages_never_share_a_cache(
    one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    assert (key(made(packages=one)) == key(made(packages=other))) == (one == other)


def test_packing_keeps_all_metadata_and_leaves_out_what_is_mounted() -> None:
    assert store_argv(Path("/c/x.part"), Path("/mnt/guest")) == [
        "tar",
        "--selinux",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "--blocking-factor=512",
        "--sparse",
        "--use-compress-program=zstd -T0 --fast=1",
        "--exclude=./proc/*",
        "--exclude=./sys/*",
        "--exclude=./run/*",
        "--exclude=./tmp/*",
        "--exclude=lost+found",
        "-c",
        "-f",
        "/c/x.part",
        "-C",
        "/mnt/guest",
        ".",
    ]


def test_unpacking_keeps_all_metadata() -> None:
    assert extract_argv("/proc/1/fd/3", Path("/mnt/guest")) == [
        "tar",
        "--selinux",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "--blocking-factor=512",
        "--use-compress-program=zstd",
        "-x",
        "-f",
        "/proc/1/fd/3",
        "-C",
        "/mnt/guest",
    ]


def test_tidying_leaves_alone_what_is_not_ours(tmp_path: Path) -> None:
    names = ["cache-bookworm-amd64.tar", "notes.txt", ".hidden.part", "cache-x.tar.zst"]
    for name in names:
        (tmp_path / name).touch()
    tidy(tmp_path, Settings(clean_cache=0, cache_size=1), "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_emptying_keeps_lost_and_found(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/x").touch()
    (tmp_path / "link").symlink_to("/etc")
    assert empty(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lost+found"]
