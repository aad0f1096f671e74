import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from node.lockfile import part_of
from tests import bootstraps
from tests.e2e import node_tree


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that were made, of an engine that is not run."""
    images: list[Path] = []

    def make(image: Path, argv: Sequence[str]) -> None:
        assert argv == ["engine", "a", "b"]
        image.touch()
        images.append(image)

    monkeypatch.setenv("SANDBOX_CACHE", str(tmp_path))
    monkeypatch.setattr(node_tree, "_packages", lambda: ["a", "b"])
    monkeypatch.setattr(
        node_tree, "_engine_argv", lambda _suite, packages, _options: ["engine", *packages]
    )
    monkeypatch.setattr(node_tree, "_make", make)
    return images


def test_a_tree_is_made_once(made: list[Path], tmp_path: Path) -> None:
    image = node_tree.node_tree()
    assert node_tree.node_tree() == image
    assert made == [image]
    assert list((tmp_path / "nodes").iterdir()) == [image]  # no lock stays


def test_a_tree_of_last_week_is_made_anew(made: list[Path]) -> None:
    image = node_tree.node_tree()
    then = time.time() - bootstraps.MAX_DAYS * 86400 - 1
    os.utime(image, (then, then))
    assert node_tree.node_tree() == image
    assert made == [image, image]


def test_what_a_killed_maker_left_goes_and_what_another_makes_stays(
    made: list[Path], tmp_path: Path
) -> None:
    image = node_tree.node_tree()
    left = image.with_name(f".{image.name}.abc.part")
    left.touch()
    with part_of(image) as (part, _):
        node_tree.node_tree()
        assert not left.exists() and part.exists()
    assert made == [image]
    assert tmp_path in image.parents
