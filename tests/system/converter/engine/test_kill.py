"""Copies that are killed or stopped, or run at the same time: --resume completes them."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.converter import support
from tests.system.converter.nbd_device import served
from tests.system.converter.support import MIB, REFUSED, Outcome, Run, Write, qcow2raw

pytestmark = pytest.mark.skipif(not shutil.which("nbdfuse"), reason="needs nbdfuse")

SIZE = 300 * MIB
TARGET = 320 * MIB
SWAP_START, SWAP_SIZE = 200 * MIB, 32 * MIB
SWAP_UUID = "5a1c9c7e-8a51-4d8e-8a0f-6f0ad9f9d0b4"
# The same moments in each run, as parts of a copy's length, so that a failure can be seen again.
MOMENTS = random.Random(3)
SLOW = [round(MOMENTS.uniform(0, 0.95), 3) for _ in range(10)]
FAST = [round(MOMENTS.random(), 3) for _ in range(10)]
# Bits in a second, after a burst of 2 seconds: the journal advances several times in a copy.
RATE = 150_000_000
DATA = 187 * MIB


@dataclass(frozen=True)
class Case:
    """An image, and the raw disk that a copy of it makes: with the swap area made anew."""

    image: Path
    reference: Path


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    directory = tmp_path_factory.mktemp("kill")
    table = directory / "table"
    with table.open("wb") as file:
        file.truncate(SIZE)
    script = (
        f"label: dos\nlabel-id: 0x6b697401\nstart={MIB // 512},size={180 * MIB // 512},type=83\n"
        f"start={SWAP_START // 512},size={SWAP_SIZE // 512},type=82\n"
    )
    subprocess.run(["sfdisk", "-q", table], input=script, text=True, check=True)
    area = directory / "area"
    area.write_bytes(support.noise(SWAP_SIZE, 1))
    support.output("mkswap", "-q", "-U", SWAP_UUID, "-L", "old-swap", area)
    image = support.qcow2(
        directory / "image.qcow2",
        SIZE,
        Write(0, table.read_bytes()[:MIB]),
        Write(MIB, support.noise(60 * MIB, 2)),
        *(Write((70 + 4 * i) * MIB, support.prose(3 * MIB, 3 + i), True) for i in range(16)),
        Write(140 * MIB, 20 * MIB),
        Write(161 * MIB, support.noise(38 * MIB, 21)),
        Write(SWAP_START, area.read_bytes()),
        Write(250 * MIB, support.noise(40 * MIB, 20)),
    )
    reference = support.raw_of(image, directory / "reference.raw")
    with reference.open("r+b") as file:
        file.seek(SWAP_START)
        file.write(bytes(SWAP_SIZE))
    with support.loop(reference, SWAP_START, SWAP_SIZE, read_only=False) as device:
        support.output("mkswap", "-q", "-U", SWAP_UUID, "-L", "old-swap", device)
    yield Case(image, reference)
    shutil.rmtree(directory)


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "journals"
    directory.mkdir()
    yield directory
    support.require_nothing_left(tmp_path)


def set_rate(tmp_path: Path, rate: str) -> None:
    """Makes the disk behind nbdkit's rate filter fast or slow, at once for the next request."""
    part = tmp_path / "rate.part"
    part.write_text(rate)
    part.rename(tmp_path / "rate")


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Path]:
    """A dirty disk that takes RATE bits in a second."""
    set_rate(tmp_path, str(RATE))
    file = support.dirty(tmp_path / "slow-disk", TARGET)
    parameters = (f"rate-file={tmp_path / 'rate'}", "burstiness=2")
    with served(tmp_path, "--filter=rate", "file", file, *parameters) as device:
        yield device.path
    file.unlink()


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A dirty disk, as fast as the machine."""
    with support.target(tmp_path / "fast-disk", TARGET) as device:
        yield device


@pytest.fixture(scope="module")
def seconds(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, float]]:
    """How long a whole copy to either disk takes here."""
    directory = tmp_path_factory.mktemp("length")
    with support.target(directory / "disk", TARGET) as device:
        started = time.monotonic()
        qcow2raw(case.image, device).done()
        fast = time.monotonic() - started
        support.require_same(device, case.reference)
    yield {"fast": fast, "slow": fast + DATA * 8 / RATE - 2}
    shutil.rmtree(directory)


def killed(run: Run, after: float) -> Outcome:
    time.sleep(after)
    run.signal(signal.SIGKILL, group=True)
    return run.wait()


def require_resumed(case: Case, target: Path, journals: Path, *options: str) -> None:
    qcow2raw("--resume", *options, case.image, target, journals=journals).done()
    support.require_same(target, case.reference)
    assert not list(journals.iterdir())


@pytest.mark.parametrize("moment", SLOW)
def test_killed_on_a_slow_disk(
    moment: float, case: Case, slow: Path, tmp_path: Path, journals: Path, seconds: dict[str, float]
) -> None:
    outcome = killed(Run(case.image, slow, journals=journals), moment * seconds["slow"])
    assert outcome.exit_code == -signal.SIGKILL, outcome
    support.require_nothing_left(tmp_path)
    set_rate(tmp_path, "100G")
    require_resumed(case, slow, journals)


@pytest.mark.parametrize("moment", FAST)
def test_killed_on_a_fast_disk(
    moment: float, case: Case, fast: Path, tmp_path: Path, journals: Path, seconds: dict[str, float]
) -> None:
    before = support.digest(fast)
    outcome = killed(Run(case.image, fast, journals=journals), moment * seconds["fast"])
    assert outcome.exit_code in (-signal.SIGKILL, 0), outcome
    support.require_nothing_left(tmp_path)
    if list(journals.iterdir()) or support.digest(fast) == before:
        require_resumed(case, fast, journals)
    else:  # all was there already, and at most the end of the program was cut off
        support.require_same(fast, case.reference)


def test_killed_again_and_again(case: Case, slow: Path, tmp_path: Path, journals: Path) -> None:
    """Each time a bit further."""
    set_rate(tmp_path, "60M")
    before = 0
    for _ in range(3):
        before = killed_beyond(
            before, Run("--resume", case.image, slow, journals=journals), journals
        )
    set_rate(tmp_path, "100G")
    outcome = qcow2raw("--resume", "--progress=json", case.image, slow, journals=journals).done()
    assert outcome.messages[-1]["resumed_at"] == before
    support.require_same(slow, case.reference)


def killed_beyond(place: int, run: Run, journals: Path) -> int:
    """Kills a copy when its journal is beyond a place; returns where it is then."""
    support.wait_until(lambda: run.ended or checkpoint(journals) > place)
    run.signal(signal.SIGKILL, group=True)
    assert run.wait().exit_code == -signal.SIGKILL
    return checkpoint(journals)


def checkpoint(journals: Path) -> int:
    """Up to where the one journal says that the target is right; 0 if there is none."""
    done = [json.loads(journal.read_bytes())["done"] for journal in journals.glob("*.json")]
    return max(done, default=0)


@pytest.mark.parametrize(
    ("number", "group"),
    # A terminal sends its signals to the whole group.
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGHUP, True)],
)
def test_stopped(
    number: signal.Signals, group: bool, case: Case, slow: Path, tmp_path: Path, journals: Path
) -> None:
    run = Run(case.image, slow, journals=journals)
    support.wait_until(lambda: checkpoint(journals) > 0)
    run.signal(number, group=group)
    outcome = run.wait(20).failed(128 + number, number.name)
    assert "--resume" in outcome.hint, outcome
    support.require_nothing_left(tmp_path)
    set_rate(tmp_path, "100G")
    resumed = qcow2raw("--resume", "--progress=json", case.image, slow, journals=journals).done()
    # What was written when the signal came is before the checkpoint, however short before that was.
    assert resumed.messages[-1]["resumed_at"] > 8 * MIB
    support.require_same(slow, case.reference)


def test_stopped_before_anything_is_written(case: Case, tmp_path: Path, journals: Path) -> None:
    """While it waits at its very beginning: the source is a device that does not answer."""
    image = tmp_path / "image.qcow2"
    shutil.copy(case.image, image)
    os.truncate(image, image.stat().st_size + -image.stat().st_size % 512)
    words = ("--readonly", "--filter=delay", "file", image, "rdelay=2")
    with (
        support.target(tmp_path / "disk", TARGET) as target,
        served(tmp_path, *words, read_only=True) as source,
    ):
        before = support.digest(target)
        run = Run("--format=qcow2", source.path, target, journals=journals)
        support.wait_until(lambda: source.path in opened(run.pid))
        run.signal(signal.SIGTERM)
        run.wait(60).failed(128 + signal.SIGTERM, "SIGTERM")
        assert support.digest(target) == before
    assert not list(journals.iterdir())


def opened(pid: int) -> list[Path]:
    """What a process has open."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(descriptor.readlink())
    return found


def stopped(case: Case, target: Path, journals: Path, image: Path | None = None) -> None:
    """Stops a copy to a slow disk when its journal has a checkpoint."""
    run = Run(image or case.image, target, journals=journals)
    support.wait_until(lambda: run.ended or checkpoint(journals) > 0)
    run.signal(signal.SIGTERM)
    run.wait(20).failed(128 + signal.SIGTERM)
    assert list(journals.iterdir())


@pytest.mark.parametrize("change", ["time", "bytes", "size"])
def test_resume_from_another_source(
    change: str, case: Case, slow: Path, tmp_path: Path, journals: Path
) -> None:
    image = tmp_path / "image.qcow2"
    shutil.copy(case.image, image)
    stopped(case, slow, journals, image)
    status = image.stat()
    if change == "time":
        os.utime(image, (status.st_atime, status.st_mtime + 1))
    elif change == "size":
        os.truncate(image, status.st_size + 65536)
        os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        # In the header's padding: another file, though it may look the same.
        with image.open("r+b") as file:
            os.pwrite(file.fileno(), b"another", 4096)
        os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    set_rate(tmp_path, "100G")
    before = support.digest(slow)
    qcow2raw("--resume", image, slow, journals=journals).failed(REFUSED, "source")
    assert support.digest(slow) == before
    qcow2raw("--force", case.image, slow, journals=journals).done()
    support.require_same(slow, case.reference)
    assert not list(journals.iterdir())


def test_resume_with_other_options(case: Case, slow: Path, tmp_path: Path, journals: Path) -> None:
    stopped(case, slow, journals)
    set_rate(tmp_path, "100G")
    outcome = qcow2raw("--resume", "--swap=copy", case.image, slow, journals=journals)
    outcome.failed(REFUSED, "swap")
    require_resumed(case, slow, journals)


def test_resume_to_another_target(case: Case, slow: Path, tmp_path: Path, journals: Path) -> None:
    """Of the same name and size, in the place of the first: what is on it is somebody's data."""
    file = support.dirty(tmp_path / "disk", TARGET)
    link = tmp_path / "target"
    link.symlink_to(slow)
    stopped(case, link, journals)
    with support.loop(file, read_only=False) as other:
        support.output("mkfs.ext4", "-q", "-F", other)
        link.unlink()
        link.symlink_to(other)
        before = support.digest(other)
        outcome = qcow2raw("--resume", case.image, link, journals=journals)
        outcome.failed(REFUSED, str(link), "ext4")
        assert support.digest(other) == before
        support.output("wipefs", "--all", "--quiet", other)
        before = support.digest(other)
        outcome = qcow2raw("--resume", case.image, link, journals=journals)
        outcome.failed(REFUSED, str(link), "another device")
        assert support.digest(other) == before


def test_two_copies_to_one_target(case: Case, slow: Path, tmp_path: Path, journals: Path) -> None:
    set_rate(tmp_path, "20M")
    first = Run(case.image, slow, journals=journals)
    try:
        support.wait_until(lambda: first.ended or any(journals.glob("*.json")))
        for options in ((), ("--force",), ("--resume",)):
            second = qcow2raw(*options, case.image, slow, journals=journals)
            second.failed(REFUSED, str(slow), "in use")
        set_rate(tmp_path, "100G")
    finally:
        outcome = first.wait()
    outcome.done()
    support.require_same(slow, case.reference)


def is_helped(image: Path) -> bool:
    return any("qemu-nbd" in words for words in support.left_behind(image))


def test_killed_with_a_helper(case: Case, tmp_path: Path, journals: Path) -> None:
    """qemu-nbd reads other formats: it goes with the copy, even if nobody is left to end it."""
    image = tmp_path / "image.vmdk"
    support.output("qemu-img", "convert", "-O", "vmdk", case.image, image)
    with support.target(tmp_path / "disk", TARGET) as target:
        for _ in range(20):  # some copies end before their qemu-nbd is seen
            run = Run("--force", "--format=vmdk", image, target, journals=journals)
            support.wait_until(lambda run=run: run.ended or is_helped(image))
            run.signal(signal.SIGKILL)
            if run.wait().exit_code == -signal.SIGKILL:
                break
        else:
            pytest.fail("no qemu-nbd was seen")
        support.require_nothing_left(tmp_path)
        qcow2raw("--resume", "--format=vmdk", image, target, journals=journals).done()
        support.require_same(target, case.reference)
