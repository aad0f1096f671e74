"""One SSH connection to the KVM host, for all that is run there.

An ssh process is the master of the connection (ssh_config(5), ControlMaster). Its sockets are in
its own mount namespace, so that nothing of them can remain. It gets its end from the kernel when
ours comes, and with it all that it carries: programs on the KVM host then see the end of their
stdin.
"""

import itertools
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from converter.errors import SourceLost
from converter.sources.ssh_helper import ENVIRONMENT, Location, socket_of
from importer.errors import HostLost
from importer.host import ssh_client
from importer.host.ssh_client import KILLED, MARK, NOT_FOUND, SSH_FAILED, TIMED_OUT
from node.errors import CommandError, KitError
from node.run import Result, program_name, run
from node.service import Service, serving

CONNECT_SECONDS = 60.0
SECONDS = 120.0  # for a program there
LOST_SECONDS = 1.0  # for the master to end, after a client saw its connection end
GRACE_SECONDS = 10.0
COMPLAINT_SECONDS = 1.0


class KvmHost:
    """A KVM host that we are connected to.

    Attributes:
        name: as the user named it.
    """

    def __init__(self, name: str, location: Location, master: Service) -> None:
        self.name = name
        self._location = location
        self._master = master
        self._numbers = itertools.count()

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - the word that node.run uses, too
        check: bool = True,
        seconds: float = SECONDS,
        what: str | None = None,
    ) -> Result:
        """Runs a program there and waits for its end.

        Args:
            argv: the program and its arguments.
            input: its stdin, empty by default.
            check: whether an exit code other than 0 is an error.
            seconds: after which it is ended.
            what: how errors name the action; by default the program's name.

        Raises:
            HostLost: the connection is lost.
            CommandError: it failed, and `check` is set.
            KitError: it is not on that host, or took too long.
        """
        what = what or program_name(argv)
        ended = run(self.command(argv, seconds), input=input, check=False, ends_with_us=True)
        _, begun, stdout = ended.stdout.partition(f"{MARK}\n")
        if not begun and ssh_client.TOO_MANY in ended.stderr:
            raise self._too_many(what)
        if ended.exit_code == SSH_FAILED and (not begun or self.is_lost()):
            raise self._gone(ended.stderr)
        result = Result(ended.exit_code, stdout, ended.stderr)
        if result.exit_code == NOT_FOUND and program_name(argv) in result.stderr:
            raise KitError(
                f"{what} on {self.name}: the program {argv[0]} is not on that host",
                hint=f"install the Debian package that contains {argv[0]} there",
            )
        if result.exit_code in (TIMED_OUT, KILLED):
            raise KitError(
                f"{what} on {self.name}: no end within {seconds:g} s",
                hint=f"see what it waits for: ssh {self.name} {shlex.quote(shlex.join(argv))}",
            )
        if check and result.exit_code:
            raise self._failure(what, argv, result)
        return result

    def script(
        self,
        text: str,
        *arguments: str,
        what: str,
        input: str | None = None,  # noqa: A002
        check: bool = True,
        seconds: float = SECONDS,
    ) -> Result:
        """Runs a script of sh(1) there, which ends at its first failure; see `run`.

        Args:
            text: the script, without any input of ours in it.
            arguments: its $1, $2, …
            what: how errors name it.
            input: its stdin, empty by default.
            check: whether an exit code other than 0 is an error.
            seconds: after which it is ended.
        """
        argv = ["sh", "-euc", text, what, *arguments]
        return self.run(argv, input=input, check=check, seconds=seconds, what=what)

    @contextmanager
    def service(self, argv: Sequence[str], *, what: str | None = None) -> Iterator[Service]:
        """Runs a program there during the block; at the end of its stdin it has to end.

        Args:
            argv: the program and its arguments.
            what: how errors name it; by default the program's name.

        Raises:
            HostLost: the connection is lost.
            KitError: it has ended.
        """
        what = what or program_name(argv)
        ours = serving(self.command(argv), what=f"{what} on {self.name}", grace=GRACE_SECONDS)
        with ours as service, self.noticing_loss():
            try:
                _await_begin(service)
            except KitError as error:
                if service.complained(ssh_client.TOO_MANY):
                    raise self._too_many(what) from error
                raise
            yield service

    def command(self, argv: Sequence[str], seconds: float | None = None) -> list[str]:
        """The command line, for this node, that runs a program there; its stdout begins with MARK.

        Args:
            argv: the program and its arguments.
            seconds: after which it is ended; None: never.
        """
        return ssh_client.client(self._master.pid, self._location, argv, seconds)

    @contextmanager
    def forwarded(self, remote_socket: str) -> Iterator[Path]:
        """Forwards a unix socket of that host during the block; yields the path of ours.

        Whether there is something behind it is seen when it is used.

        Raises:
            HostLost: the connection is lost.
        """
        name = f"socket{next(self._numbers)}"

        def ask(what: str) -> None:
            argv = ssh_client.forwarding(
                self._master.pid, self._location, what, name, remote_socket
            )
            asked = run(argv, check=False, ends_with_us=True)
            if asked.exit_code and self.is_lost():
                raise self._gone(asked.stderr)
            if asked.exit_code:
                raise KitError(
                    f"{what} of {remote_socket} on {self.name}: ssh refuses it:"
                    f" {asked.stderr.strip() or 'no message'}",
                    hint=f"is forwarding allowed in the ssh_config of {self.name}?",
                )

        ask("forward")
        try:
            yield Path(socket_of(self._master.pid, name))
        finally:
            with suppress(KitError):  # it goes with the connection
                ask("cancel")

    def is_lost(self) -> bool:
        """Whether the connection has ended; a client may see that before the master has ended."""
        with suppress(KitError):
            self._master.wait_for(lambda: False, LOST_SECONDS)
        return not self._master.running

    @contextmanager
    def first_use(self, what: str) -> Iterator[None]:
        """For the first connection through a forwarded socket, whose server is known to listen.

        Args:
            what: is read through it, for the error.

        Raises:
            KitError: the SSH server there does not let us through.
        """
        try:
            yield
        except SourceLost as error:
            # ssh's message may come after the end of the connection.
            with suppress(KitError):
                self._master.wait_for(
                    lambda: self._master.complained(ssh_client.OPEN_FAILED), COMPLAINT_SECONDS
                )
            if not self._master.complained(ssh_client.OPEN_FAILED):
                raise
            raise KitError(
                f"{what}: the SSH server there does not forward unix sockets",
                hint="in its sshd_config: AllowStreamLocalForwarding yes (for this user: Match)",
            ) from error

    @contextmanager
    def noticing_loss(self) -> Iterator[None]:
        """Turns errors of services into HostLost if their cause is that the connection is lost."""
        try:
            yield
        except KitError as error:
            # Others have types of their own, or are seen by what they say of the host.
            if type(error) is not KitError or not self.is_lost():
                raise
            raise self._gone(error.message) from error

    def _gone(self, said: str) -> HostLost:
        lines = [*said.splitlines(), *self._master.complaints]
        told = [line for line in lines if line.strip() and ssh_client.OPEN_FAILED not in line]
        return HostLost(self.name, told[-1].strip() if told else "ssh has ended")

    def _too_many(self, what: str) -> KitError:
        return KitError(
            f"{what} on {self.name}: its SSH server allows no more sessions of one connection",
            hint="raise MaxSessions in its sshd_config; copy fewer disks at once",
        )

    def _failure(self, what: str, argv: Sequence[str], result: Result) -> CommandError:
        lines = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
        why = lines[-1].strip().removeprefix("error: ") if lines else "no message"
        return CommandError(
            f"{what} on {self.name}: {why} (exit code {result.exit_code})",
            exit_code=result.exit_code,
            stdout=result.stdout,
            stderr=result.stderr,
            hint=f"run it there to see more: ssh {self.name} {shlex.quote(shlex.join(argv))}",
        )


@contextmanager
def connected(host: str) -> Iterator[KvmHost]:
    """Connects to a KVM host for the block, with the user's ssh configuration, keys and agent.

    Args:
        host: [user@]host[:port], or a name of ssh_config(5).

    Raises:
        HostLost: it cannot be reached.
        KitError: its host key is not known, or we are not let in.
    """
    location = ssh_client.location_of(host)
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    command = ssh_client.master(location)
    with serving(command, what=f"ssh {host}", env=environment, grace=GRACE_SECONDS) as master:
        try:
            _await_begin(master)
        except KitError as error:
            raise ssh_client.not_connected(host, list(master.complaints)) from error
        yield KvmHost(host, location, master)


def _await_begin(service: Service) -> None:
    """Waits until a program has begun. What startup files print may end without a newline.

    Raises:
        KitError: it has ended, or does not begin.
    """
    while not service.line(CONNECT_SECONDS).endswith(MARK):
        pass
