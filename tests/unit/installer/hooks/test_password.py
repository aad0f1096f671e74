"""The password of root: set on stdin, and stated only where it opens the guest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from installer.hooks.password import HookPassword
from node.run import Result
from tests.unit.installer.hooks.test_hooks import RecordingTree, context

AUTH_ERR = 7  # PAM_AUTH_ERR of security/_pam_types.h


class PamTarget(RecordingTree):
    """A guest whose PAM lets root in with these passwords; "set" stands for what chpasswd set."""

    def __init__(self, root: Path, opens: Sequence[str], expiry: int = 0) -> None:
        super().__init__(root)
        self._opens = opens
        self._expiry = expiry
        self.password = ""

    def run(self, argv: Sequence[str], *, input: str | None = None, **_: Any) -> Result:  # noqa: A002
        super().run(argv, input=input)
        if argv[0] == "chpasswd":
            assert input is not None
            self.password = input.removeprefix("root:").rstrip("\n")
        if argv[0] != "unix_chkpwd":
            return Result(0, "", "")
        if argv[2] == "chkexpiry":
            return Result(self._expiry, "", "")
        assert input is not None and input.endswith("\0")
        given = {self.password: "set", "": "" if argv[2] == "nullok" else "refused"}[input[:-1]]
        return Result(0 if given in self._opens else AUTH_ERR, "", "")


def reported(target: PamTarget, *, expire: bool = False) -> list[str]:
    hook, made = HookPassword(), context(password_expire=expire)
    later = hook.apply(made, target)
    later.finish()
    return list(later.report())


def test_the_password_travels_on_stdin_only(tmp_path: Path) -> None:
    target = PamTarget(tmp_path, ["set"])
    (line,) = reported(target, expire=True)
    password = line.removeprefix("root password: ")
    assert password == target.password
    assert target.ran == [
        (("chpasswd",), f"root:{password}\n"),
        (("chage", "--lastday", "0", "root"), None),
        (("unix_chkpwd", "root", "chkexpiry"), None),
        (("unix_chkpwd", "root", "nonull"), f"{password}\0"),
    ]


@pytest.mark.parametrize(
    ("expiry", "said"),
    [(12, "root password: "), (13, "account of root has expired"), (27, "account of root")],
)
def test_an_expired_account_is_no_password(tmp_path: Path, expiry: int, said: str) -> None:
    (line,) = reported(PamTarget(tmp_path, ["set"], expiry))
    assert said in line


@pytest.mark.parametrize(
    ("opens", "passwd", "shadow", "said"),
    [
        ([], "root:x:0:", "root:$y$other:0:", "set by a site hook"),
        ([], "root:!:0:", "root:$y$ours:0:", "locked"),
        ([], "root:x:0:", "root:!$y$ours:0:", "locked"),
        ([], "root:x:0:", "root:*:0:", "locked"),
        ([], "root:$6$old:0:", "root:$y$ours:0:", "set by a site hook"),
        ([], "toor:x:0:", "", "locked"),
        ([""], "root:x:0:", "root::0:", "is empty"),
        (["", "set"], "root:x:0:", "root:$y$ours:0:", "root password: "),
    ],
)
def test_a_password_that_does_not_open_the_guest_is_not_stated(
    tmp_path: Path, opens: list[str], passwd: str, shadow: str, said: str
) -> None:
    target = PamTarget(tmp_path, opens)
    target.write("etc/passwd", f"daemon:*:1:\n{passwd}\n")
    target.write("etc/shadow", f"daemon:*:1:\n{shadow}\n")
    (line,) = reported(target)
    assert said in line
    assert ("root password" in line) == ("set" in opens)
