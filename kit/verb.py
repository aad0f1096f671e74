"""What a module must have to be a verb of `instance-kit`, or a verb of a verb."""

import argparse
from collections.abc import Callable
from typing import Protocol


class Verb(Protocol):
    """A module that is a verb."""

    NAME: str
    ABOUT: str

    @property
    def arguments(self) -> Callable[[argparse.ArgumentParser], None]:
        """Adds its arguments to a parser."""

    @property
    def run(self) -> Callable[[argparse.Namespace], int]:
        """Runs it; returns the exit code."""
