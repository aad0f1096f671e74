"""What a caller may ask of a copy is checked when it is asked."""

from typing import Any, get_args

import pytest

from converter import Algorithm, CopyOptions, SwapMode


@pytest.mark.parametrize(("field", "value"), [("digest", "md5"), ("swap", "x"), ("swap", None)])
def test_what_there_is_not_is_refused(field: str, value: str | None) -> None:
    with pytest.raises(ValueError, match=f"{field} {value!r}: not one of"):
        CopyOptions(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("swap", get_args(SwapMode))
@pytest.mark.parametrize("digest", [*get_args(Algorithm), None])
def test_all_that_there_is_can_be_asked_for(swap: SwapMode, digest: Algorithm | None) -> None:
    options = CopyOptions(swap=swap, digest=digest)
    assert (options.swap, options.digest) == (swap, digest)


@pytest.mark.parametrize("needs_all", [{"digest": "xxh3"}, {"update": True}])
def test_what_needs_the_whole_disk_is_no_increment(needs_all: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="increment"):
        CopyOptions(increment=True, **needs_all)


def test_a_comparison_finds_an_increment() -> None:
    assert CopyOptions(increment=True, compared=True).compared
    with pytest.raises(ValueError, match="increment"):
        CopyOptions(compared=True)
