"""Starts clusters for tests, and ends them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from . import ssh
from .cluster import Cluster

STARTED: list[Cluster] = []  # and not stopped

C = TypeVar("C", bound=Cluster)


@contextmanager
def running(cluster: C) -> Iterator[C]:
    """Starts a cluster with the kit and the administrator's SSH key; it ends with the block."""
    STARTED.append(cluster)
    try:
        cluster.start()
        cluster.install_kit()
        ssh.make_key(cluster)
        yield cluster
        held = cluster.loops()
    finally:
        STARTED.remove(cluster)
        cluster.stop()
    assert not held, f"loop devices were left attached: {held}"
