"""Who may log in: the user of USER, root, and with which keys."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer import create
from installer.bootstrap import accounts
from installer.hooks.base import Context, Hook
from installer.hooks.grub import HookGrub
from installer.hooks.ssh import AUTHORIZED_KEYS, HookAuthorizedKeys, HookSsh
from installer.hooks.user import HookUser
from installer.settings.kinds import USER
from node.errors import KitError
from node.run import Result
from tests.unit.installer.hooks.test_hooks import NODE, RecordingTree, context

KEY = "ssh-ed25519 AAAA ada"
ENTRY = f"ada:x:{os.getuid()}:{os.getgid()}::/home/ada:/bin/bash\n"


class Guest(RecordingTree):
    """useradd adds its line."""

    def run(self, argv: Any, **options: Any) -> Result:
        if argv[0] == "useradd":
            self.write("etc/passwd", self.read("etc/passwd") + ENTRY)
        return super().run(argv, **options)


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    made = Guest(tmp_path)
    made.write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
    return made


def make(made: Context, target: Guest) -> None:
    hook = HookUser()
    assert hook.enabled(made)
    later = hook.apply(made, target)
    # root's password is set meanwhile, which locks the same files.
    assert target.ran == []
    later.finish()


def test_the_user_has_the_keys_of_root_and_all_of_sudo(guest: Guest) -> None:
    node = replace(NODE, authorized_keys="ssh-ed25519 BBBB admin")  # without a newline
    make(replace(context(user="ada", ssh_keys=(KEY,)), node=node), guest)
    options = ("--create-home", "--shell=/bin/bash", "--groups=sudo")
    assert guest.ran == [(("useradd", *options, "ada"), None)]
    assert guest.read("home/ada/.ssh/authorized_keys") == f"ssh-ed25519 BBBB admin\n{KEY}\n"
    modes = [guest.path(path).stat().st_mode & 0o7777 for path in (
        "home/ada/.ssh", "home/ada/.ssh/authorized_keys", "etc/sudoers.d/ganeti-instance-kit",
    )]  # fmt: skip
    assert modes == [0o700, 0o600, 0o440]
    assert HookUser().packages(context(user="ada")) == ("passwd", "sudo")


def test_a_user_that_a_package_made_is_left_alone(guest: Guest) -> None:
    guest.write("etc/passwd", ENTRY)
    with pytest.raises(KitError, match="user ada: a package") as caught:
        make(context(user="ada"), guest)
    assert caught.value.hint == "choose another USER"
    assert guest.ran == []


def test_a_user_without_keys_is_warned_about(
    guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    make(replace(context(user="ada"), node=replace(NODE, authorized_keys=None)), guest)
    assert "user ada has no key" in caplog.text
    assert not guest.exists("home/ada/.ssh")


def test_the_keys_on_a_disk_that_is_kept_are_told_of(
    guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    made = context(user="ada")
    kept = replace(made.layout.root, mountpoint="/home")
    make(replace(made, layout=replace(made.layout, kept=(kept,))), guest)
    assert "/home/ada is on a disk that is kept" in caplog.text


@pytest.mark.parametrize(
    ("settings", "node", "keys"),
    [
        ({}, "node\n", "node\n"),
        ({"ssh_keys": (KEY,)}, "node", f"node\n{KEY}\n"),
        ({"ssh_keys": (KEY,), "hook_authorized_keys": False}, None, f"{KEY}\n"),
        ({"ssh_keys": (KEY, "other")}, None, f"{KEY}\nother\n"),
        ({"hook_authorized_keys": False}, None, None),
        ({"ssh_keys": (KEY,), "root_login": False}, "node", None),
    ],
)
def test_roots_keys(settings: dict[str, Any], node: str | None, keys: str | None) -> None:
    made = replace(context(**settings), node=replace(NODE, authorized_keys=node))
    hook = HookAuthorizedKeys()
    assert hook.enabled(made) is (keys is not None)
    if keys is not None:
        assert hook.render(made)[AUTHORIZED_KEYS].text == keys


@pytest.mark.parametrize(("root_login", "word"), [(True, "prohibit-password"), (False, "no")])
def test_root_logs_in_by_key_or_not_at_all(root_login: bool, word: str) -> None:
    (file,) = HookSsh().render(context(root_login=root_login)).values()
    assert file.text.splitlines()[-1] == f"PermitRootLogin {word}"


@pytest.mark.parametrize(
    ("settings", "hooks", "words"),
    [
        ({"root_login": False}, [HookSsh()], ["nobody can log in over SSH"]),
        ({"root_login": False, "user": "ada"}, [HookUser()], []),
        ({"kernel_args": "quiet"}, [HookSsh()], ["KERNEL_ARGS has no effect"]),
        ({"kernel_args": "quiet"}, [HookGrub()], []),
    ],
)
def test_what_does_nothing_or_locks_all_out_is_warned_about(
    settings: dict[str, Any],
    hooks: list[Hook],
    words: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    create._warn_of_no_effect(context(**settings), hooks)
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == len(words)
    assert all(word in text for word, text in zip(words, said, strict=True))


def test_a_group_of_that_name_counts_too(guest: Guest) -> None:
    guest.write("etc/group", "root:x:0:\nada:x:115:\n")
    with pytest.raises(KitError, match="user ada: a package"):
        make(context(user="ada"), guest)
    assert guest.ran == []


@pytest.mark.parametrize("master", ["passwd.master", "group.master"])
def test_names_of_base_passwd_are_none_for_users(master: str) -> None:
    text = Path("/usr/share/base-passwd", master).read_text()
    taken = accounts.names(text)
    assert {"root", "backup"} <= taken
    for name in taken:
        with pytest.raises(ValueError, match="not that of a system user"):
            USER.parse(name)
