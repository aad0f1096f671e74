"""`rename`: the new name goes into the installed guest, without the node's kernel mounting it."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from guest.hosts import own_name, renamed
from installer.inputs import read_instance
from node.appliance import GuestFiles, open_guest
from node.devices.claim import claimed
from node.errors import KitError
from node.isolation.mount import mounted
from node.log import log, step

HOSTNAME = "/etc/hostname"
MAILNAME = "/etc/mailname"
HOSTS = "/etc/hosts"


def rename(environ: Mapping[str, str]) -> None:
    """Renames the guest inside: host name, mail name, hosts.

    Raises:
        KitError: its disks are in use, or it does not bear the old name.
    """
    instance = read_instance(environ)
    old = instance.old_name
    if old is None:
        raise KitError(
            "environment of the OS script: OLD_INSTANCE_NAME is missing",
            hint="it is Ganeti that runs this program",
        )
    disks = [Path(disk.path) for disk in instance.disks if disk.path is not None]
    if not disks:
        raise KitError(
            f"instance {instance.name}: none of its disks has a path on this node",
            hint="rename it from inside: /etc/hostname, /etc/mailname, /etc/hosts",
        )
    for disk in disks:
        with claimed(disk):
            pass  # in use by nobody; QEMU's own locks guard it from here on
    with (
        ExitStack() as stack,
        step(f"rename of {old} to {instance.name}"),
    ):
        if not any(disk.resolve().is_relative_to("/tmp") for disk in disks):
            # libguestfs keeps its sockets there: after a SIGKILL nothing stays of this one.
            stack.enter_context(mounted("tmpfs", Path("/tmp"), fstype="tmpfs"))
        files = stack.enter_context(
            open_guest(disks, use_kvm=instance.hv.get("kvm_flag") != "disabled")
        )
        _rename_in(files, old, instance.name)


def new_hostname(text: str, old: str, new: str) -> str | None:
    """What /etc/hostname becomes: long stays long, short stays short; None: not the old name.

    Raises:
        KitError: the new name is longer than Linux takes.
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
            f"{HOSTNAME} in the guest: it says {hostname.strip()!r}, not {old}",
            hint="the guest was renamed from inside; rename it there again",
        )
    files.write(HOSTNAME, changed)
    log.info("%s says %s", HOSTNAME, changed.strip())
    mailname = files.read(MAILNAME)
    if mailname is not None and mailname.strip() == old:
        files.write(MAILNAME, f"{new}\n")
        log.info("%s says %s", MAILNAME, new)
    hosts = files.read(HOSTS)
    if hosts is not None and renamed(hosts, old, new) != hosts:
        files.write(HOSTS, renamed(hosts, old, new))
        log.info("%s says %s", HOSTS, new)
