"""Volumes of libvirt's storage pools that a domain's disks name."""

from importer.domains.domain_xml import Volumes, parse_volume, pool_volumes
from importer.host.virsh import Virsh


def volumes_of(virsh: Virsh, xml: str) -> Volumes:
    """The volumes that the XML of a domain names.

    Raises:
        HostLost: the connection is lost.
        KitError: libvirt does not know one of them.
    """
    return {each: parse_volume(virsh.volume_xml(*each)) for each in pool_volumes(xml)}
