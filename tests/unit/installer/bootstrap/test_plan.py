from dataclasses import replace
from pathlib import Path

import pytest

from installer.bootstrap.mirrors import Mirrors
from installer.bootstrap.plan import (
    BootstrapPlan,
    check_merged_usr,
    debootstrap_argv,
    merges_usr,
    mmdebstrap_argv,
)
from node.errors import KitError

MIRROR = "http://mirror.example.org/debian"
ROOT, KEYRING, NO_KEYS = Path("/mnt/guest"), Path("/k/all.gpg"), Path("/k/none")
PLAN = BootstrapPlan(
    engine="mmdebstrap",
    suite="bookworm",
    family="debian",
    arch="amd64",
    mirrors=Mirrors(MIRROR, MIRROR + "-security", "settings"),
    components=("main", "contrib"),
    packages=("linux-image-amd64", "openssh-server"),
    merged_usr="auto",
    keyrings=(KEYRING,),
    proxy="http://user:secret@proxy.example.org:3128",
)
LINES = [f"deb [signed-by=/k/all.gpg] {MIRROR} bookworm main contrib"]


def test_debootstrap() -> None:
    assert debootstrap_argv(PLAN, ROOT, KEYRING) == [
        "debootstrap",
        "--arch=amd64",
        "--components=main,contrib",
        "--keyring=/k/all.gpg",
        "--force-check-gpg",
        "--include=linux-image-amd64,openssh-server",
        "bookworm",
        "/mnt/guest",
        MIRROR,
    ]


def test_mmdebstrap() -> None:
    assert mmdebstrap_argv(PLAN, ROOT, KEYRING, NO_KEYS, LINES) == [
        "mmdebstrap",
        "--verbose",
        "--mode=root",
        "--format=directory",
        "--variant=important",
        "--architectures=amd64",
        "--components=main,contrib",
        "--skip=check/empty,check/signed-by,chroot/mount/proc",
        "--include=linux-image-amd64,openssh-server",
        "--hook-directory=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
        "bookworm",
        "/mnt/guest",
        *LINES,
    ]


def test_the_engines_own_mirror() -> None:
    plan = replace(PLAN, mirrors=Mirrors(None, None, "the engine"), packages=())
    assert debootstrap_argv(plan, ROOT, KEYRING)[-2:] == ["bookworm", "/mnt/guest"]
    argv = mmdebstrap_argv(plan, ROOT, KEYRING, NO_KEYS, ())
    assert argv[-2:] == ["bookworm", "/mnt/guest"]
    assert [word for word in argv if "keyring" in word] == [
        "--keyring=/k/all.gpg",
        "--keyring=/k/none",
    ]


def test_signatures_are_always_verified_and_the_proxy_stays_out() -> None:
    words = " ".join(
        [
            *debootstrap_argv(PLAN, ROOT, KEYRING),
            *mmdebstrap_argv(PLAN, ROOT, KEYRING, NO_KEYS, LINES),
        ]
    )
    assert "no-check-gpg" not in words and "trusted" not in words and "secret" not in words


def test_a_plan_does_not_show_the_password_of_the_proxy() -> None:
    assert "secret" not in repr(PLAN)


def test_a_suite_newer_than_debootstrap() -> None:
    plan = replace(PLAN, suite="duke")
    assert debootstrap_argv(plan, ROOT, KEYRING)[-1] == "/usr/share/debootstrap/scripts/sid"


def test_mirrors_on_the_nodes_disks() -> None:
    argv = mmdebstrap_argv(PLAN, ROOT, KEYRING, NO_KEYS, ["deb file:/srv/mirror bookworm main"])
    assert "--hook-directory=/usr/share/mmdebstrap/hooks/file-mirror-automount" in argv


@pytest.mark.parametrize(
    ("suite", "merged_usr", "links", "option"),
    [
        ("bookworm", "auto", False, None),
        ("bullseye", "auto", True, None),
        ("bullseye", "no", False, "--no-merged-usr"),
        ("bullseye", "yes", True, "--merged-usr"),
        ("stretch", "auto", False, None),
        ("stretch", "yes", True, "--merged-usr"),
        ("jammy", "auto", True, None),
        ("trixie", "yes", False, "--merged-usr"),
    ],
)
def test_merged_usr(suite: str, merged_usr: str, links: bool, option: str | None) -> None:
    plan = replace(PLAN, suite=suite, merged_usr=merged_usr)
    assert merges_usr(plan) is links
    options = [word for word in debootstrap_argv(plan, ROOT, KEYRING) if "merged" in word]
    assert options == ([option] if option else [])
    hooks = [word for word in mmdebstrap_argv(plan, ROOT, KEYRING, NO_KEYS, ()) if "hooks" in word]
    assert bool(hooks) == (suite in ("bookworm", "trixie"))


def test_newer_suites_need_a_merged_usr() -> None:
    with pytest.raises(KitError, match=r"bookworm.*merged /usr"):
        check_merged_usr("bookworm", "no")
    check_merged_usr("bullseye", "no")
    check_merged_usr("trixie", "auto")
