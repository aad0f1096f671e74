"""Disk images on the KVM host: what QEMU says of them, and their disks read over NBD.

An image's format is that of the domain's XML; it is never probed, since a guest may write any
header into a raw image. No other file that an image names is opened.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from converter.errors import ImageRefused, SourceInUse
from converter.sources.base import Source
from converter.sources.qemu_image import CLIENTS, driver_options
from converter.sources.refusal import refusal
from importer.domains.domain import SourceDisk
from importer.host.connection import KvmHost
from node.errors import KitError

START_SECONDS = 30.0
# A bitmap has it while a QEMU has the image open; or if one ended without saving the bitmap.
_IN_USE = "in-use"

# $1: the image, $2: maximum number of connections; the rest: options of qemu-nbd. It ends at the
# end of its stdin: that of the connection, or of our interest.
_SERVE = """
umask 077
dir=$(mktemp -d -t ganeti-instance-kit.XXXXXXXX)
server=
tidy() {
  trap - EXIT HUP INT TERM PIPE
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || :; wait "$server" || :; fi
  rm -rf "$dir"
}
trap tidy EXIT
trap 'exit 1' HUP INT TERM PIPE
image=$1 clients=$2
shift 2
qemu-nbd --read-only --persistent --shared="$clients" --socket="$dir/nbd" \\
  --pid-file="$dir/pid" "$@" "$image" </dev/null >&2 &
server=$!
while ! [ -s "$dir/pid" ]; do # it listens before it has opened the image
  kill -0 "$server" 2>/dev/null || exit 1
  sleep 0.05
done
echo "$dir/nbd"
cat >/dev/null
"""


@dataclass(frozen=True)
class ImageInfo:
    """What `qemu-img info` says of an image; bytes.

    Attributes:
        size: of its disk.
        allocated: what the file takes up; 0 for a block device.
        version: of the format qcow2, 2 or 3; None for raw.
        backing: the name of its backing file, or None.
        data_file: the name of its external data file, or None.
        is_encrypted: whether it is.
        is_corrupt: whether QEMU has found it to be damaged.
        bitmaps: the names of its bitmaps, and whether they are marked as in use.
        snapshots: the names of its internal snapshots.
    """

    size: int
    allocated: int
    version: int | None
    backing: str | None
    data_file: str | None
    is_encrypted: bool
    is_corrupt: bool
    bitmaps: Mapping[str, bool]
    snapshots: tuple[str, ...]


class Served(NamedTuple):
    """The unix sockets of an NBD server: one of this node, and the server's own on its host."""

    local: Path
    remote: str


def info_argv(disk: SourceDisk) -> list[str]:
    """The command that describes an image, also while a QEMU has it open."""
    image = driver_options(disk.format, disk.path, is_block=disk.is_block, force_share=True)
    return ["qemu-img", "info", "--force-share", "--output=json", image]


def image_info(host: KvmHost, disk: SourceDisk) -> ImageInfo:
    """Describes the image of a disk.

    Raises:
        HostLost: the connection is lost.
        KitError: QEMU cannot read it.
    """
    what = f"qemu-img info of {disk.path}"
    ended = host.run(info_argv(disk), what=what, check=False)
    if ended.exit_code:
        raise _refused(host.name, disk, ended.stderr.splitlines())
    try:
        return parse_info(ended.stdout)
    except ValueError as error:
        raise KitError(
            f"{what} on {host.name}: its output is not as expected: {error}",
            hint="see `qemu-img info` and `qemu-img --version` there",
        ) from error


def parse_info(text: str) -> ImageInfo:
    """Parses the output of `qemu-img info --output=json`.

    Raises:
        ValueError: it is something else.
    """
    found = json.loads(text)
    try:
        special: dict[str, Any] = (found.get("format-specific") or {}).get("data") or {}
        compat = special.get("compat")
        return ImageInfo(
            size=_count(found["virtual-size"]),
            allocated=_count(found.get("actual-size", 0)),
            version=None if compat is None else 2 if compat == "0.10" else 3,
            backing=found.get("backing-filename"),
            data_file=special.get("data-file"),
            is_encrypted=bool(found.get("encrypted") or special.get("encrypt")),
            is_corrupt=bool(special.get("corrupt")),
            bitmaps={
                str(each["name"]): _IN_USE in each["flags"] for each in special.get("bitmaps", ())
            },
            snapshots=tuple(str(each["name"]) for each in found.get("snapshots", ())),
        )
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"not a number of bytes: {value!r}")
    return value


def serve_argv(
    disk: SourceDisk, *, bitmap: str | None = None, force_share: bool = False
) -> list[str]:
    """The command that serves a disk on a socket; it prints the socket's path when it is there."""
    image = driver_options(disk.format, disk.path, is_block=disk.is_block, force_share=force_share)
    options = [] if bitmap is None else [f"--bitmap={bitmap}"]
    return ["sh", "-euc", _SERVE, "serve", image, str(CLIENTS), *options]


@contextmanager
def served(
    host: KvmHost, disk: SourceDisk, *, bitmap: str | None = None, force_share: bool = False
) -> Iterator[Served]:
    """Serves a disk by qemu-nbd on the KVM host, read-only; yields its sockets.

    Args:
        host: the KVM host.
        disk: of a domain that is off, unless `force_share` is set.
        bitmap: of the image; it is exported as the context qemu:dirty-bitmap:NAME.
        force_share: whether to read it although a QEMU may be writing to it. What is read may then
            be of different moments.

    Raises:
        HostLost: the connection is lost.
        KitError: QEMU does not open the image: it is in use, damaged, or cannot be read.
    """
    argv = serve_argv(disk, bitmap=bitmap, force_share=force_share)
    with host.service(argv, what=f"qemu-nbd of {disk.path}") as service:
        try:
            socket = service.line(START_SECONDS)
        except KitError:
            said = list(service.complaints)
            if not said or host.is_lost():
                raise
            raise _refused(host.name, disk, said) from None
        with host.forwarded(socket) as forwarded:
            yield Served(forwarded, socket)


@contextmanager
def opened(host: KvmHost, disk: SourceDisk, *, force_share: bool = False) -> Iterator[Source]:
    """Opens the disk of an image on the KVM host; see `served`.

    Raises:
        HostLost: the connection is lost.
        KitError: QEMU does not open the image, or it cannot be read.
    """
    from converter.sources.nbd import NbdSource, unix_uri  # only where a disk is read

    name = f"{disk.path} on {host.name}"
    origin = {"host": host.name, "path": disk.path}
    with served(host, disk, force_share=force_share) as there:
        with host.first_use(name):
            source = NbdSource(unix_uri(str(there.local)), name, disk.format, origin)
        try:
            yield source
        finally:
            source.close()


def _refused(host: str, disk: SourceDisk, said: Sequence[str]) -> KitError:
    name = f"{disk.path} on {host}"
    if any('" lock' in line for line in said):
        return SourceInUse(
            f"source {name}: in use: a running QEMU has it open",
            hint="is the domain really off? does another one use the same image?",
        )
    if any("No such file or directory" in line for line in said):
        return ImageRefused(
            f"source {name}: it does not exist",
            hint="is its file system mounted there, or its volume active (lvs, lvchange -ay)?",
        )
    if any("Permission denied" in line for line in said):
        return ImageRefused(
            f"source {name}: the user there may not read it", hint="connect as root: root@HOST"
        )
    return refusal(name, disk.format, said, internal=disk.path, path=disk.path, host=host)
