"""The lab that the tests of the importer share."""

from collections.abc import Iterator

import pytest

from tests import bootstraps
from tests.e2e.running import running

from .lab import KvmNode, Lab, missing_capability


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    """Both hosts; nothing of a domain or volume is made yet."""
    if why := missing_capability():
        pytest.skip(why)
    with running(KvmNode(bootstraps.directory())) as node:
        yield Lab(node)
