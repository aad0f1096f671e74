"""Images on other hosts: ssh://[user@]host[:port]/path.

Everything goes over one ssh connection. A shell script on the other host executes our commands, one
a line. It reads pieces of the image for our checks, then starts that host's qemu-nbd on a unix
socket, which ssh forwards; only allocated data is sent. Whenever the connection ends, the script's
stdin ends; then it stops qemu-nbd, and removes its files.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

from converter.errors import (
    FormatConflict,
    FormatUnknown,
    ImageRefused,
    SourceChanged,
    SourceInUse,
    SourceLost,
)
from converter.formats import foreign, qcow2
from converter.formats.disksize import Stated
from converter.formats.recognise import check_format
from converter.sources import qemu, sized
from converter.sources.base import Source
from converter.sources.nbd import NbdSource, unix_uri
from converter.sources.qemu_image import CLIENTS, driver_options
from converter.sources.refusal import refusal
from converter.sources.ssh_helper import (
    ENVIRONMENT,
    IMAGE,
    ImageState,
    Location,
    parse,
    parse_check,
    parse_state,
    socket_of,
    ssh_command,
)
from node.devices.qemu_locks import shows_writer
from node.errors import KitError
from node.service import Service, serving

Answer = TypeVar("Answer")

ANSWER_SECONDS = 120.0
CHECK_SECONDS = 6 * 3600.0  # enough for a large image on a slow disk
GRACE_SECONDS = 10.0  # for the script on the other host to clean up
COMPLAINT_SECONDS = 1.0
SSH_FAILED = 255  # exit code of ssh(1) itself; all others are those of the script
READ = 4 << 20  # maximum bytes of one answer
FORMATS = ("qcow2", "raw", *foreign.NAMES)


@contextmanager
def ssh_source(url: str, image_format: str | None = None) -> Iterator[Source]:
    """Opens an image on another host, with the same checks as for a local image.

    Args:
        url: ssh://[user@]host[:port]/path[?format=F].
        image_format: one of FORMATS; by default that of the URL, else raw for a block device and
            qcow2 for a file.

    Raises:
        SourceLost: the host cannot be reached, or does not answer any more.
        KitError: it lacks qemu-nbd; the image is in use, damaged, of another format, or needs
            other files.
    """
    location = _location(url, image_format)
    directory = f"/tmp/ganeti-instance-kit-{secrets.token_hex(8)}"
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    command = ssh_command(location, directory, CLIENTS)
    what = f"source {url}"
    with serving(command, what=what, env=environment, grace=GRACE_SECONDS) as ssh:
        remote = _RemoteScript(ssh, url, location, directory)
        state = remote.state()
        image_format = location.image_format or ("raw" if state.is_block else "qcow2")
        found = remote.checked(image_format, state)
        stated = found.stated
        remote.serve(
            image_format,
            driver_options(image_format, IMAGE, is_block=state.is_block, found=stated),
        )
        source = _connected(remote, url, image_format, location, state, found.features)
        try:
            yield sized.exactly(source, stated.size, found.tail)
        finally:
            source.close()


def _location(url: str, image_format: str | None) -> Location:
    try:
        location = parse(url)
    except ValueError as error:
        raise KitError(
            f"source {url}: {error}", hint="for example ssh://root@host/var/lib/libvirt/images/a"
        ) from error
    named = {name for name in (image_format, location.image_format) if name is not None}
    if len(named) > 1:
        raise FormatConflict(
            url, f"format {image_format} contradicts the URL's", hint="leave one of them out"
        )
    if unknown := named - set(FORMATS):
        raise FormatUnknown(url, unknown.pop(), FORMATS)
    return location._replace(image_format=named.pop() if named else None)


class _Checked(NamedTuple):
    """The result of the checks of an image."""

    stated: Stated
    features: Mapping[str, str] = {}
    tail: bytes = b""  # the last bytes of its disk, if QEMU leaves them out


class _RemoteScript:
    """The script on the other host."""

    def __init__(self, ssh: Service, url: str, location: Location, directory: str) -> None:
        self.ssh = ssh
        self._url = url
        self._location = location
        try:
            # Startup files of a login shell may print lines before it.
            while ssh.line(ANSWER_SECONDS) != directory:
                pass
        except KitError as error:
            kind = SourceLost if self._is_lost() else KitError
            raise kind(
                error.message,
                hint=f"does `ssh` to that host work without a password, does it have qemu-utils,"
                f" and may the user there read the image? ({url})",
            ) from error

    def _is_lost(self) -> bool:
        """Whether the connection failed, or nothing comes of it; else the script has ended."""
        code = self.ssh.exit_code
        return code is None or code < 0 or code == SSH_FAILED

    def _ask(self, *words: str | int, seconds: float = ANSWER_SECONDS) -> str:
        self.ssh.send(" ".join(map(str, words)))
        try:
            return self.ssh.line(seconds)
        except KitError as error:
            raise SourceLost(error.message) from error

    def _told(self, read: Callable[[str], Answer], *words: str | int, seconds: float) -> Answer:
        answer = self._ask(*words, seconds=seconds)
        try:
            return read(answer)
        except ValueError as error:
            raise KitError(
                f"source {self._url}: not an answer to {words[0]!r}: {answer[:80]!r}",
                hint="does a startup file of the user there print something?",
            ) from error

    def state(self) -> ImageState:
        """The image's present size, inode and times; raises KitError."""
        return self._told(parse_state, "state", seconds=ANSWER_SECONDS)

    def user(self) -> str:
        """What may write to the image there (mount, loop device, swap, process); "" if nothing."""
        return self._ask("users")

    def read(self, offset: int, length: int) -> bytes:
        """Reads a range of the image file, bytes; raises KitError."""
        data = bytearray()
        while len(data) < length:
            place, count = offset + len(data), min(READ, length - len(data))
            try:
                piece = base64.b64decode(self._ask("read", place, count), validate=True)
            except binascii.Error:
                piece = b""
            if len(piece) != count:
                raise KitError(
                    f"read of {self._url} at byte {place}: {self.ssh.last_words}",
                    hint="the disk or file system of that host fails: see dmesg there",
                )
            data += piece
        return bytes(data)

    def checked(self, image_format: str, state: ImageState) -> "_Checked":
        """Checks the image in the same way as a local one."""

        def written(locks: str) -> bool:  # lines, each followed by a semicolon
            return shows_writer(locks.split(";"), state.device)

        if self._told(written, "locks", state.inode, seconds=ANSWER_SECONDS):
            raise self._in_use()
        if user := self.user():
            raise SourceInUse(
                f"source {self._url}: in use: {user}",
                hint="on that host, end what writes to it, unmount or detach it; or copy from a"
                " snapshot",
            )
        if image_format in foreign.NAMES:
            stated = qemu.check(self._url, image_format, self.read, state.size)
            image = driver_options(image_format, IMAGE, is_block=state.is_block, found=stated)
            code, said = self._told(parse_check, "check", image, seconds=CHECK_SECONDS)
            if code not in qemu.SOUND:
                raise self._refused(image_format, said)
            return _Checked(stated)
        check_format(self._url, image_format, self.read, state.size, is_block=state.is_block)
        if image_format == "raw":
            return _Checked(Stated(state.size))
        try:
            image_tables = qcow2.parse(self.read, state.size)
            image_tables.check()
            tail = sized.tail_of(image_tables, self.read)
        except qcow2.FormatError as error:
            raise ImageRefused(f"source {self._url}: {error}", hint=error.hint) from error
        return _Checked(Stated(image_tables.size), image_tables.features, tail)

    def serve(self, image_format: str, image: str) -> None:
        """Starts that host's qemu-nbd; raises KitError."""
        try:
            self._ask("serve", image)
        except SourceLost:
            if self._is_lost():
                raise
            raise self._refused(image_format, list(self.ssh.complaints)) from None

    def _in_use(self) -> SourceInUse:
        return SourceInUse(
            f"source {self._url}: in use: a running QEMU writes to it",
            hint="shut that machine down, or copy from a snapshot",
        )

    def _refused(self, image_format: str, said: Sequence[str]) -> KitError:
        if any('" lock' in line for line in said):
            return self._in_use()
        path, host = self._location.path, self._location.host
        return refusal(self._url, image_format, said, internal=IMAGE, path=path, host=host)


def _connected(
    remote: _RemoteScript,
    url: str,
    image_format: str,
    location: Location,
    state: ImageState,
    features: Mapping[str, str],
) -> NbdSource:
    def check_origin() -> None:
        if remote.state() != state or remote.user():
            raise SourceChanged(
                f"source {url}: it changed while it was copied",
                hint="stop what writes to it, and copy again",
            )

    ssh = remote.ssh
    origin = {"host": location.host, "path": location.path, **state._asdict()}
    try:
        return NbdSource(
            unix_uri(socket_of(ssh.pid)),
            url,
            image_format,
            origin,
            features=features,
            check_origin=check_origin,
            last_words=lambda: ssh.complaints[-1] if ssh.complaints else None,
        )
    except KitError as error:
        # The script has seen the socket. ssh's message may come after the end of the connection.
        with suppress(KitError):
            ssh.wait_for(lambda: ssh.complained("open failed"), COMPLAINT_SECONDS)
        if ssh.complained("open failed"):
            raise KitError(
                f"source {url}: the ssh server of that host does not forward unix sockets",
                hint="in its sshd_config: AllowStreamLocalForwarding yes (for this user: Match)",
            ) from error
        raise
