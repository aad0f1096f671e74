"""A stream is whole if each byte of it is right, and never else."""

import json
import os
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup import verifying
from backup.kinds import Kind
from backup.streams import stream
from backup.streams.stream import FRAME_SIZE, Header
from backup.verifying import State, Verdict
from converter.progress import Silent
from tests.unit.backup.dumps.made_dumps import MadeDump
from tests.unit.backup.made import frame, made, opened, trailer_of

SMALL = 4096
CONTENT = [os.urandom(SMALL), bytes(SMALL), b"text " * 200]
HEADER = Header(
    disk_size=2 * SMALL + 1000, kit="1", instance="web1", frame_size=SMALL, smallest=SMALL
)


BEFORE_THE_END = made(CONTENT, HEADER)
END = b"".join(map(stream.end, range(stream.END_FRAMES)))


def verified(data: bytes) -> Verdict:
    with opened(data) as file:
        return verifying.verify(file, "the stream", Silent())


def test_a_whole_one() -> None:
    assert verified(BEFORE_THE_END + END) == Verdict(State.WHOLE, None, Kind.KIT, HEADER)


def test_one_of_zeros() -> None:
    header = replace(HEADER, disk_size=3 * FRAME_SIZE + 512, frame_size=FRAME_SIZE)
    content = [bytes(FRAME_SIZE)] * 3 + [bytes(512)]
    assert verified(made(content, header) + END).state is State.WHOLE
    assert verified(made(content[1:], header) + END).state is State.DAMAGED


def test_one_that_was_cut_anywhere() -> None:
    whole = BEFORE_THE_END + END
    for length in [*range(0, len(BEFORE_THE_END), 31), len(BEFORE_THE_END), -stream.END_SIZE, -1]:
        assert verified(whole[:length]).state is State.DAMAGED


@settings(max_examples=40)
@given(st.integers(0, len(BEFORE_THE_END) - 1), st.integers(1, 255))
def test_one_with_an_altered_byte(place: int, change: int) -> None:
    """What the header states counts, too: an import relies on it."""
    altered = bytearray(BEFORE_THE_END)
    altered[place] ^= change
    verdict = verified(bytes(altered) + END)
    # A blank of JSON may become a tab.
    assert verdict.state is State.DAMAGED or verdict.header == HEADER


@pytest.mark.parametrize("place", [0, 1, 8, 20, 5000, -1])
def test_one_with_an_altered_end(place: int) -> None:
    altered = bytearray(END)
    altered[place] ^= 1
    assert verified(BEFORE_THE_END + bytes(altered)).state is State.DAMAGED


MORE = {
    "a byte behind": BEFORE_THE_END + END + b"\0",
    "twice": (BEFORE_THE_END + END) * 2,
    "no end": BEFORE_THE_END,
    "two ends": BEFORE_THE_END + END + END,
    "a frame instead of the end": BEFORE_THE_END + frame(CONTENT[0]),
    "a frame before the end": BEFORE_THE_END + frame(CONTENT[0]) + END,
    "two trailers": BEFORE_THE_END + trailer_of(HEADER, CONTENT).encode() + END,
    "two headers": HEADER.encode() + BEFORE_THE_END + END,
    "one frame more": made([*CONTENT, CONTENT[0]], HEADER) + END,
    "one frame less": made(CONTENT[:-1], HEADER) + END,
    "frames in another order": made([CONTENT[1], CONTENT[0], CONTENT[2]], HEADER) + END,
    "no frames": made([], HEADER) + END,
    "a frame of nothing": made([CONTENT[0], b"", *CONTENT[1:]], HEADER) + END,
    "frames of another size": made(CONTENT, replace(HEADER, frame_size=2 * SMALL)) + END,
    "a smaller disk": made(CONTENT, replace(HEADER, disk_size=2 * SMALL, smallest=0)) + END,
    "a huge disk": made(CONTENT, replace(HEADER, disk_size=stream.MAX_DISK)) + END,
    "another count": made(CONTENT, HEADER, lambda found: replace(found, frames=4)) + END,
    "another size": made(CONTENT, HEADER, lambda found: replace(found, compressed=1)) + END,
    "another digest": made(CONTENT, HEADER, lambda found: replace(found, digest="0" * 32)) + END,
    "another header": made(CONTENT, HEADER, lambda found: replace(found, header="0" * 32)) + END,
    "a huge skippable frame": struct.pack("<II", stream.SKIPPABLE, 0xFFFFFFFF) + b"{}",
    "a huge frame": HEADER.encode() + b"\x28\xb5\x2f\xfd\xe4" + b"\xff" * 100,
}
# The order of the frames is not wrong by itself: it is another disk.
WHOLE = {"frames in another order"}


@pytest.mark.parametrize("case", MORE)
def test_one_that_is_put_together_wrongly(case: str) -> None:
    expected = State.WHOLE if case in WHOLE else State.DAMAGED
    assert verified(MORE[case]).state is expected


def test_the_trailer_of_another_order_does_not_fit() -> None:
    frames = b"".join(map(frame, [CONTENT[1], CONTENT[0], CONTENT[2]]))
    data = HEADER.encode() + frames + trailer_of(HEADER, CONTENT).encode() + END
    assert verified(data).state is State.DAMAGED


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from([*json.loads(HEADER.encode()[8:])]), st.integers()))
def test_any_header_is_read_or_refused(changed: dict[str, int]) -> None:
    payload = json.dumps(json.loads(HEADER.encode()[8:]) | changed).encode()
    data = struct.pack("<II", stream.SKIPPABLE, len(payload)) + payload
    rest = BEFORE_THE_END[len(HEADER.encode()) :]
    verdict = verified(data + rest + END)
    assert verdict.state is State.DAMAGED or verdict.header == HEADER


@settings(max_examples=40)
@given(st.binary(max_size=200_000))
def test_noise_is_never_whole(data: bytes) -> None:
    assert verified(data).state is not State.WHOLE


def test_a_dump_is_not_verifiable_or_not_all_there() -> None:
    dump = MadeDump(compact=True).start().inode(2, 0o40755).inode(12, 0o100644, b"x" * 9000).end()
    verdict = verified(dump)
    assert (verdict.state, verdict.kind) == (State.UNCERTAIN, Kind.DUMP)
    for cut in (dump[:7000], dump[: 7 * 1024], dump[: 6 * 1024] + dump[7 * 1024 :], dump + b"\0"):
        verdict = verified(cut)
        assert (verdict.state, verdict.kind) == (State.DAMAGED, Kind.DUMP)
