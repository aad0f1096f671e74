"""What becomes of a disk whose guest gets no boot loader."""

from contextlib import AbstractContextManager

import pytest

from backup.dumps import restore
from backup.options import ImportOptions
from converter.target.device import Target
from node.errors import KitError


def test_a_disk_that_cannot_be_taken_back_does_not_hide_the_first_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_options: ImportOptions) -> AbstractContextManager[Target]:
        raise KitError("target /dev/web: in use", hint="fuser /dev/web")

    monkeypatch.setattr(restore, "_opened", refused)
    restore._take_back(ImportOptions("/dev/web", "import of disk 0 of web", "stdin", "web-disk0"))
    assert "holds all of the dump" in caplog.text and "/dev/web: in use" in caplog.text
