"""The content of the OS log, also with unusual names and streams."""

import re
import shutil
import signal
from pathlib import Path

import pytest

from installer.guest_tree import GuestTree, chroot
from node.run import Result
from tests.system.installer import support
from tests.system.installer.support import MIB, Node, output

SEARCHED = re.compile("root password|configured eth0 with|SHA256")
# Numbers of linux/capability.h.
SYS_MODULE, SYS_RAWIO, SYS_ADMIN, SYS_BOOT, SYS_TIME = 16, 17, 21, 22, 25


@pytest.fixture
def tiny(node: Node) -> Node:
    node.settings |= support.TINY
    node.disk(support.TINY_DISK)
    return node


def test_a_disk_cannot_state_facts(tiny: Node) -> None:
    names = (
        "root password: evil",
        "x\nroot password: evil",
        "SHA256:evil",
        "a\rconfigured eth0 with 192.0.2.1 evil",
    )
    for name in names:
        tiny.disk(64 * MIB, name)
    outcome = tiny.create().succeeded()
    assert not [line for line in outcome.lines if SEARCHED.search(line)]
    assert len([line for line in outcome.lines if "evil: left untouched" in line]) == len(names)


def test_a_parameter_cannot_state_facts(tiny: Node) -> None:
    tiny.parameters["filesystem"] = "x\nroot password: evil\x1b[2J" + "y" * 10**5
    outcome = tiny.create().failed("filesystem=x")
    assert not [line for line in outcome.lines if SEARCHED.search(line)]
    assert "\x1b" not in outcome.log and len(outcome.log) < 10_000


def test_a_full_log_is_an_error_and_no_tracebacks(
    tiny: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = support._ENTER.replace("exec ./create", "exec ./create >/dev/full")
    monkeypatch.setattr(support, "_ENTER", enter)
    outcome = tiny.create().failed("OS log: cannot be written: No space left on device")
    assert len(outcome.lines) < 5
    support.nothing_is_held(tiny)


def test_a_closed_stdout(tiny: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    enter = support._ENTER.replace("exec ./create", "exec ./create >&-")
    monkeypatch.setattr(support, "_ENTER", enter)
    assert "Traceback" not in tiny.create().log
    support.nothing_is_held(tiny)


def test_a_create_that_was_stopped_and_told_to_end(tiny: Node) -> None:
    tiny.hook("slow", "echo begun; sleep 60")
    running = tiny.start()
    running.wait_for("begun")
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT):
        running.signal(number, group=True)
    outcome = running.wait().failed("stopped by SIGTERM", exit_code=143)
    assert outcome.seconds < 40
    support.nothing_is_held(tiny)


@pytest.fixture
def little(tmp_path: Path) -> Path:
    """A tree with a shell in it, and no more."""
    root = tmp_path / "guest"
    for program in ("/bin/sh", "/bin/cat"):
        for path in (program, *re.findall(r"(/\S+) \(0x", output("ldd", program))):
            place = root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)
    return root


def test_programs_in_the_guest_leave_the_nodes_kernel_alone(little: Path) -> None:
    panic = Path("/proc/sys/kernel/panic").read_text().strip()

    def tried() -> tuple[Result, str]:
        target = GuestTree(little)
        with chroot(target, ()):
            argv = ["sh", "-c", f"echo {panic} >/proc/sys/kernel/panic"]
            written = target.run(argv, check=False)
            return written, target.run(["cat", "/proc/self/status"]).stdout

    written, status = support.apart(tried)
    assert written.exit_code != 0 and "Read-only file system" in written.stderr
    for kind in ("CapBnd", "CapEff"):
        found = int(re.findall(rf"{kind}:\s*(\S+)", status)[0], 16)
        assert not any(
            found >> number & 1 for number in (SYS_MODULE, SYS_RAWIO, SYS_BOOT, SYS_TIME)
        )
        assert found >> SYS_ADMIN & 1  # packages mount
    assert not list((little / "proc").iterdir())
