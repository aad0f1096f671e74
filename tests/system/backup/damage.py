"""Streams that were damaged in one place."""

import json
import struct
from collections.abc import Callable

from backup.streams import stream


def places(dump: bytes) -> dict[str, int]:
    """Where the parts of a stream begin, and where it ends."""
    (length,) = struct.unpack_from("<I", dump, 4)
    trailer = dump.index(
        struct.pack("<I", stream.SKIPPABLE), len(dump) - stream.ENDS_SIZE - (1 << 20)
    )
    (rest,) = struct.unpack_from("<I", dump, trailer + 4)
    end = trailer + 8 + rest
    return {"header": 0, "frames": 8 + length, "trailer": trailer, "end": end, "eof": len(dump)}


def cut(part: str, offset: int = 0) -> Callable[[bytes], bytes]:
    return lambda dump: dump[: places(dump)[part] + offset]


def altered(part: str, offset: int) -> Callable[[bytes], bytes]:
    def alter(dump: bytes) -> bytes:
        at = places(dump)[part] + offset
        return dump[:at] + bytes([dump[at] ^ 1]) + dump[at + 1 :]

    return alter


def instead(content: bytes) -> Callable[[bytes], bytes]:
    return lambda _: content


def without_trailer(dump: bytes) -> bytes:
    at = places(dump)
    return dump[: at["trailer"]] + dump[at["end"] :]


def without_a_frame(dump: bytes) -> bytes:
    """The second one: each frame by itself is right."""
    first = places(dump)["frames"]
    begins = [at for at in range(first, len(dump) - 4) if dump[at : at + 4] == b"\x28\xb5\x2f\xfd"]
    return dump[: begins[1]] + dump[begins[2] :]


def with_header(**changed: object) -> Callable[[bytes], bytes]:
    def change(dump: bytes) -> bytes:
        first = places(dump)["frames"]
        payload = json.dumps(json.loads(dump[8:first]) | changed).encode() + b"\n"
        return struct.pack("<II", stream.SKIPPABLE, len(payload)) + payload + dump[first:]

    return change
