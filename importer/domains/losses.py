"""What a domain's XML shows that its instance will not have by itself. Pure.

Nothing of it keeps the domain from being moved, so it is told to the reader of the inventory and
the plan. The elements are those of libvirt's documentation, formatdomain.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from importer.domains.obstacles import QEMU

_AGENT = "org.qemu.guest_agent.0"
_CLOCK_SECONDS = 60  # guests that keep their time by NTP write differences of some seconds
# Limits and placement on the KVM host, by their path below <domain>.
_PLACEMENT = {
    "memoryBacking/hugepages": "huge pages",
    "numatune": "NUMA nodes",
    "cputune": "pinning or limits of CPUs",
    "memtune": "limits of memory",
    "blkiotune": "weights of disk I/O",
}
# Devices by their tag below <devices>, with the attribute that tells which they are.
_DEVICES = {
    "watchdog": "model",
    "rng": "model",
    "vsock": "model",
    "sound": "model",
    "panic": "model",
    "crypto": "model",
    "iommu": "model",
    "parallel": "type",
    "graphics": "type",
}
# What a NIC has of its own, by its path below <interface>.
_NICS = {
    "link[@state='down']": "its cable is pulled",
    "filterref": "packet filter of the KVM host",
    "vlan": "VLAN tags",
    "bandwidth": "limits of bandwidth",
    "mtu": "MTU",
    "port[@isolated='yes']": "isolation from other ports of the bridge",
}


def of_domain(top: Element) -> Iterator[str]:
    """What the instance of a domain will not have by itself, each with what can be done."""
    yield from _processor(top)
    yield from _clock(top)
    if _boots_from_network(top):
        yield "it boots from the network first; the instance boots from disk 0 only"
    if top.find("sysinfo") is not None:
        yield "SMBIOS texts of its own (sysinfo), which licences or cloud-init may look for"
    if top.find(f"{QEMU}override") is not None:
        yield "changed properties of QEMU's devices (qemu:override)"
    if top.find("os/acpi/table") is not None:
        yield "an ACPI table of its own, which is mostly a licence of Windows"
    for nic in top.iterfind("devices/interface"):
        mac = nic.find("mac")
        yield from _listed(
            f"NIC {mac.get('address', '') if mac is not None else ''}",
            [word for path, word in _NICS.items() if nic.find(path) is not None],
        )
    for disk in top.iterfind("devices/disk"):
        target = disk.find("target")
        if disk.get("device", "disk") in ("disk", "lun"):
            name = target.get("dev", "") if target is not None else ""
            yield from _listed(f"disk {name}", list(_of_disk(disk)))
    yield from _listed("placement", [w for path, w in _PLACEMENT.items() if _has(top, path)])
    yield from _listed("devices", list(_devices(top)))


def cpu_features(top: Element) -> tuple[str, ...]:
    """What is added to the CPU's model, or taken from it: +vmx, -hle; in libvirt's names."""
    signs = {"require": "+", "force": "+", "disable": "-", "forbid": "-"}
    return tuple(
        f"{signs[policy]}{feature.get('name', '')}"
        for feature in top.iterfind("cpu/feature")
        if (policy := feature.get("policy", "require")) in signs
    )


def _listed(about: str, words: list[str]) -> Iterator[str]:
    if words:
        yield f"{about}: {', '.join(words)}"


def _has(top: Element, path: str) -> bool:
    return top.find(path) is not None


def _processor(top: Element) -> Iterator[str]:
    vcpu = top.find("vcpu")
    most = (vcpu.text or "").strip() if vcpu is not None else ""
    if vcpu is not None and vcpu.get("current", most) != most:
        yield f"CPUs that can be added while it runs ({most} at most)"
    topology = top.find("cpu/topology")
    if topology is not None:
        parts = [f"{word} {topology.get(word, '1')}" for word in ("sockets", "cores", "threads")]
        yield (
            f"topology of its CPUs: {', '.join(parts)}; some guests (Windows) count sockets:"
            " cpu_sockets, cpu_cores and cpu_threads"
        )
    hyper_v = top.find("features/hyperv")
    names = (
        [each.tag for each in hyper_v if each.get("state") == "on"] if hyper_v is not None else []
    )
    if names:
        yield (
            f"enlightenments of Hyper-V, for Windows: {', '.join(names)}; cpu_type takes them as in"
            " host,hv_relaxed"
        )


def _clock(top: Element) -> Iterator[str]:
    clock = top.find("clock")
    offset = clock.get("offset") if clock is not None else None
    if clock is None or offset in (None, "utc", "localtime"):
        return
    if offset == "timezone":
        yield (
            f"its clock has the local time of {clock.get('timezone', '')}; use_localtime has that"
            " of the node"
        )
        return
    seconds = clock.get("adjustment", "0")
    digits = seconds.removeprefix("-")
    is_small = digits.isdecimal() and len(digits) < 4 and int(digits) <= _CLOCK_SECONDS
    if offset != "variable" or not is_small:
        of = f"{seconds} s" if offset == "variable" else offset
        yield f"its clock has an offset of its own ({of}): it jumps, if the guest has no NTP"


def _boots_from_network(top: Element) -> bool:
    first = top.find("os/boot")
    if first is not None:
        return first.get("dev") == "network"
    orders = {
        kind: [int(order) for order in _orders(top, kind) if order.isdecimal() and len(order) < 9]
        for kind in ("interface", "disk")
    }
    nics, disks = orders["interface"], orders["disk"]
    return bool(nics) and (not disks or min(nics) < min(disks))


def _orders(top: Element, kind: str) -> Iterator[str]:
    for boot in top.iterfind(f"devices/{kind}/boot"):
        yield boot.get("order", "")


def _of_disk(disk: Element) -> Iterator[str]:
    driver = disk.find("driver")
    if disk.get("device") == "lun":
        yield "SCSI commands of the guest reach the device (lun)"
    if names := [disk.findtext(tag) for tag in ("serial", "wwn") if disk.findtext(tag)]:
        yield f"serial number {' '.join(filter(None, names))}, and its name in /dev/disk/by-id"
    if driver is not None and driver.get("discard") == "unmap":
        yield "discards reach its device (disk_discard unmap does that)"
    if disk.find("iotune") is not None:
        yield "limits of I/O"


def _devices(top: Element) -> Iterator[str]:
    for tag, attribute in _DEVICES.items():
        for device in top.iterfind(f"devices/{tag}"):
            # libvirt gives each machine q35 this one.
            if (kind := device.get(attribute, "")) == "itco":
                continue
            known = "screen" if tag == "graphics" else tag
            how = "; vnc_bind_address gives it one" if tag == "graphics" else ""
            yield f"{known} ({kind}{how})" if kind else known
    if len(top.findall("devices/serial")) > 1:
        yield "serial ports but the first"
    if _has(top, "devices/console/target[@type='virtio']"):
        yield "virtio console (hvc0)"
    for channel in top.iterfind("devices/channel"):
        target = channel.find("target")
        name = target.get("name", "") if target is not None else ""
        if channel.get("type") != "spicevmc" and name not in ("", _AGENT):
            yield f"channel {name}"
