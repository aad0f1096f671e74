"""An instance as Ganeti's lists describe it, in the form that its OS scripts get."""

from collections.abc import Callable, Sequence

from guest.instance import Instance
from node.errors import KitError

# Of the hypervisor, that matter to what is in the guest; a boolean is Y or N in a list.
PARAMETERS = (
    *("kvm_flag", "kernel_path", "kvm_extra"),
    *("disk_type", "scsi_controller_type"),
    *("serial_console", "serial_speed"),
)
_NIC = ("mac", "ip", "mode", "network.name")
_NETWORK = ("network", "gateway", "network6", "gateway6")
_KEYS = ("NETWORK_SUBNET", "NETWORK_GATEWAY", "NETWORK_SUBNET6", "NETWORK_GATEWAY6")
_BOOLEANS = {"Y": "True", "N": "False"}

# Kind (instance, network) and fields of its list; gives a row for each that Ganeti has.
Listed = Callable[[str, Sequence[str]], list[list[str]]]


def described(name: str, listed: Listed) -> Instance:
    """The instance of this full name, without the paths of its disks.

    Raises:
        KitError: Ganeti does not have it, or says what no OS script would be told.
    """
    hv = [f"hv/{parameter}" for parameter in PARAMETERS]
    hypervisor, count, *values = _row(
        name, listed("instance", ["name", "hypervisor", "nic.count", *hv])
    )
    environ = {
        "OS_API_VERSION": "20",
        "INSTANCE_NAME": name,
        "HYPERVISOR": hypervisor,
        "DISK_COUNT": "0",
        "NIC_COUNT": count,
    }
    for parameter, value in zip(PARAMETERS, values, strict=True):
        environ[f"INSTANCE_HV_{parameter}"] = _BOOLEANS.get(value, value)
    fields = [f"nic.{field}/{index}" for index in range(int(count)) for field in _NIC]
    nics = _row(name, listed("instance", ["name", *fields]))
    networks = {row[0]: row[1:] for row in listed("network", ["name", *_NETWORK])}
    for index in range(int(count)):
        mac, ip, mode, network = (_set(value) for value in nics[4 * index : 4 * index + 4])
        environ |= {f"NIC_{index}_MAC": mac, f"NIC_{index}_IP": ip, f"NIC_{index}_MODE": mode}
        for key, value in zip(_KEYS, networks.get(network, ()), strict=False):
            environ[f"NIC_{index}_{key}"] = _set(value)
    try:
        return Instance.from_environ(environ)
    except ValueError as error:
        raise KitError(
            f"instance {name}: what Ganeti says of it cannot be used: {error}",
            hint=f"gnt-instance info {name}",
        ) from error


def _row(name: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """The fields behind the name of the instance."""
    for own, *fields in rows:
        if own == name:
            return list(fields)
    raise KitError(f"instance {name}: Ganeti has none of that name", hint="gnt-instance list")


def _set(value: str) -> str:
    """A value of a list, "" if there is none."""
    return "" if value == "-" else value
