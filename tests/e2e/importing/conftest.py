"""The lab that the tests of the importer share."""

from collections.abc import Iterator

import pytest

from tests import bootstraps
from tests.e2e.running import running

from . import traces
from .lab import KvmNode, Lab, missing_capability


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    """Both hosts; a machine is installed when it is first asked for."""
    if why := missing_capability():
        pytest.skip(why)
    with running(KvmNode(bootstraps.directory())) as node:
        yield Lab(node)


@pytest.fixture(autouse=True, scope="module")
def _hosts_stay_clean(lab: Lab) -> Iterator[None]:
    """Checks for what tests leave on the hosts of the lab."""
    with traces.none(lab.node, lab.kvm):
        yield
