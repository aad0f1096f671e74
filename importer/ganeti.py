"""Runs Ganeti's commands on the master node, and programs on other nodes, over Ganeti's own SSH.

Root's key on a master candidate opens all nodes. That of another node may not open the master: then
the error has the command that changes it. To run the commands there by hand would not do: what is
next depends on the answers.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from importer.errors import MasterLost
from node import cluster
from node.errors import CommandError, KitError
from node.log import log
from node.run import Result, run

_SSH_FAILED = 255  # exit code of ssh(1) for its own errors
_SEPARATOR = "|"
_UNFINISHED = ("queued", "waiting", "running", "canceling")  # states of jobs
_AF_INET6 = "10"  # socket.AF_INET6 on Linux, as Ganeti writes it


@dataclass(frozen=True)
class Access:
    """How nodes are reached: what Ganeti's ssconf files say.

    Attributes:
        cluster: its name; all nodes have the host keys of this name.
        ipv6: whether nodes are reached by IPv6.
        ports: of the SSH servers that do not use 22, by node.
    """

    cluster: str
    ipv6: bool
    ports: dict[str, int]

    def command(self, node: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs a program on a node (Ganeti's ssh.py, _BuildSshOptions())."""
        port = [f"-oPort={self.ports[node]}"] if node in self.ports else []
        return [
            *("ssh", "-oEscapeChar=none", "-oHashKnownHosts=no"),
            f"-oGlobalKnownHostsFile={cluster.SSCONF / 'known_hosts'}",
            *("-oUserKnownHostsFile=/dev/null", "-oCheckHostIp=no", "-oConnectTimeout=10"),
            f"-oHostKeyAlias={self.cluster}",
            *("-oBatchMode=yes", "-oStrictHostKeyChecking=yes", *port),
            *("-6" if self.ipv6 else "-4", f"root@{node}"),
            shlex.join(argv),
        ]


class Ganeti:
    """The cluster of this node.

    Attributes:
        here: the name of this node.
        master: the name of the master node.
    """

    def __init__(self, here: str, master: str, access: Access) -> None:
        self.here = here
        self.master = master
        self._access = access

    def command(self, argv: Sequence[str], node: str | None = None) -> list[str]:
        """The command line, for this node, that runs a program on the master or another node."""
        node = node or self.master
        return list(argv) if node == self.here else self._access.command(node, argv)

    def run(
        self,
        argv: Sequence[str],
        *,
        node: str | None = None,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - the word that node.run uses, too
    ) -> Result:
        """Runs a program on the master (or another node), and waits for its end.

        Raises:
            CommandError: it failed, and `check` is set.
            MasterLost: the node cannot be reached, or no more.
        """
        node = node or self.master
        what = " ".join(argv[:2])
        command = self.command(argv, node)
        if node == self.here:
            return run(command, what=what, check=check, input=input)
        try:
            ended = run(command, what=f"{what} on {node}", input=input)
        except CommandError as error:
            if error.exit_code == _SSH_FAILED:
                raise MasterLost(
                    error.message,
                    hint=f"is {node} up? If it does not let this node in, on {self.master}:"
                    f" gnt-node modify --master-candidate=yes {self.here}; then this again",
                ) from error
            if check:
                raise
            ended = Result(error.exit_code, error.stdout, error.stderr)
        return ended

    def listed(self, kind: str, fields: Sequence[str]) -> list[list[str]]:
        """What `gnt-KIND list` says of all instances, nodes or networks: a row of fields for each.

        Raises:
            KitError: as for `run`, or the answer has another form.
        """
        options = ("--no-headers", f"--separator={_SEPARATOR}", f"--output={','.join(fields)}")
        printed = self.run([f"gnt-{kind}", "list", *options]).stdout
        rows = [line.split(_SEPARATOR) for line in printed.splitlines() if line]
        if any(len(row) != len(fields) for row in rows):
            raise KitError(
                f"gnt-{kind} list: its answer cannot be parsed",
                hint=f"see the output of gnt-{kind} list -o {','.join(fields)}",
            )
        return rows


def await_job(ganeti: Ganeti, summary: str) -> None:
    """Waits for a job of an earlier run: Ganeti goes on with it when gnt-instance is killed.

    Args:
        ganeti: the cluster.
        summary: as Ganeti lists it, such as INSTANCE_CREATE(web.example.org).

    Raises:
        KitError: the master does not answer.
    """
    for number, status, told in ganeti.listed("job", ("id", "status", "summary")):
        if status in _UNFINISHED and summary in told:
            log.info("waiting for Ganeti's job %s", number)
            ganeti.run(["gnt-job", "wait", number], check=False)


def of_this_node() -> Ganeti:
    """The cluster of this node.

    Raises:
        KitError: this node is in none.
    """
    master = next((line for line in cluster.ssconf("master_node") if line), None)
    if master is None:
        raise KitError(
            "Ganeti: this node is in no cluster",
            hint="run this on the node that takes the instance",
        )
    name = next((line for line in cluster.ssconf("cluster_name") if line), master)
    family = next((line for line in cluster.ssconf("primary_ip_family") if line), "")
    pairs = (line.rpartition("=") for line in cluster.ssconf("ssh_ports"))
    ports = {node: int(port) for node, _, port in pairs if port.isdecimal() and port != "22"}
    return Ganeti(cluster.this_node(), master, Access(name, family == _AF_INET6, ports))
