"""`--info` and `--inspect`: what images hold, and what their guest is configured for.

Its file systems are read in the libguestfs appliance, never by the node's kernel.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.contents.describe import Image, describe, work
from converter.contents.guest_config import (
    NETWORK,
    REFERRING,
    Reference,
    Setting,
    addresses,
    missing,
    references,
)
from converter.contents.report import image_json, render
from converter.sources import LOCAL_FORMATS, open_source
from converter.sources.base import Disk, Source
from node.appliance import FileSystem, GuestFiles, open_disks_read_only
from node.errors import KitError
from node.text import printable

# What the appliance lists beside file systems that can be mounted.
NO_FILE_SYSTEMS = {"swap", "unknown", "crypto_LUKS", "LVM2_member", "linux_raid_member"}


@dataclass(frozen=True)
class Findings:
    """What the files in all file systems say."""

    missing: tuple[Reference, ...]
    addresses: tuple[Setting, ...]
    warnings: tuple[str, ...]


def report(
    names: Sequence[str],
    image_format: str | None,
    *,
    deep: bool,
    as_json: bool,
    use_kvm: bool = True,
) -> str:
    """What --info, and --inspect (`deep`), print of sources.

    Args:
        names: the sources, all of one guest's where `deep` is set.
        image_format: as --format has it, of all of them.
        deep: whether to look into the guest's file systems.
        as_json: as JSON: {"images": [...]}, and "guest" with `deep`.
        use_kvm: whether the node's KVM may be used for that.

    Raises:
        KitError: a source cannot be opened or is not sound; the appliance does not start.
    """
    images: list[Image] = []
    findings = None
    with ExitStack() as stack:
        disks = []
        for name in names:
            source = stack.enter_context(open_source(name, image_format))
            if deep:
                disks.append(_appliance_disk(source))
            images.append(_image(source))
        if deep:
            tags = {tag for image in images for tag in image.contents.tags}
            findings = look_inside(disks, tags, use_kvm=use_kvm)
    if as_json:
        shown: dict[str, Any] = {"images": [image_json(image) for image in images]}
        if findings is not None:
            shown["guest"] = findings_json(findings)
        return json.dumps(shown, indent=2)
    parts = [*map(render, images), *([findings_text(findings)] if findings else [])]
    return "\n".join(parts).rstrip("\n")


def _image(source: Source) -> Image:
    with closing(Disk(source)) as disk:
        try:
            contents = describe(disk.read, source.size)
        except ValueError as error:
            raise KitError(f"source {source.name}: {error}", hint="is the source whole?") from error
    todo = work(source.extents(), contents.swap)
    return Image(source.name, source.format, contents, todo, source.features)


def _appliance_disk(source: Source) -> tuple[Path, str]:
    if "://" in source.name or source.format not in LOCAL_FORMATS:
        raise KitError(
            f"source {source.name}: --inspect reads local raw and qcow2 images only",
            hint="copy it first, and inspect the copy with --format raw",
        )
    try:
        source.name.encode()
    except UnicodeEncodeError as error:
        raise KitError(
            f"source {source.name}: libguestfs takes names of UTF-8 only",
            hint="make a symbolic link to it that has such a name, and inspect that",
        ) from error
    return Path(source.name), source.format


def look_inside(
    disks: Sequence[tuple[Path, str]], tags: Iterable[tuple[str, str]], *, use_kvm: bool = True
) -> Findings:
    """Reads the configuration of whatever guest is on the disks; none is written to.

    Args:
        disks: all of the guest's, each with its format; opened and checked as sources before.
        tags: what was found on them already (`DiskReport.tags`), as PARTUUIDs.
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
        warnings.append("what is encrypted was not looked into; what seems missing may be there")
    if not any(one.file == "/etc/fstab" for one in named):
        warnings.append("no /etc/fstab that names a file system was found")
    return Findings(tuple(missing(named, all_tags)), tuple(settings), tuple(warnings))


def findings_text(findings: Findings) -> str:
    """The findings for people, one a line."""
    lines = [
        f"{one.file}:{one.line}: {one.tag}={one.value} is on none of the disks given: {one.text}"
        for one in findings.missing
    ]
    lines += [f"{one.file}:{one.line}: {one.interface}: {one.value}" for one in findings.addresses]
    lines += [f"warning: {warning}" for warning in findings.warnings]
    return "".join(f"{printable(line)}\n" for line in lines)


def findings_json(findings: Findings) -> dict[str, Any]:
    """The findings as JSON."""
    return {
        "missing": [one._asdict() for one in findings.missing],
        "addresses": [one._asdict() for one in findings.addresses],
        "warnings": list(findings.warnings),
    }


def _tags(listed: Iterable[FileSystem]) -> set[tuple[str, str]]:
    return {
        (tag, v) for one in listed for tag, v in (("UUID", one.uuid), ("LABEL", one.label)) if v
    }


def _contents(files: GuestFiles, patterns: Iterable[str]) -> Iterable[tuple[str, str]]:
    for pattern in patterns:
        for path in files.matching(pattern):
            if (content := files.read(path)) is not None:
                yield path, content
