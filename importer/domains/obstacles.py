"""What a domain's XML shows that cannot be moved, and what to do about it. Pure.

The remedies here have DOMAIN for the name of the domain.

The elements are those of libvirt's documentation, formatdomain.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from importer.domains.domain import Obstacle

ARCHITECTURES = ("x86_64", "i686")
# Namespace of QEMU's arguments in a domain (libvirt's documentation, drvqemu).
QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
_REMOVE = "if the guest can do without, remove it: virsh edit DOMAIN"
# Devices by their path below <domain>: what they are, and the remedy.
_DEVICES = (
    (
        "devices/hostdev",
        "a device of the host is passed through",
        f"the node has no such device; {_REMOVE}",
    ),
    (
        "devices/interface[@type='hostdev']",
        "a network card of the host is passed through",
        "give the guest a card of type bridge or network instead, and let it use that",
    ),
    (
        "devices/interface[@type='vdpa']",
        "a network card of the host is passed through (vdpa)",
        "give the guest a card of type bridge or network instead, and let it use that",
    ),
    (
        "devices/tpm",
        "it has a TPM, whose state stays on the KVM host",
        "what is sealed with it (keys of encrypted disks) needs another key; then remove it:"
        " virsh edit DOMAIN",
    ),
    (
        "devices/filesystem",
        "a directory of the KVM host is shared with it (9p, virtiofs)",
        "copy what is in there into the guest, then remove it: virsh edit DOMAIN",
    ),
    (
        "devices/shmem",
        "it shares memory with other programs of the KVM host (shmem)",
        _REMOVE,
    ),
    (
        "devices/memory[@model='nvdimm']",
        "it has persistent memory, whose content is a file of the KVM host",
        "move what is in there to a disk, then remove it: virsh edit DOMAIN",
    ),
    (
        "devices/memory[@model='virtio-pmem']",
        "it has persistent memory, whose content is a file of the KVM host",
        "move what is in there to a disk, then remove it: virsh edit DOMAIN",
    ),
    (
        "devices/smartcard",
        "it has a smart card of the KVM host",
        f"the node has none; {_REMOVE}",
    ),
    (
        "devices/serial[@type='dev']",
        "a serial port of the KVM host is passed through",
        f"the node has no such device; {_REMOVE}",
    ),
    (
        "devices/parallel[@type='dev']",
        "a parallel port of the KVM host is passed through",
        f"the node has no such device; {_REMOVE}",
    ),
    (
        "launchSecurity",
        "its memory is encrypted (launchSecurity), with keys of the KVM host's processor",
        f"Ganeti cannot do that; {_REMOVE}",
    ),
    (
        "os/kernel",
        "it boots a kernel that is a file of the KVM host",
        "install a kernel and a boot loader in the guest, and remove <kernel>: virsh edit DOMAIN",
    ),
    (
        f"{QEMU}commandline",
        "it has arguments of its own for QEMU (qemu:commandline)",
        "they are not moved; if it needs them, they may become the hypervisor parameter kvm_extra;"
        " remove them here: virsh edit DOMAIN",
    ),
)
_CHILDREN = (  # of a disk or its source
    ("shareable", "other machines may write to it (shareable)", "give the guest a disk of its own"),
    (
        "readonly",
        "the guest may only read it (readonly), and Ganeti has no such disks",
        "let it be written: remove <readonly/> by virsh edit DOMAIN, and start the domain again",
    ),
    (
        "transient",
        "what is written to it is thrown away at the end (transient)",
        "let it be written: remove <transient/> by virsh edit DOMAIN, and start the domain again",
    ),
    (
        "encryption",
        "libvirt decrypts it with a secret of the KVM host",
        "decrypt it there, while the domain is off: qemu-img convert, with --object secret",
    ),
    (
        "slices",
        "it is a part of an image (slices)",
        "make it an image of its own: qemu-img convert, or virsh blockcopy",
    ),
    (
        "reservations",
        "it has reservations of SCSI that others know of",
        "give the guest a disk of its own",
    ),
    (
        "mirror",
        "a block job copies it (blockcopy, blockcommit)",
        "wait for its end, or end it: virsh blockjob DOMAIN TARGET --abort",
    ),
    (
        "dataStore",
        "its data is in another file (dataStore)",
        "make it one image: virsh blockcopy, or qemu-img convert",
    ),
)
# Attributes of a source, by the disk's type; that of an empty drive may have others.
_MEDIA = ("file", "dev", "volume", "name", "dir")


def of_domain(top: Element) -> Iterator[Obstacle]:
    """The obstacles of a domain, without those of its disks."""
    if (kind := top.get("type", "")) not in ("kvm", "qemu"):
        yield Obstacle(
            f"it is a domain of type {kind}, not kvm", "only machines of QEMU can be moved"
        )
    machine = top.find("os/type")
    if machine is None or (machine.text or "").strip() != "hvm":
        yield Obstacle("it is no virtual machine with hardware of its own (hvm)", "move it by hand")
    elif (arch := machine.get("arch", ARCHITECTURES[0])) not in ARCHITECTURES:
        yield Obstacle(
            f"it is a machine of the architecture {arch}",
            "only machines for PCs (x86_64, i686) can be moved",
        )
    nvram = top.find("os/nvram")
    if nvram is not None and (
        nvram.get("type", "file") != "file" or nvram.get("format", "raw") != "raw"
    ):
        yield Obstacle(
            "its UEFI variables are not in a raw file",
            "convert them there, while the domain is off: qemu-img convert -O raw; then virsh edit"
            " DOMAIN",
        )
    for path, what, remedy in _DEVICES:
        for found in top.iterfind(path):
            yield Obstacle(what + _detail(found), remedy)


def _detail(found: Element) -> str:
    """What tells a device from others of its kind, or nothing."""
    words = [found.get("type", "") if found.tag == "hostdev" else ""]
    for path, name in (("target", "dir"), ("source", "path"), ("mac", "address")):
        child = found.find(path)
        words.append(child.get(name, "") if child is not None else "")
    address = found.find("source/address")
    if found.tag == "hostdev" and address is not None and address.get("slot"):
        # As lspci(8) names devices.
        parts = [address.get(name, "0x0") for name in ("domain", "bus", "slot", "function")]
        words.append("{}:{}:{}.{}".format(*(part.removeprefix("0x") for part in parts)))
    said = " ".join(word for word in words if word)
    return f": {said}" if said else ""


def of_disk(disk: Element, name: str) -> Iterator[Obstacle]:
    """The obstacles that the children of a disk show."""
    for tag, what, remedy in _CHILDREN:
        if disk.find(tag) is not None or disk.find(f"source/{tag}") is not None:
            yield Obstacle(f"disk {name}: {what}", remedy.replace("TARGET", name))


def of_medium(disk: Element, name: str) -> Iterator[Obstacle]:
    """The obstacle of a drive for media, if there is one in it."""
    source = disk.find("source")
    if source is None or not any(source.get(word) for word in _MEDIA):
        return
    yield Obstacle(
        f"{disk.get('device')} {name}: there is a medium in it",
        f"eject it: virsh change-media DOMAIN {name} --eject",
    )


def of_source(disk: Element, name: str) -> Obstacle:
    """The obstacle of a disk whose source is neither a file nor a block device."""
    kind = disk.get("type", "file")
    source = disk.find("source")
    if source is None:
        return Obstacle(
            f"disk {name}: it has no source", "give it one, or remove it: virsh edit DOMAIN"
        )
    if kind == "dir":
        return Obstacle(
            f"disk {name}: it shows a directory of the KVM host, {source.get('dir', '')}",
            "copy what is in there into the guest, then remove it: virsh edit DOMAIN",
        )
    protocol = f" ({source.get('protocol', 'of unknown protocol')})" if kind == "network" else ""
    place = "/".join(filter(None, (source.get(word) for word in ("pool", "volume", "name"))))
    pool = "" if kind != "volume" else "is the pool active (virsh pool-list --all)? else "
    return Obstacle(
        f"disk {name}: its source is of type {kind}{protocol}{f': {place}' if place else ''}",
        f"{pool}move it to a file of the KVM host while the domain runs: virsh blockcopy DOMAIN"
        f" {name} --dest FILE --transient-job --wait --pivot; then virsh edit DOMAIN",
    )


def of_format(name: str, image_format: str) -> Obstacle:
    """The obstacle of an image that is neither qcow2 nor raw."""
    return Obstacle(
        f"disk {name}: its image is of the format {image_format}",
        "convert it there, while the domain is off: qemu-img convert -O qcow2; then virsh edit"
        " DOMAIN",
    )
