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
def clean_lab(lab: Lab) -> Iterator[Lab]:
    """Checks for what a module leaves on the hosts of the lab.

    Fixtures of a module have to use this one, so that pytest ends them before. Else it may do so
    after: it ends first what the last test uses.
    """
    with traces.none(lab.node, lab.kvm):
        yield lab
