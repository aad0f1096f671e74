import pytest

from guest.hypervisor import Console, console, own_kernel, root_disk
from guest.instance import Instance


def instance(hypervisor: str = "kvm", **hv: str) -> Instance:
    return Instance.from_environ(
        {
            "OS_API_VERSION": "20",
            "INSTANCE_NAME": "web1.example.org",
            "HYPERVISOR": hypervisor,
            "DISK_COUNT": "1",
            "DISK_0_PATH": "/dev/vg/web1",
            "DISK_0_ACCESS": "rw",
            "NIC_COUNT": "0",
            **{f"INSTANCE_HV_{key}": value for key, value in hv.items()},
        }
    )


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (instance(serial_console="True", serial_speed="115200"), Console("ttyS0", 115200)),
        (instance(serial_console="True"), Console("ttyS0", 38400)),
        (instance(serial_console="False"), None),
        (instance("xen-pvm"), Console("hvc0", None)),
        (instance("xen-hvm"), Console("ttyS0", 38400)),
        (instance("lxc"), None),
    ],
)
def test_console(made: Instance, expected: Console | None) -> None:
    assert console(made) == expected


def test_kernel_arguments() -> None:
    assert Console("ttyS0", 9600).kernel_argument == "ttyS0,9600n8"
    assert Console("hvc0", None).kernel_argument == "hvc0"


@pytest.mark.parametrize(
    ("made", "own"),
    [
        (instance(kernel_path=""), True),
        (instance(), True),
        (instance(kernel_path="/boot/vmlinuz-3-kvmU"), False),
        (instance("lxc"), False),
        # What Ganeti 3.0 gives these by default.
        (instance("xen-hvm", kernel_path="/usr/lib/xen/boot/hvmloader"), True),
        (instance("xen-pvm", kernel_path="/boot/vmlinuz-3-xenU", use_bootloader="False"), False),
        (instance("xen-pvm", kernel_path="/boot/vmlinuz-3-xenU", use_bootloader="True"), True),
    ],
)
def test_own_kernel(made: Instance, own: bool) -> None:
    assert own_kernel(made) is own


@pytest.mark.parametrize(
    ("made", "disk"),
    [
        (instance(disk_type="paravirtual"), "/dev/vda"),
        (instance(disk_type="scsi-hd"), "/dev/sda"),
        (instance(disk_type="ide"), "/dev/sda"),
        (instance(), "/dev/vda"),
        (instance("xen-pvm"), "/dev/xvda"),
    ],
)
def test_root_disk(made: Instance, disk: str) -> None:
    assert root_disk(made) == disk
