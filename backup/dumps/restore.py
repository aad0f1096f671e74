"""`import` of a dump: the disk is laid out as for a new guest, and its files come from the dump.

restore(8) is not used. That of Debian 12 cannot read the dumps of Debian 13, that of Debian 13
loses capabilities of files, both lose device numbers and files with long names, and both succeed
where parts of a dump are missing.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from backup.disks.held_back import EDGE, spoil
from backup.disks.raw_size import EXT
from backup.dumps import boot_loader, guest
from backup.dumps.naming import Naming
from backup.dumps.reader import DumpReader, Sink, Start
from backup.dumps.records import Inode
from backup.dumps.staging import NAME, Staging
from backup.import_ import in_words, keep_head
from backup.options import ImportOptions
from backup.streams.frames import Frames
from backup.streams.stream import StreamError
from converter.buffers import buffer
from converter.target.device import Target, open_target
from guest.instance import Disk, Instance
from installer import inputs
from installer.create import require_tools
from installer.disks import prepare
from installer.disks.layout import Layout, plan_only_root
from installer.guest_tree import GuestTree
from installer.settings import Settings, load
from node import appliance
from node.devices.claim import Backing
from node.errors import KitError
from node.log import log, step
from node.run import run
from node.text import size

# The guest may be as old as dumps are: its file system gets no feature that came later.
OLDEST_SUITE = "woody"
LINE = 1 << 30  # bytes between two lines of progress


@dataclass(frozen=True)
class Plan:
    """What is decided before the disk is written."""

    instance: Instance
    settings: Settings
    disk: Disk
    boots: bool  # whether it needs a boot loader


def import_dump(
    options: ImportOptions,
    index: int,
    frames: Frames,
    environ: Mapping[str, str],
    os_dir: Path,
) -> None:
    """Restores a disk from a dump; in namespaces of its own (`contained`).

    Where it fails, the disk has no partition table or file system.

    Args:
        options: the disk.
        index: its number in the instance.
        frames: the dump.
        environ: of the OS script.
        os_dir: of the OS definition.

    Raises:
        KitError: the dump is damaged or does not fit, the disk cannot be written, or the guest gets
            no boot loader.
    """
    with in_words(options.what, options.stream):
        reader = DumpReader(frames)
        start = reader.start()
        plan = _plan(index, environ, os_dir)
        log.info("%s: a dump of %s with %d files", options.stream, start.device, start.inodes)
        with _opened(options) as target:
            layout = _layout(options, plan, target)
            with _spoiled_by_failure(options, reader, target):
                bootable = _restore(reader, start, plan, layout, target)
        if plan.boots and not bootable:
            log.warning("the guest has no GRUB: it starts only with a kernel of the node")
        elif plan.boots:
            # All of the dump is on the disk by now, and its sender may have removed its own.
            try:
                uuid, bare = str(layout.root.uuid), not layout.root.partitions
                boot_loader.install(Path(options.device), plan.instance, uuid, bare=bare)
            except BaseException:
                _without_boot_loader(options)
                raise
        log.info("%s: restored from the dump", target.name)


def _plan(index: int, environ: Mapping[str, str], os_dir: Path) -> Plan:
    """Decides and checks what does not need the disk.

    Raises:
        KitError: the settings are wrong, or the node lacks something.
    """
    instance = inputs.read_instance(environ)
    disk = next((disk for disk in instance.disks if disk.index == index), None)
    if disk is None:
        raise KitError(
            f"environment of the OS script: there is no disk {index} in it",
            hint="this program is run by Ganeti",
        )
    settings = load.load(instance.variant, environ, os_dir=os_dir).settings
    if settings.filesystem not in EXT:
        log.info("its file system is ext4, not %s: the guest was made for ext", settings.filesystem)
        settings = replace(settings, filesystem="ext4")
    if index and settings.partition_style == "gpt":
        # ganeti-instance-debootstrap gives each disk one partition, or none.
        settings = replace(settings, partition_style="msdos")
    if not settings.arch:
        architecture = run(["dpkg", "--print-architecture"]).stdout.strip()
        settings = replace(settings, arch=architecture)
    boots = boot_loader.is_wanted(instance, settings, index)
    if boots:
        appliance.require_installed()
    return Plan(instance, settings, disk, boots)


@contextmanager
def _opened(options: ImportOptions) -> Iterator[Target]:
    with open_target(options.device, size_needed=0, force=True, allow_file=True) as target:
        yield target


def _layout(options: ImportOptions, plan: Plan, target: Target) -> Layout:
    """The layout of the disk, whose needs are checked.

    Raises:
        KitError: the disk is too small, or the node lacks a program.
    """
    disk = replace(plan.disk, path=options.device)
    try:
        layout = plan_only_root(disk, target.size, plan.settings, uuid4)
    except ValueError as error:
        raise KitError(
            f"import of {plan.instance.name}: {error}",
            hint="see DISKS in ganeti-os-debootstrap(7)",
        ) from error
    require_tools(prepare.tools(layout), "import")
    prepare.make_build_directory()
    return layout


def _restore(reader: DumpReader, start: Start, plan: Plan, layout: Layout, target: Target) -> bool:
    """Makes the file system and all of its files; returns whether the guest has GRUB."""
    index = layout.root.disk.index
    backing = Backing(target.path, target.size, target.fd, target.is_block)
    with step("dump"), prepare.prepared(layout, OLDEST_SUITE, {index: backing}) as made:
        room = os.statvfs(made.root)
        if room.f_ffree < start.inodes:
            raise _too_small(plan, index, f"{start.inodes} files need more inodes than it gets")
        try:
            bootable = _fill(reader, made.root, layout)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _too_small(plan, index, "the files of the dump do not fit") from error
            raise KitError(
                f"import of disk {index} of {plan.instance.name}: {error.filename or 'a file'}:"
                f" {error.strerror}",
                hint="dmesg tells what became of its disk",
            ) from error
    log.info("%s: all files are written and flushed", target.name)
    return bootable


def _fill(reader: DumpReader, top: Path, layout: Layout) -> bool:
    """Makes all files in an empty file system; returns whether the guest has GRUB."""
    with closing(Staging(top)) as staging:
        reader.inodes(_Told(staging))
        staging.end()
        log.info("all of the dump has come: naming its files")
        naming = Naming(staging, top, reader.short)
        root = naming.name_all()
        tree = GuestTree(root)
        if layout.root.disk.index == 0:
            guest.make_right(tree, str(layout.root.uuid), str(layout.root.fstype))
        bootable = guest.has_grub(tree)
        naming.move_up(root)
    return bootable


def _too_small(plan: Plan, index: int, why: str) -> KitError:
    return KitError(
        f"import of disk {index} of {plan.instance.name}: the disk is too small: {why}",
        hint=f"give it more: --disk {index}:size=...; config.ini in the export's directory has the"
        " size that it had",
    )


class _Told:
    """A sink that says how far it is: a dump does not tell how much comes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._bytes = 0
        self._next = LINE

    def begin(self, number: int, inode: Inode, /) -> None:
        """As the sink."""
        self._sink.begin(number, inode)

    def data(self, place: int, view: memoryview, /) -> None:
        """As the sink."""
        self._sink.data(place, view)
        self._bytes += len(view)
        if self._bytes >= self._next:
            self._next = self._bytes + LINE
            log.info("%s of files", size(self._bytes))

    def attributes(self, data: bytes, /) -> None:
        """As the sink."""
        self._sink.attributes(data)


@contextmanager
def _spoiled_by_failure(
    options: ImportOptions, reader: DumpReader, target: Target
) -> Iterator[None]:
    """Where what follows fails, makes the ends of the disk zero.

    Once all of a dump has come, and nothing is wrong with it, its sender may have removed its own:
    then the start of the disk is kept.
    """
    try:
        yield
    except StreamError:
        spoil(target)
        raise
    except BaseException:
        if not reader.has_ended:
            spoil(target)
        else:
            _take_back(
                options, target, f"all of the dump is on the disk, below /{NAME} or at its place"
            )
        raise


def _without_boot_loader(options: ImportOptions) -> None:
    """Takes back a disk that is whole but for its boot loader.

    A failure of this must not hide why it is called.
    """
    what = "the disk is whole, but its boot loader could not be installed"
    try:
        with _opened(options) as target:
            _take_back(options, target, what)
    except KitError as error:
        log.warning("%s: it stays as it is: %s", what, error.message)


def _take_back(options: ImportOptions, target: Target, what: str) -> None:
    """Keeps the start of a disk elsewhere and makes it zero; if that fails, the disk stays."""
    head = buffer(min(EDGE, target.size))
    try:
        target.read_into(head, 0)
    except KitError as error:
        log.warning("%s: it stays as it is: %s", what, error.message)
        return
    if keep_head(options, head.tobytes(), what):
        spoil(target, only_head=True)
