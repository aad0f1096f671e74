"""What the tests of backups share."""

from pathlib import Path

import pytest

from tests.system.backup import support
from tests.system.backup.support import exported


@pytest.fixture(scope="module")
def dump(disk: support.Disk) -> Path:
    """The export of a module's own disk."""
    path = disk.path.with_name("dump")
    exported(disk.path, path).done()
    return path
