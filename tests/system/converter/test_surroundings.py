"""qcow2raw under nohup, in background jobs, and with tight resource limits."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.system.converter import source_support as sources
from tests.system.converter import support
from tests.system.converter.sshd import HOST, sshd
from tests.system.converter.support import MIB, REFUSED, SIZE, Run, in_shell, qcow2raw

LACKING = os.environ.get("CI") != "true" and not shutil.which("nbdfuse")


pytestmark = pytest.mark.usefixtures("no_program_stays")


@pytest.mark.skipif(LACKING, reason="needs nbdfuse")
@pytest.mark.parametrize(
    ("by", "number"),
    [
        (("nohup",), signal.SIGHUP),  # nohup(1)
        (("sh", "-c", 'trap "" INT; exec "$@"', "sh"), signal.SIGINT),  # as shells do for `&`
        (("sh", "-c", 'trap "" TERM; exec "$@"', "sh"), signal.SIGTERM),
    ],
    ids=["nohup", "background", "term"],
)
def test_a_signal_that_was_ignored_at_the_start_does_not_end_it(
    image: Path, slow: Path, tmp_path: Path, by: tuple[str, ...], number: signal.Signals
) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    run = Run(image, slow, journals=journals, by=by)
    support.wait_until(lambda: any(journals.glob("*.json")))
    for _ in range(5):
        run.signal(number)
    run.wait().done()
    support.require_same(slow, image.with_suffix(".raw"))


@pytest.mark.skipif(LACKING, reason="needs nbdfuse")
def test_a_burst_of_signals_says_one_thing(image: Path, slow: Path, tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    run = Run(image, slow, journals=journals)
    support.wait_until(lambda: any(journals.glob("*.json")))
    deadline = time.monotonic() + 60
    while not run.ended and time.monotonic() < deadline:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            run.signal(number)
    outcome = run.wait()
    assert outcome.exit_code in (128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGHUP)
    outcome.failed(outcome.exit_code, "stopped by SIG")
    assert "race" not in outcome.stderr and "Exception" not in outcome.stderr, outcome
    assert len(outcome.stderr.splitlines()) == 2, outcome
    qcow2raw("--resume", image, slow, journals=journals).done()
    support.require_same(slow, image.with_suffix(".raw"))


# Limits of the process (setrlimit(2))


@pytest.fixture(scope="module")
def vmdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What it holds is in image.raw."""
    image = tmp_path_factory.mktemp("vmdk") / "image.vmdk"
    image.with_suffix(".raw").write_bytes(support.prose(6 * MIB, 5))
    raw = image.with_suffix(".raw")
    support.output("qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, image)
    yield image
    shutil.rmtree(image.parent)


@pytest.mark.parametrize("limit", ["-v 150000", "-v 220000", "-v 300000", "-v 1000000", "-n 10"])
def test_a_copy_under_a_limit_is_whole_or_not_begun(image: Path, device: Path, limit: str) -> None:
    before = support.digest(device)
    outcome = in_shell(f'ulimit {limit}; qcow2raw "$1" "$2"', image, device)
    if outcome.exit_code == 0:
        support.require_same(device, image.with_suffix(".raw"))
        assert limit != "-v 150000"
    else:
        outcome.failed(outcome.exit_code)
        assert "bug" not in outcome.stderr and "ulimit -" in outcome.hint, outcome
        assert support.digest(device) == before
        assert limit != "-v 1000000"


@pytest.mark.parametrize("limit", ["-n 12", "-n 40", "-v 300000"])
def test_a_foreign_image_under_a_limit(vmdk: Path, device: Path, limit: str) -> None:
    before = support.digest(device)
    script = f'ulimit {limit}; qcow2raw --format vmdk "$1" "$2"'
    outcome = in_shell(script, vmdk, device)
    if limit == "-n 40":
        outcome.done()
        support.require_same(device, vmdk.with_suffix(".raw"))
    else:
        outcome.failed(outcome.exit_code)
        assert "bug" not in outcome.stderr, outcome
        assert support.digest(device) == before


def test_a_file_that_may_not_become_so_large(image: Path, tmp_path: Path) -> None:
    new, there = tmp_path / "new", tmp_path / "there"
    there.write_bytes(b"")
    for target in (new, there):
        script = 'ulimit -f 2048; qcow2raw --force-file "$1" "$2"'
        outcome = in_shell(script, image, target)
        outcome.failed(REFUSED, str(target), f"{SIZE} bytes are needed")
        assert "ulimit -f" in outcome.hint
    assert not new.exists() and there.stat().st_size == 0


# Names


@pytest.mark.parametrize(
    ("words", "role", "why"),
    [
        (("--format", "vmdk", "fifo", "target"), "source fifo", "a named pipe"),
        (("--force-file", "image", "nodir/"), "target nodir/", "no such directory"),
        (("--force-file", "image", ""), "target ''", "an empty name"),
        (("--force-file", "image", "n" * 300), "target nnn", "File name too long"),
        (("--check", "image", "loop"), "target loop", "symbolic links"),
        (("--info", "dangling"), "source dangling", "a symbolic link to nowhere"),
    ],
    ids=["fifo", "new-directory", "empty", "long", "loop", "dangling"],
)
def test_names_that_are_no_disks(
    image: Path, tmp_path: Path, words: tuple[str, ...], role: str, why: str
) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    os.mkfifo(odd / "fifo")
    (odd / "loop").symlink_to("loop")
    (odd / "dangling").symlink_to("nowhere")
    (odd / "image").symlink_to(image)
    listed = sorted(odd.iterdir())
    in_shell('qcow2raw "$@"', *words, cwd=odd).failed(REFUSED, role, why)
    assert sorted(odd.iterdir()) == listed


STRANGE = b"b\xfcro \x1b[2J'\"$(x)\n"  # no UTF-8, and what a terminal and a shell would take
SHOWN = "b\\xfcro \\x1b[2J'\"$(x)\\n"


def test_strange_names_of_foreign_images(vmdk: Path, tmp_path: Path) -> None:
    """They are handed to other programs, and shown in lines of all kinds."""
    where = tmp_path / "names"
    where.mkdir()
    os.link(vmdk, where / os.fsdecode(STRANGE))
    script = 'qcow2raw --format vmdk --force-file --digest xxh3 "$1" "$1.out"'
    outcome = in_shell(script, STRANGE, cwd=where).done()
    assert SHOWN in outcome.stdout and f"{SHOWN}.out: " in outcome.stderr
    support.require_same(where / os.fsdecode(STRANGE + b".out"), vmdk.with_suffix(".raw"))
    script = 'qcow2raw --format vmdk --check "$1" "$1.out"'
    outcome = in_shell(script, STRANGE, cwd=where).done()
    assert SHOWN in outcome.stderr
    script = 'qcow2raw --format vmdk --force-file "$1" "$1.out"'
    outcome = in_shell(script, STRANGE, cwd=where).failed(REFUSED, f"{SHOWN}.out: it holds")
    for script in ('--info --format vmdk "$1"', '--info --json --format vmdk "$1"'):
        outcome = in_shell(f"qcow2raw {script}", STRANGE, cwd=where).done()
    assert os.fsencode(json.loads(outcome.stdout)["images"][0]["name"]) == STRANGE


def test_strange_names_over_ssh(image: Path, tmp_path: Path) -> None:
    os.link(image, tmp_path / os.fsdecode(STRANGE))
    typed = os.fsencode(tmp_path) + b"/" + STRANGE
    for path in (typed.decode("utf-8", "surrogateescape"), quote(typed)):
        with sshd(tmp_path) as far:
            told = sources.read(f"ssh://{HOST}{path}", "", tmp_path / "out", far.argv())
        assert "error" not in told, told
        assert sources.same(tmp_path / "out", image.with_suffix(".raw"))


def test_a_terminal_that_has_not_all_characters(image: Path, tmp_path: Path) -> None:
    """As with LC_ALL=de_DE.ISO-8859-1, whose stdout takes no other characters."""
    named = tmp_path / "\u65e5\u672c-\u00fc.qcow2"
    os.link(image, named)
    locale = tmp_path / "locale"
    locale.mkdir()
    support.output("localedef", "-i", "de_DE", "-f", "ISO-8859-1", locale / "de_DE.ISO-8859-1")
    script = f'LOCPATH={locale} LC_ALL=de_DE.ISO-8859-1 qcow2raw --info "$1"'
    outcome = in_shell(script, named).done()
    assert "-" in outcome.stdout and ": qcow2, 12 MiB" in outcome.stdout
