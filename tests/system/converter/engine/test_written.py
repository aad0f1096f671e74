"""A verification finds that a part of the disk was not copied at all."""

from pathlib import Path

import pytest

from converter import CopyFailed, CopyOptions, copy, open_source
from converter.engine.written import Written
from tests.system.converter import support
from tests.system.converter.support import MIB, Write


def test_what_was_left_out_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = support.qcow2(tmp_path / "image.qcow2", 12 * MIB, Write(0, support.noise(MIB, 1)))
    monkeypatch.setattr(Written, "zeros", lambda *_: None)
    with (
        support.target(tmp_path / "target", 16 * MIB) as device,
        open_source(image) as source,
        pytest.raises(CopyFailed, match=r"\d+ bytes were not copied"),
    ):
        copy(source, device, CopyOptions(verify=True))
