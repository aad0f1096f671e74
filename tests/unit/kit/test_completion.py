import pytest

from kit.completion import TOP, generated


@pytest.mark.parametrize("path", sorted(generated()))
def test_generated_files_are_up_to_date(path: str) -> None:
    assert (TOP / path).read_text() == generated()[path], "run: make generate"
