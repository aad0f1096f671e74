"""Volumes of libvirt's storage pools that a domain's disks name."""

from contextlib import suppress

from importer.domains.domain_xml import Volumes, parse_volume, pool_volumes
from importer.host.virsh import Virsh
from node.errors import CommandError


def volumes_of(virsh: Virsh, xml: str) -> Volumes:
    """The volumes that the XML of a domain names, without those that libvirt does not know.

    The pool of a medium that nobody uses may be inactive, or gone.

    Raises:
        HostLost: the connection is lost.
        KitError: libvirt's answer is not that of a volume.
    """
    found = {}
    for each in pool_volumes(xml):
        with suppress(CommandError):
            found[each] = parse_volume(virsh.volume_xml(*each))
    return found
