"""Reads all of a source as a copy does, for tests: NAME FORMAT OUT [PAUSE].

FORMAT may be empty. What is read goes to the file OUT, sparse. With PAUSE, it says "reading" once
it has read something, and goes on when it gets a line. The last line that it prints is JSON.
"""

import json
import os
import sys
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from converter import sources
from converter.extents import Kind
from node.cleanup import signals_raise
from node.errors import KitError

PIECE = 1 << 20


def main(name: str, image_format: str, out: str, *pause: str) -> dict[str, object]:
    data = 0
    with sources.open_source(name, image_format or None) as source, Path(out).open("wb") as file:
        file.truncate(source.size)
        place = 0
        with closing(source.reader()) as reader:
            for extent in source.extents():
                assert extent.guest_offset == place and extent.length > 0, extent
                place = extent.end
                if extent.kind is Kind.ZERO:
                    continue
                for start in range(extent.guest_offset, extent.end, PIECE):
                    part = extent.cut(start, min(start + PIECE, extent.end))
                    view = memoryview(bytearray(part.length))
                    reader.read([part], view, part.guest_offset)
                    os.pwrite(file.fileno(), view, part.guest_offset)
                    data += part.length
                    if pause and data == part.length:
                        print("reading", flush=True)
                        sys.stdin.readline()
        assert place == source.size
        source.check_unchanged()
        return {"size": source.size, "data": data, "identity": dict(source.identity)}


if __name__ == "__main__":
    try:
        with signals_raise():
            told = main(*sys.argv[1:])
    except KitError as error:
        told = {"error": error.message, "hint": error.hint, "kind": type(error).__name__}
    print(json.dumps(told))
