"""The command line that runs QEMU's tools on a hostile image."""

import os
import resource
from pathlib import Path

import pytest

from converter.sources import sandbox
from converter.sources.sandbox import IMAGE, SOCKET, confined, outside

STATUS = os.stat_result((0o100644, 77, 0xFE00, 1, 1000, 1001, 0, 0, 0, 0))  # inode, device, owner


def limits(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _limit: (hard, hard))


def test_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, resource.RLIM_INFINITY)
    assert confined(["qemu-img", "check", IMAGE], Path("/a b.vmdk"), STATUS, 600) == [
        *("unshare", "--mount", "--net", "--ipc", "--uts", "--"),
        *("sh", "-c", sandbox._MAKE, "sandbox", "/a b.vmdk", "65024:77", "1000:1001", "/sys"),
        *("unshare", "--pid", "--fork", "--kill-child", "--"),
        *("prlimit", "--as=2147483648", "--cpu=600", "--core=0", "--fsize=0", "--nofile=256", "--"),
        *("setpriv", "--pdeathsig", "KILL", "--reuid", "1000", "--regid", "1001"),
        *("--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"),
        *("sh", "-c", sandbox._ENTER, "sandbox"),
        *("qemu-img", "check", "/image"),
    ]


def test_limits_are_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, 100)
    command = confined(["true"], Path("/image"), STATUS, 600)
    assert {"--as=100", "--cpu=100", "--core=0", "--fsize=0", "--nofile=100"} <= {*command}


def test_the_socket_is_reached_through_the_process_that_waits() -> None:
    assert outside(7) == f"/proc/7/root{SOCKET}"
