"""A machine of the lab, on the KVM host."""

from tests.e2e import ssh
from tests.e2e.cluster import Cluster
from tests.e2e.host import SandboxError

from .domains import Machine, domain_xml
from .install import Installed
from .kvm_host import KvmHost

# Seconds until a guest answers; they are emulated, on two cores.
BOOT_TIMEOUT = 300
# On the KVM host, on the file system of its images: copies of disks, and of the memory of a booted
# guest.
STATES = "/mnt/lab"


class Guest:
    """A domain with a Debian, whose state each test chooses.

    Booting takes a minute, so it is done once: then the memory of the running guest is kept, with a
    copy of its disks.

    Attributes:
        keys: of its SSH server, as in known_hosts, without the host.
        swap_uuid: of its swap disk; "" without one.
    """

    def __init__(self, node: Cluster, kvm: KvmHost, machine: Machine, made: Installed) -> None:
        self.machine = machine
        self.keys = made.keys
        self.swap_uuid = made.swap_uuid
        self._node = node
        self._kvm = kvm
        self._directory = f"{STATES}/{machine.name}"
        self._was_booted = False
        self._keep("off")
        self._kvm.virsh("define", "/dev/stdin", input=domain_xml(machine))

    @property
    def state(self) -> str:
        """In libvirt's words."""
        return self._kvm.virsh("domstate", self.machine.name)

    def serial(self) -> str:
        """All that it has printed to its serial console since it was started or restored."""
        return self._kvm.run(["cat", self.machine.serial_log]).stdout

    def off(self) -> None:
        """Puts it into the state after its installation: off, never booted."""
        self._restore("off")

    def booted(self) -> ssh.Ssh:
        """Puts it into the state after its first boot; returns a connection to its IPv4 address."""
        if not self._was_booted:
            self.off()
            connection = self.start()
            connection.run("systemctl is-system-running --wait")
            connection.close()
            self._kvm.virsh("save", self.machine.name, f"{self._directory}/memory")
            self._keep("booted")
            self._was_booted = True
        self._restore("booted")
        self._kvm.virsh("restore", f"{self._directory}/memory")
        return self.connect(self.machine.ipv4)

    def start(self) -> ssh.Ssh:
        """Starts it, and waits until it answers SSH."""
        self._kvm.virsh("start", self.machine.name)
        return self.connect(self.machine.ipv4)

    def connect(self, host: str) -> ssh.Ssh:
        """A connection from the node to an address of the guest, as soon as it answers.

        Raises:
            SandboxError: it does not; the message has the end of its serial console.
        """
        connection = ssh.connect_known(self._node, host, self.keys)
        try:
            connection.open(BOOT_TIMEOUT)
        except SandboxError as error:
            raise SandboxError(f"{error}\nserial console: {self.serial()[-2000:]}") from error
        return connection

    def destroy(self) -> None:
        """Ends it like a power failure, if it runs."""
        if self.state != "shut off":
            self._kvm.virsh("destroy", self.machine.name)

    def _keep(self, state: str) -> None:
        self._kvm.run(["mkdir", "--parents", f"{self._directory}/{state}"])
        for disk in self.machine.disks:
            copy = f"{self._directory}/{state}/{disk.role}"
            self._copy(self.machine.path(disk), copy)

    def _restore(self, state: str) -> None:
        self.destroy()
        # Nothing of a test stays with the domain.
        options = ["--checkpoints-metadata", "--managed-save", "--keep-nvram"]
        self._kvm.virsh("undefine", self.machine.name, *options)
        for disk in self.machine.disks:
            path = self.machine.path(disk)
            if self.machine.storage == "lv":
                self._kvm.run(["blkdiscard", "--zeroout", path])
            else:
                self._kvm.run(["rm", "--force", path])
            self._copy(f"{self._directory}/{state}/{disk.role}", path)
        self._kvm.virsh("define", "/dev/stdin", input=domain_xml(self.machine))

    def _copy(self, source: str, target: str) -> None:
        argv = ["cp", source, target]  # of a file: it shares the blocks
        if self.machine.storage == "lv":
            argv = ["dd", f"if={source}", f"of={target}", "bs=256K", "conv=sparse"]
        self._kvm.run(argv)
