"""The options of qcow2raw."""

import argparse

import pytest

from converter.cli import options
from converter.cli.main import main


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("20G", 20 << 30), ("5MiB", 5 << 20), ("1t", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert options._size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1.5G", "²", "1Q", "0x10"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options._size(text)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["a"], "SRC and DST are needed"),
        (["a", "b", "c"], "SRC and DST are needed"),
        (["--create", "vg/lv", "a", "b"], "--create takes SRC only"),
        (["--create", "lv", "a"], "VG/LV is needed"),
        (["--size", "1G", "a", "b"], "go with --create"),
        (["--thin-pool", "p", "a", "b"], "go with --create"),
        (["--json", "a", "b"], "--json goes with"),
        (["--create", "vg/lv", "--resume", "a"], "name it as DST"),
        (["--create", "vg/lv", "--size", "x", "a"], "not a size"),
        (["--check", "--info", "a"], "not allowed with"),
        (["--digest", "md5", "a", "b"], "invalid choice"),
        (["--forc", "a", "b"], "unrecognized arguments"),
        ([], "SRC"),
        *(
            (["--progress", how, "a", "b"], "--progress")
            for how in ("json:x", "fancy", "", "bar:3")
        ),
        (["--progress", f"json:{1 << 70}", "a", "b"], "--progress"),
        (["--check", "--digest", "sha256", "a", "b"], "--digest goes with a copy"),
        (["--swap-only", "--resume", "a", "b"], "--resume goes with a copy"),
        (["--info", "--verify", "a"], "--verify goes with a copy"),
    ],
)
def test_misuse_ends_with_2_and_both_lines(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and complaint in error
    assert hint.startswith("hint: ")
