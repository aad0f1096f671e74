"""A KVM host for unit tests: it answers what it is told to, and keeps what it was asked."""

from collections.abc import Callable, Sequence
from typing import Any

from importer.host.connection import KvmHost
from node.errors import CommandError
from node.run import Result

Answer = Callable[[list[str]], Result]


class FakeHost(KvmHost):
    """Runs nothing."""

    def __init__(self, answer: Answer) -> None:
        self.name = "kvm1"
        self.asked: list[list[str]] = []
        self._answer = answer

    def run(self, argv: Sequence[str], *, check: bool = True, **_: Any) -> Result:
        self.asked.append(list(argv))
        result = self._answer(list(argv))
        if check and result.exit_code:
            raise CommandError(
                f"{argv[0]}: {result.stderr}",
                exit_code=result.exit_code,
                stdout=result.stdout,
                stderr=result.stderr,
                hint="see there",
            )
        return result


def said(stdout: str = "", exit_code: int = 0, stderr: str = "") -> Answer:
    """The same answer to everything."""
    return lambda _: Result(exit_code, stdout, stderr)
