"""Describes sources, and reads the configuration of their guest.

The guest's file systems are read in the libguestfs appliance, never by the node's kernel.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from converter.contents.describe import Image, work
from converter.contents.describe import describe as describe_disk
from converter.contents.guest_config import (
    NETWORK,
    REFERRING,
    Reference,
    Setting,
    addresses,
    missing,
    references,
)
from converter.errors import NotInspectable
from converter.sources import LOCAL_FORMATS
from converter.sources.base import Disk, Source
from node.appliance import open_disks_read_only
from node.errors import KitError
from node.guest_files import FileSystem, GuestFiles

# Types in the appliance's list that cannot be mounted.
NO_FILE_SYSTEMS = {"swap", "unknown", "crypto_LUKS", "LVM2_member", "linux_raid_member"}


@dataclass(frozen=True)
class Findings:
    """The findings in the configuration files of all file systems."""

    missing: tuple[Reference, ...]
    addresses: tuple[Setting, ...]
    warnings: tuple[str, ...]


def describe(source: Source) -> Image:
    """Describes what is on a source's disk, and the work of a copy.

    Raises:
        KitError: the source cannot be read, or is short.
    """
    with closing(Disk(source)) as disk:
        try:
            contents = describe_disk(disk.read, source.size)
        except ValueError as error:
            raise KitError(
                f"source {source.name}: {error}", hint="is the source complete?"
            ) from error
    todo = work(source.extents(), contents.swap)
    return Image(source.name, source.format, contents, todo, source.features)


def guest_config(sources: Sequence[Source], images: Sequence[Image]) -> Findings:
    """Reads the configuration of the guest with these disks; writes to none.

    Args:
        sources: all disks of the guest: local files or devices, raw or qcow2.
        images: the result of `describe` for each.

    Raises:
        NotInspectable: the appliance cannot open a source.
        KitError: the appliance does not start.
    """
    disks = [_appliance_disk(source) for source in sources]
    return look_inside(disks, {tag for image in images for tag in image.contents.tags})


def _appliance_disk(source: Source) -> tuple[Path, str]:
    if "://" in source.name or source.format not in LOCAL_FORMATS:
        raise NotInspectable(source.name)
    try:
        source.name.encode()
    except UnicodeEncodeError as error:
        raise KitError(
            f"source {source.name}: libguestfs supports only names in UTF-8",
            hint="create a symbolic link to it with such a name, and inspect that",
        ) from error
    return Path(source.name), source.format


def look_inside(
    disks: Sequence[tuple[Path, str]], tags: Iterable[tuple[str, str]], *, use_kvm: bool = True
) -> Findings:
    """Reads the configuration of the guest on these disks; writes to none.

    Args:
        disks: all disks of the guest, each with its format; already checked as sources.
        tags: already found on them (`DiskReport.tags`), such as PARTUUIDs.
        use_kvm: whether the node's KVM may be used.

    Raises:
        KitError: the appliance does not start.
    """
    all_tags = set(tags)
    named: list[Reference] = []
    settings: list[Setting] = []
    warnings: list[str] = []
    with open_disks_read_only(disks, use_kvm=use_kvm) as appliance:
        listed = appliance.file_systems()
        all_tags |= _tags(listed)
        for file_system in listed:
            if file_system.type in NO_FILE_SYSTEMS:
                continue
            try:
                with appliance.mounted(file_system) as files:
                    for path, content in _contents(files, REFERRING):
                        named += references(path, content)
                    for path, content in _contents(files, NETWORK):
                        settings += addresses(path, content)
            except KitError as error:
                warnings.append(error.message)
    if any(one.type == "crypto_LUKS" for one in listed):
        warnings.append("encrypted file systems were not read; what seems missing may be there")
    if not any(one.file == "/etc/fstab" for one in named):
        warnings.append("no /etc/fstab that names a file system was found")
    return Findings(tuple(missing(named, all_tags)), tuple(settings), tuple(warnings))


def _tags(listed: Iterable[FileSystem]) -> set[tuple[str, str]]:
    return {
        (tag, v) for one in listed for tag, v in (("UUID", one.uuid), ("LABEL", one.label)) if v
    }


def _contents(files: GuestFiles, patterns: Iterable[str]) -> Iterable[tuple[str, str]]:
    for pattern in patterns:
        for path in files.matching(pattern):
            if (content := files.read(path)) is not None:
                yield path, content
