"""The arguments of the verbs for streams."""

import pytest

from kit.cli import parser


@pytest.mark.parametrize(
    "argv",
    [["web1", "--disk", "1", "-"], ["--disk=1", "web1", "-"], ["web1", "-", "--disk", "1"]],
)
def test_options_stand_anywhere(argv: list[str]) -> None:
    options = parser().parse_args(["export", *argv])
    assert (options.disk, options.number, options.file) == ("web1", 1, "-")
    assert not options.force


def test_a_restore_is_told_what_may_go() -> None:
    options = parser().parse_args(["restore", "-", "/tmp/disk", "--force", "--force-file"])
    assert (options.file, options.disk) == ("-", "/tmp/disk")
    assert options.force and options.force_file


def test_many_files_are_verified() -> None:
    assert parser().parse_args(["verify", "a", "-", "--json"]).files == ["a", "-"]


@pytest.mark.parametrize(
    "argv",
    [
        ["export", "a"],
        ["export", "a", "b", "c"],
        ["restore", "a"],
        ["restore", "a", "b", "--resume"],
        ["verify"],
        ["verify", "a", "--forc"],
    ],
)
def test_misuse_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(argv)
    assert caught.value.code == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and hint.startswith("hint: ")
