"""A host in namespaces of its own, on which tests run programs."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}
# A host's namespaces for programs that use the machine's network instead of the host's.
NAMESPACES = ("mount", "uts", "ipc", "pid")

# Ends a program with its process group when nsenter(1) is killed, which else leaves it running:
# setpriv(1) gets SIGTERM then, and timeout(1), as which it goes on, passes it to the group.
# A program that ignores it is killed after END_SECONDS.
END_SECONDS = 10
ENDS_WITH_NSENTER = ("setpriv", "--pdeathsig=TERM", "timeout", f"--kill-after={END_SECONDS}", "0")


class SandboxError(Exception):
    """A host did not start, or a command on it failed."""


def enter(pid: int, namespaces: Sequence[str]) -> list[str]:
    """The command before those that run in namespaces of a process."""
    return ["nsenter", f"--target={pid}", *(f"--{each}" for each in namespaces), "--"]


class Host(ABC):
    """Runs programs on the host."""

    @abstractmethod
    def entry(self, namespaces: Sequence[str]) -> list[str]:
        """The command of the machine before those that run in these namespaces of the host."""

    def argv(self, argv: Sequence[str | Path], *, outside_network: bool = False) -> list[str]:
        """The command of the machine that runs `argv` on the host.

        Args:
            argv: the program and its arguments.
            outside_network: whether it uses the machine's network instead of the host's.
        """
        namespaces = NAMESPACES if outside_network else (*NAMESPACES, "net")
        return [*self.entry(namespaces), *map(str, argv)]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - as subprocess calls it
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
        outside_network: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program on the host.

        Raises:
            SandboxError: it failed and `check` is set; or it took longer than `timeout` seconds,
                and was ended with all of its process group.
        """
        words = " ".join(map(str, argv))
        with subprocess.Popen(
            self.argv([*ENDS_WITH_NSENTER, *argv], outside_network=outside_network),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=ENVIRONMENT if env is None else {**ENVIRONMENT, **env},
        ) as process:
            try:
                out, err = process.communicate(input or "", timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise SandboxError(
                    f"{words}: still running after {timeout} s\n{_rest(process)}"
                ) from None
            except BaseException:
                process.kill()
                raise
        if check and process.returncode != 0:
            raise SandboxError(f"{words}: exit code {process.returncode}\n{out}{err}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Writes a file on the host."""
        self.run(["install", "-D", f"--mode={mode:o}", "/dev/stdin", path], input=text)


def _rest(process: "subprocess.Popen[str]") -> str:
    """All that a program said whose nsenter was killed; it has ended then.

    Only a daemon that it started may still have its streams, and is not waited for.
    """
    try:
        return "".join(process.communicate(timeout=2 * END_SECONDS))
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"") + (error.stderr or b"")
        return said.decode(errors="replace")
