"""qcow2raw as users call it: its options one by one, what it says, and odd surroundings."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.system.converter import support
from tests.system.converter.nbd_device import served
from tests.system.converter.support import (
    DIFFERS,
    DONE,
    FAILED,
    JOURNALS,
    MIB,
    PROGRAM,
    REFUSED,
    SIZE,
    TARGET,
    TOP,
    Outcome,
    Run,
    Write,
    in_shell,
    qcow2raw,
)

SWAP_UUID = "1c4f0e2a-7d5b-4c47-9f3a-0b1a2c3d4e5f"
LACKING = not shutil.which("nbdfuse")

pytestmark = pytest.mark.usefixtures("no_program_stays")


def written(device: Path) -> int:
    """Bytes that were written to a loop device; Documentation/block/stat.rst of Linux."""
    return int(Path(f"/sys/block/{device.name}/stat").read_text().split()[6]) * 512


# What is copied


@pytest.mark.quick
def test_a_dirty_larger_target_holds_the_image_and_zeros(
    image: Path, reference: Path, device: Path
) -> None:
    outcome = qcow2raw(image, device).done()
    assert outcome.stdout == ""
    assert re.search(
        rf"^{device}: 5\.\d MiB of data copied in .*/s; .* of zeros", outcome.stderr, re.M
    )
    support.require_same(device, reference)


@pytest.mark.quick
@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_compressed_clusters(compression: str, device: Path, tmp_path: Path) -> None:
    write = Write(3 * MIB, support.prose(2 * MIB, 2), compressed=True)
    options = f"compression_type={compression}"
    image = support.qcow2(tmp_path / "image.qcow2", SIZE, write, options=options)
    qcow2raw(image, device).done()
    support.require_same(device, support.raw_of(image, tmp_path / "raw"))


@pytest.mark.trixie
@pytest.mark.parametrize("size", [SIZE, SIZE + 512, SIZE + 4096 + 1536], ids=str)
def test_targets_that_end_anywhere(image: Path, reference: Path, tmp_path: Path, size: int) -> None:
    with support.target(tmp_path / "end", size) as device:
        qcow2raw("--verify", image, device).done()
        support.require_same(device, reference)
        qcow2raw("--check", image, device).done()


@pytest.mark.quick
@pytest.mark.parametrize("size", [1, 511, 3 * MIB + 777, 3 * MIB + 4096 + 100], ids=str)
def test_raw_files_of_any_size(device: Path, tmp_path: Path, size: int) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(support.noise(size, 5))
    qcow2raw("--format", "raw", "--verify", raw, device).done()
    support.require_same(device, raw)


@pytest.mark.quick
def test_a_raw_file_with_holes(device: Path, tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(SIZE)
        for place in (0, 3 * MIB, 7 * MIB + 8192):
            os.pwrite(file.fileno(), support.noise(100_000, place), place)
    outcome = qcow2raw("--format", "raw", "--progress", "json", raw, device).done()
    assert outcome.messages[-1]["extents"]["zero"] > TARGET - MIB
    support.require_same(device, raw)


def test_a_block_device_is_a_raw_disk(image: Path, reference: Path, device: Path) -> None:
    with support.loop(reference) as source:
        outcome = qcow2raw("--digest", "sha256", source, device).done()
        assert outcome.stdout == f"{support.digest(reference)}  sha256:{source}\n"
    support.require_same(device, reference)
    with support.loop(image) as source:
        qcow2raw(source, device).failed(REFUSED, "it is a qcow2 image, not raw")


@pytest.mark.quick
@pytest.mark.parametrize("algorithm", ["sha256", "blake2b", "xxh3"])
def test_digests_are_those_of_other_programs(
    image: Path, reference: Path, device: Path, algorithm: str
) -> None:
    outcome = qcow2raw("--digest", algorithm, image, device).done()
    digest, name = outcome.stdout.split()
    assert name == f"{algorithm}:{image}"
    if algorithm == "xxh3":
        import xxhash

        assert digest == xxhash.xxh3_128_hexdigest(reference.read_bytes())
    else:
        tool = {"sha256": "sha256sum", "blake2b": "b2sum"}[algorithm]
        assert digest == support.output(tool, reference).split()[0]


def test_a_new_file_a_larger_and_a_smaller_one(
    image: Path, reference: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    qcow2raw(image, file).failed(REFUSED, "does not exist")
    qcow2raw("--force-file", image, file).done()
    support.require_same(file, reference)
    assert file.stat().st_size == SIZE
    assert file.stat().st_mode & 0o777 == 0o600
    qcow2raw(image, file).failed(REFUSED, "not a block device")
    qcow2raw("--force-file", image, file).failed(REFUSED, "holds")
    support.dirty(file, TARGET)
    qcow2raw("--force-file", "--force", "--verify", image, file).done()
    assert file.stat().st_size == TARGET
    support.require_same(file, reference)
    support.dirty(file, SIZE - MIB)
    qcow2raw("--force-file", "--force", image, file).done()
    assert file.stat().st_size == SIZE
    support.require_same(file, reference)
    file.unlink()


def test_very_many_extents_take_little_memory(tmp_path: Path) -> None:
    """Every other sector is data: 65536 clusters that do not continue each other."""
    raw = tmp_path / "disk.raw"
    sector, hole = support.noise(512, 1), bytes(512)
    raw.write_bytes((sector + hole) * 32768)
    image = tmp_path / "many.qcow2"
    support.output(
        *("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-S", "512"),
        *("-o", "cluster_size=512", raw, image),
    )
    with support.target(tmp_path / "target", 40 * MIB) as device:
        # A program's figure begins with what its parent had at the fork: the parent is small.
        measured = (
            "import resource, subprocess, sys;"
            "code = subprocess.run(sys.argv[1:]).returncode;"
            "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        enter = f'mount -t tmpfs copies {JOURNALS}; exec "$@"'
        code, peak = support.output(
            *("unshare", "-m", "sh", "-ec", enter, "sh"),
            *("/usr/bin/python3", "-IS", "-c", measured, PROGRAM, "-q", image, device),
        ).split()
        assert int(code) == DONE
        assert int(peak) < 128 * 1024, f"{peak} KiB"
        support.require_same(device, raw)


# --verify, --check, --update, --dry-run


# For nbdkit-sh-plugin(3), which runs it for each request. Once `lie` is there, a bit falls over.
LIAR = """#!/usr/bin/python3 -IS
import os, sys
method, numbers = sys.argv[1], [int(word) for word in sys.argv[3:5] if word.isdigit()]
disk = os.open({file!r}, os.O_RDWR)
if method == "get_size":
    print(os.fstat(disk).st_size)
elif method == "pread":
    count, offset = numbers
    found = bytearray(os.pread(disk, count, offset))
    if os.path.exists({lie!r}) and offset <= {place} < offset + count:
        found[{place} - offset] ^= 1
    sys.stdout.buffer.write(found)
elif method == "pwrite":
    os.pwrite(disk, sys.stdin.buffer.read(), numbers[1])
elif method == "flush":
    os.fsync(disk)
elif method not in ("open", "can_write", "can_flush"):
    sys.exit(2)
"""


@pytest.mark.quick
@pytest.mark.skipif(LACKING, reason="needs nbdfuse")
@pytest.mark.parametrize(
    ("place", "words"),
    [(2 * MIB - 1, "in the GiB from byte 0 on"), (14 * MIB + 5, "between the bytes")],
)
def test_verify_finds_out_a_disk_that_lies(
    image: Path, tmp_path: Path, place: int, words: str
) -> None:
    file, lie, liar = support.dirty(tmp_path / "lying", TARGET), tmp_path / "lie", tmp_path / "liar"
    liar.write_text(LIAR.format(file=str(file), lie=str(lie), place=place))
    liar.chmod(0o700)
    with served(tmp_path, "sh", liar) as device:
        qcow2raw("--verify", image, device.path).done()
        lie.touch()
        outcome = qcow2raw("--force", "--verify", image, device.path)
        outcome.failed(FAILED, "verification", words)
        assert "--resume" not in outcome.hint


@pytest.mark.quick
def test_check_names_the_first_byte_and_writes_nothing(image: Path, device: Path) -> None:
    qcow2raw(image, device).done()
    before = written(device)
    outcome = qcow2raw("--check", image, device).done()
    assert "holds what a copy" in outcome.stderr
    assert written(device) == before
    for place in (15 * MIB + 1, 9 * MIB + 77, 4096):
        with device.open("r+b") as file:
            [old] = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([old ^ 1]), place)
            os.fsync(file.fileno())
        before = support.digest(device)
        outcome = qcow2raw("--check", image, device)
        outcome.failed(DIFFERS, f"different from byte {place} on")
        assert support.digest(device) == before
    outcome = qcow2raw("--check", "--progress", "json", image, device)
    assert outcome.exit_code == DIFFERS
    result = outcome.messages[-1]
    assert (result["first_difference"], result["different_bytes"]) == (4096, 3 * 4096)


@pytest.mark.quick
def test_an_update_writes_what_differs(image: Path, reference: Path, device: Path) -> None:
    qcow2raw(image, device).done()
    before = written(device)
    qcow2raw("--update", image, device).done()
    assert written(device) == before
    with device.open("r+b") as file:
        for place in (100, 11 * MIB, 15 * MIB + 5):
            os.pwrite(file.fileno(), b"changed", place)
        os.fsync(file.fileno())
    before = written(device)
    qcow2raw("--update", "--verify", image, device).done()
    assert written(device) - before == 3 * 65536
    support.require_same(device, reference)


@pytest.mark.quick
def test_a_dry_run_writes_nothing(image: Path, device: Path, tmp_path: Path) -> None:
    before = support.digest(device)
    outcome = qcow2raw("--dry-run", "--digest", "sha256", "--verify", image, device).done()
    assert "would be copied" in outcome.stderr
    assert outcome.stdout == ""
    assert support.digest(device) == before
    new = tmp_path / "new"
    qcow2raw("--dry-run", "--force-file", image, new).done()
    assert not new.exists()


# Swap and GPT


@pytest.fixture
def swap(tmp_path: Path) -> Path:
    """A disk that is all swap, and was in use."""
    raw = tmp_path / "swap.raw"
    raw.write_bytes(support.noise(4 * MIB, 7))
    support.output("mkswap", "-q", "-U", SWAP_UUID, "-L", "Auslagern", raw)
    image = tmp_path / "swap.qcow2"
    support.output("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
    return image


def blkid(device: Path) -> str:
    return support.output("blkid", "-p", "-o", "export", device)


@pytest.mark.quick
def test_swap_is_made_anew_or_copied(swap: Path, device: Path) -> None:
    outcome = qcow2raw(swap, device).done()
    assert SWAP_UUID in outcome.stderr
    assert f"UUID={SWAP_UUID}" in blkid(device) and "LABEL=Auslagern" in blkid(device)
    with device.open("rb") as file:
        file.seek(4096)
        assert not any(file.read())
    qcow2raw("--force", "--swap", "copy", swap, device).done()
    support.require_same(device, swap.with_suffix(".raw"))


def test_swap_only_writes_one_page(swap: Path, image: Path, device: Path) -> None:
    before = written(device)
    qcow2raw("--swap-only", swap, device).done()
    assert written(device) - before == 4096
    found = blkid(device)
    assert f"UUID={SWAP_UUID}" in found and "LABEL=Auslagern" in found
    qcow2raw("--swap-only", swap, device).failed(REFUSED, "swap")
    qcow2raw("--swap-only", "--force", image, device).failed(REFUSED, "no swap areas")


def test_a_machine_that_hibernates_is_refused(swap: Path, device: Path) -> None:
    raw = swap.with_suffix(".raw")
    with raw.open("r+b") as file:
        os.pwrite(file.fileno(), b"S1SUSPEND\0", 4086)
    before = support.digest(device)
    for options in ((), ("--swap-only",), ("--check",)):
        qcow2raw(*options, "--format", "raw", raw, device).failed(REFUSED, "S1SUSPEND")
    assert support.digest(device) == before
    qcow2raw("--format", "raw", "--swap", "copy", raw, device).done()
    support.require_same(device, raw)


@pytest.fixture
def gpt(tmp_path: Path) -> Path:
    raw = tmp_path / "gpt.raw"
    raw.write_bytes(bytes(4 * MIB))
    script = "label: gpt\nstart=2048,size=2048,type=L\n"
    subprocess.run(["sfdisk", "-q", raw], input=script, text=True, check=True)
    return raw


@pytest.mark.quick
def test_a_gpt_goes_to_the_end_unless_it_shall_not(gpt: Path, device: Path) -> None:
    outcome = qcow2raw("--format", "raw", gpt, device).done()
    assert "GPT" in outcome.stderr
    assert "No problems found" in support.output("sgdisk", "--verify", device)
    qcow2raw("--format", "raw", "--check", gpt, device).done()
    qcow2raw("--format", "raw", "--force", "--no-fix-gpt", gpt, device).done()
    support.require_same(device, gpt)


# Progress


RESULT = {
    "type": str,
    "source": str,
    "format": str,
    "target": str,
    "size": int,
    "target_size": int,
    "extents": dict,
    "notes": list,
    "zeroing": dict,
    "digest": str,
    "verified": bool,
    "resumed_at": int,
    "seconds": dict,
}


@pytest.mark.quick
def test_progress_for_programs(image: Path, reference: Path, device: Path) -> None:
    words = ("--progress", "json", "--digest", "sha256", "--verify", image, device)
    messages = qcow2raw(*words).done().messages
    *told, result = messages
    assert {key: type(value) for key, value in result.items()} == RESULT
    assert result["digest"] == support.digest(reference)
    assert (result["size"], result["target_size"]) == (SIZE, TARGET)
    assert set(result["extents"]) == {"data", "compressed", "zero", "literal"}
    assert sum(result["extents"].values()) == TARGET
    assert set(result["zeroing"]) == {"strategy", "skipped", "zeroed", "written"}
    assert set(result["seconds"]) == {"check", "copy", "flush", "verify"}
    assert {message["phase"] for message in told} == {"copy", "verify"}
    for message in told:
        assert set(message) == {"type", "phase", "bytes_done", "bytes_total", "rate"}
        assert 0 <= message["bytes_done"] <= message["bytes_total"]
    for phase in ("copy", "verify"):
        last = [message for message in told if message["phase"] == phase][-1]
        assert last["bytes_done"] == last["bytes_total"]


def test_progress_to_another_descriptor(image: Path, device: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = 'qcow2raw --progress json:3 --digest xxh3 "$1" "$2" 3>"$3"'
    outcome = in_shell(script, image, device, told).done()
    assert re.fullmatch(rf"[0-9a-f]{{32}}  xxh3:{image}\n", outcome.stdout)
    assert json.loads(told.read_text().splitlines()[-1])["type"] == "result"
    before = support.digest(device)
    qcow2raw("--progress", "json:7", "--force", image, device).failed(REFUSED, "json:7")
    assert support.digest(device) == before


def test_a_failure_for_programs(device: Path, tmp_path: Path) -> None:
    outcome = qcow2raw("--progress", "json", tmp_path / "none", device)
    outcome.failed(REFUSED, "none")
    [message] = outcome.messages
    assert message == {
        "type": "error",
        "error": outcome.error.removeprefix("error: "),
        "hint": outcome.hint.removeprefix("hint: "),
        "exit_code": REFUSED,
    }


@pytest.mark.parametrize("words", [("-q",), ("-q", "--progress", "none")], ids=str)
def test_quiet_says_nothing(image: Path, device: Path, words: tuple[str, ...]) -> None:
    assert qcow2raw(*words, image, device) == Outcome(DONE, "", "")


def test_no_progress_and_lines(image: Path, device: Path) -> None:
    for kind in ("none", "lines", "auto"):
        outcome = qcow2raw("--update", "--progress", kind, image, device).done()
        assert len(outcome.stderr.splitlines()) == 1, outcome


# Signals, and sources that change


@pytest.mark.quick
@pytest.mark.skipif(LACKING, reason="needs nbdfuse")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_what_can_go_on(
    image: Path, reference: Path, slow: Path, tmp_path: Path, number: signal.Signals
) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    before = written(slow)  # by whatever had the loop device earlier
    run = Run(image, slow, journals=journals)
    # The journal is there before the first byte is, and goes again without one.
    support.wait_until(lambda: written(slow) > before)
    run.signal(number)
    outcome = run.wait().failed(128 + number, f"stopped by {number.name}")
    assert "--resume" in outcome.hint
    outcome = qcow2raw("--resume", "--digest", "sha256", image, slow, journals=journals).done()
    assert outcome.stdout.split()[0] == support.digest(reference)
    support.require_same(slow, reference)
    assert not list(journals.iterdir())


@pytest.mark.skipif(LACKING, reason="needs nbdfuse")
def test_a_source_that_changes_meanwhile(image: Path, slow: Path, tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    run = Run(image, slow, journals=journals)
    support.wait_until(lambda: any(journals.glob("*.json")))
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), b"!", support.place_of(image, MIB))
    outcome = run.wait().failed(FAILED, "changed while it was copied")
    assert "--resume" not in outcome.hint
    assert not list(journals.iterdir())


def test_a_source_that_a_qemu_writes_to(image: Path, device: Path, tmp_path: Path) -> None:
    before = support.digest(device)
    socket = tmp_path / "socket"
    words = ("-f", "qcow2", "-k", socket, "--persistent", image)
    with subprocess.Popen(["qemu-nbd", *words]) as server:
        try:
            support.wait_until(socket.exists)
            qcow2raw(image, device).failed(REFUSED, "running QEMU")
        finally:
            server.kill()  # it may miss a SIGTERM that comes early
    assert support.digest(device) == before
    qcow2raw(image, device).done()


# Odd surroundings


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(image: Path, reference: Path, device: Path, closed: str) -> None:
    outcome = in_shell(f'qcow2raw "$1" "$2" {closed}', image, device)
    assert outcome.exit_code == DONE, outcome
    support.require_same(device, reference)
    before = support.digest(device)
    outcome = in_shell(f'qcow2raw --swap copy "$1" "$2" {closed}', device, device)
    assert outcome.exit_code == REFUSED, outcome
    assert support.digest(device) == before


@pytest.mark.trixie
def test_results_that_nobody_takes(image: Path, reference: Path, device: Path) -> None:
    for where, words in ((">/dev/full", "No space left"), (">&-", "Bad file descriptor")):
        script = f'qcow2raw --update --digest xxh3 "$1" "$2" {where}'
        outcome = in_shell(script, image, device).failed(FAILED, "stdout", words)
        assert outcome.hint == f"hint: {device} is complete all the same"
    script = 'qcow2raw --update --progress json "$1" "$2" >/dev/full'
    # It has written nothing yet.
    in_shell(script, image, device).failed(REFUSED, "--progress json: No space left")
    assert in_shell('qcow2raw --update "$1" "$2" >/dev/full', image, device).done()
    support.require_same(device, reference)


def test_a_full_stderr(image: Path, reference: Path, device: Path) -> None:
    outcome = in_shell('qcow2raw "$1" "$2" 2>/dev/full', image, device)
    assert outcome.exit_code == DONE, outcome
    support.require_same(device, reference)
    outcome = in_shell('qcow2raw "$1" "$2" 2>/dev/full', image, image)
    assert outcome.exit_code == REFUSED, outcome


@pytest.mark.parametrize(
    "setting",
    ["env -u HOME", "env -i", "env TMPDIR=/nonexistent", "env LC_ALL=C", "env LANG=xx_YY.EUC-JP"],
)
def test_environments(image: Path, reference: Path, device: Path, setting: str) -> None:
    in_shell(f'umask 077; {setting} "{PROGRAM}" "$1" "$2"', image, device).done()
    support.require_same(device, reference)


def test_nowhere_to_keep_the_journal(image: Path, device: Path) -> None:
    before = support.digest(device)
    script = f'mount -o remount,ro "{JOURNALS}"; qcow2raw "$1" "$2"'
    in_shell(script, image, device).failed(REFUSED, str(JOURNALS), "Read-only file system")
    assert support.digest(device) == before


def test_a_user_who_is_not_root(image: Path, device: Path) -> None:
    before = support.digest(device)
    # The checkout may stand where only root gets to.
    script = (
        f'mount --bind "{TOP}" /mnt; '
        f'setpriv --reuid=65534 --clear-groups "/mnt/{PROGRAM.relative_to(TOP)}" "$1" "$2"'
    )
    in_shell(script, image, device).failed(REFUSED, "Permission denied")
    assert support.digest(device) == before


@pytest.mark.parametrize(
    "name", [b"with space", b"new\nline", b"-dash", b"bad\xff\xfebyte", b"\xc3\xa4'\"$(x)"]
)
def test_names(image: Path, reference: Path, device: Path, tmp_path: Path, name: bytes) -> None:
    where = tmp_path / "names"
    where.mkdir()
    os.link(image, where / os.fsdecode(name))
    for language in ("C.UTF-8", "C"):
        script = f'LC_ALL={language} "{PROGRAM}" --update --digest sha256 -- "$1" "$2"'
        outcome = in_shell(script, name, device, cwd=where).done()
        [line] = outcome.stdout.splitlines()
        assert line.split()[0] == support.digest(reference)
    support.require_same(device, reference)
    in_shell('qcow2raw -- "$1.none" "$2"', name, device, cwd=where).failed(REFUSED, "No such file")
    in_shell('qcow2raw --force-file -- "$1" "$1.out"', name, cwd=where).done()
    support.require_same(where / os.fsdecode(name + b".out"), reference)
    again = in_shell('qcow2raw --force-file -- "$1" "$1.out"', name, cwd=where)
    again.failed(REFUSED, "it holds ")


@pytest.mark.quick
def test_what_is_no_image_and_what_is_no_target(image: Path, device: Path, tmp_path: Path) -> None:
    before = support.digest(device)
    empty = tmp_path / "empty"
    empty.touch()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for source, words in (
        (tmp_path, "a directory, neither"),
        (fifo, "neither"),
        (Path("/dev/zero"), "neither"),
        (empty, "it begins with nothing"),
        (tmp_path / "none", "No such file"),
        (device, "the source itself"),
    ):
        qcow2raw("--force", source, device).failed(REFUSED, str(source), words)
    for target, words in (
        (tmp_path, "neither"),
        (fifo, "neither"),
        (Path("/dev/null"), "neither"),
        (tmp_path / "no/file", "cannot be created"),
        (Path("/dev/none"), "does not exist"),
        (image, "the source itself"),
    ):
        words_of = ("--force", "--force-file")
        qcow2raw(*words_of, image, target).failed(REFUSED, str(target), words)
    assert support.digest(device) == before
    qcow2raw("--format", "raw", image, device).failed(REFUSED, "qcow2 image, not raw")
    qcow2raw("--format", "raw", empty, device).done()
    support.require_same(device, empty)
