"""The OS script `rename`: changes the guest's name in its files, in a libguestfs appliance.

Ganeti also runs it after each import, where the NICs may have new MAC addresses.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from guest import networkd
from guest.hosts import own_name, renamed
from guest.instance import Instance
from installer.inputs import read_instance
from node.appliance import open_guest
from node.devices.claim import claimed
from node.errors import KitError
from node.guest_files import GuestFiles
from node.isolation.mount import mounted
from node.log import log, step

HOSTNAME = "/etc/hostname"
MAILNAME = "/etc/mailname"
HOSTS = "/etc/hosts"


def rename(environ: Mapping[str, str]) -> None:
    """Changes the host name, mail name, hosts file and MAC addresses of an installed guest.

    Raises:
        KitError: its disks are in use, or it does not have the old name.
    """
    instance = read_instance(environ)
    old = instance.old_name
    if old is None:
        raise KitError(
            "environment of the OS script: OLD_INSTANCE_NAME is missing",
            hint="this program is run by Ganeti",
        )
    disks = [Path(disk.path) for disk in instance.disks if disk.path is not None]
    if not disks:
        raise KitError(
            f"instance {instance.name}: none of its disks has a path on this node",
            hint="change the name in the guest: /etc/hostname, /etc/mailname, /etc/hosts",
        )
    for disk in disks:
        with claimed(disk):
            pass  # not in use; from here on QEMU's own locks protect it
    with (
        step(f"rename of {old} to {instance.name}"),
        guest_in_appliance(disks, instance) as files,
    ):
        _rename_in(files, old, instance.name)
        _link_nics(files, instance)


@contextmanager
def guest_in_appliance(
    disks: list[Path], instance: Instance, *, read_only: bool = False
) -> Iterator[GuestFiles]:
    """Opens a guest's disks in the libguestfs appliance; in namespaces, see `contained`.

    Raises:
        KitError: see `node.appliance.open_guest`.
    """
    with ExitStack() as stack:
        if not any(disk.resolve().is_relative_to("/tmp") for disk in disks):
            # libguestfs makes its sockets in /tmp. On this tmpfs nothing stays after a SIGKILL.
            stack.enter_context(mounted("tmpfs", Path("/tmp"), fstype="tmpfs"))
        use_kvm = instance.hv.get("kvm_flag") != "disabled"
        yield stack.enter_context(open_guest(disks, use_kvm=use_kvm, read_only=read_only))


def new_hostname(text: str, old: str, new: str) -> str | None:
    """The new text of /etc/hostname; None if it does not have the old name.

    A fully qualified name stays one, and so does a short one.

    Raises:
        KitError: the new name is longer than Linux allows.
    """
    name = text.strip()
    if name not in (old, old.partition(".")[0]):
        return None
    try:
        return f"{own_name(new, short=name != old)}\n"
    except ValueError as error:
        raise KitError(
            f"host name of {new}: {error}", hint="choose a name whose first part is shorter"
        ) from None


def _rename_in(files: GuestFiles, old: str, new: str) -> None:
    hostname = files.read(HOSTNAME) or ""
    changed = new_hostname(hostname, old, new)
    if changed is None:
        raise KitError(
            f"{HOSTNAME} in the guest: it has {hostname.strip()!r}, not {old}",
            hint="the name was changed in the guest; change it there again",
        )
    files.write(HOSTNAME, changed)
    log.info("%s: the new name is %s", HOSTNAME, changed.strip())
    mailname = files.read(MAILNAME)
    if mailname is not None and mailname.strip() == old:
        files.write(MAILNAME, f"{new}\n")
        log.info("%s: the new name is %s", MAILNAME, new)
    hosts = files.read(HOSTS)
    if hosts is not None and renamed(hosts, old, new) != hosts:
        files.write(HOSTS, renamed(hosts, old, new))
        log.info("%s: the new name is %s", HOSTS, new)


def _link_nics(files: GuestFiles, instance: Instance) -> None:
    """Lets NICs with new MAC addresses keep their names, which the network's files use."""
    macs = {nic.mac for nic in instance.nics}
    for nic in instance.nics:
        path = f"/{networkd.link_path(f'eth{nic.index}')}"
        text = files.read(path)
        if text is not None and (changed := networkd.relinked(text, nic.mac, macs)) != text:
            files.write(path, changed)
            log.info("%s: the new MAC address is %s", path, nic.mac)
