import hashlib

import pytest

from tests.e2e.importing import records


def written(number: int) -> list[str]:
    digest, lines = "", []
    for each in range(1, number + 1):
        digest = hashlib.sha256(f"{digest} {each}".encode()).hexdigest()
        lines.append(f"{each} {digest}")
    return lines


def test_records_are_counted() -> None:
    assert records.count("") == 0
    assert records.count("\n".join(written(3)) + "\n") == 3


@pytest.mark.parametrize("damage", ["one is missing", "one is altered", "two are swapped"])
def test_a_gap_is_found(damage: str) -> None:
    lines = written(4)
    match damage:
        case "one is missing":
            del lines[1]
        case "one is altered":
            lines[1] = lines[1][:-1] + "x"
        case _:
            lines[1], lines[2] = lines[2], lines[1]
    with pytest.raises(AssertionError, match="record 2 is"):
        records.count("\n".join(lines))
