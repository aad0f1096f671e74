"""How Ganeti's hypervisors boot a guest, and which serial console they give it; pure."""

from dataclasses import dataclass

from guest.instance import Instance

# Hypervisors whose guests share the node's kernel.
CONTAINERS = ("lxc", "chroot")
DEFAULT_SPEED = 38400  # Ganeti's own default of serial_speed (gnt-instance(8))

# Disk types of the kvm hypervisor whose devices are not called sd*.
DISK_NAMES = {"paravirtual": "vda", "sd": "mmcblk0", "mtd": "mtdblock0", "pflash": "mtdblock0"}


@dataclass(frozen=True)
class Console:
    """A serial console: the guest's device without /dev/, and its speed in baud (hvc0: None)."""

    device: str
    speed: int | None

    @property
    def kernel_argument(self) -> str:
        """The value of console= (Linux, Documentation/admin-guide/serial-console.rst)."""
        return f"{self.device},{self.speed}n8" if self.speed else self.device


def console(instance: Instance) -> Console | None:
    """The serial console that the hypervisor gives the guest, or None."""
    if instance.hypervisor == "xen-pvm":
        return Console("hvc0", None)
    if instance.hypervisor in CONTAINERS:
        return None
    if instance.hv.get("serial_console", "True") != "True":  # xen-hvm always has one
        return None
    speed = instance.hv.get("serial_speed", "")
    return Console("ttyS0", int(speed) if speed.isdigit() else DEFAULT_SPEED)


def own_kernel(instance: Instance) -> bool:
    """Whether the guest boots a kernel from its own disk, and not one of the node."""
    if instance.hypervisor in CONTAINERS:
        return False
    if instance.hypervisor == "xen-hvm":
        return True  # its kernel_path names the firmware, hvmloader
    if instance.hypervisor == "xen-pvm":
        return instance.hv.get("use_bootloader") == "True"  # pygrub; kernel_path is never empty
    return not instance.hv.get("kernel_path")


def root_disk(instance: Instance) -> str:
    """The guest's device name of its first disk, such as /dev/vda."""
    if instance.hypervisor.startswith("xen"):
        return "/dev/xvda"
    disk_type = instance.hv.get("disk_type", "paravirtual")
    return f"/dev/{DISK_NAMES.get(disk_type, 'sda')}"
