"""The URL of an ssh:// source, the ssh command line, and the script for the other host. Pure."""

import base64
import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from converter.sources.sandbox import PLACE

IMAGE = "/dev/fd/3"  # the image's name for every program on the other host
# The commands: state; locks INODE; users; read OFFSET LENGTH; check IMAGE; serve IMAGE. Each gets
# one line as its answer. The image is opened once; /dev/fd/3 is that open file in every program.
_REMOTE_SCRIPT = r"""
set -u
dir=$1 image=$2 shared=$3 server=
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C
export PATH LC_ALL
umask 077
for tool in qemu-nbd qemu-img stat dd base64; do
  command -v "$tool" >/dev/null || { echo "the program $tool is not on that host" >&2; exit 1; }
done
if ! [ -f "$image" ] && ! [ -b "$image" ]; then
  echo "$image: no file or block device that the user there can see" >&2; exit 1
fi
exec 3<"$image"
mkdir "$dir" || exit 1
tidy() {
  trap - EXIT HUP INT TERM PIPE
  if [ -n "$server" ]; then kill "$server" 2>/dev/null; wait "$server"; fi
  rm -rf "$dir"
}
# Who has the image, or a partition or the disk of it, open for writing. stat must not wait for a
# file system that does not answer: --cached (coreutils 8.32), or else a timeout.
writers() {
  if [ -b /dev/fd/3 ]; then
    entry=/sys/dev/block/$(printf '%d:%d' $(stat -L -c '0x%t 0x%T' /dev/fd/3))
    set -- "$entry/dev"
    if [ -e "$entry/partition" ]; then set -- "$@" "$entry/../dev"; fi
    for part in "$entry"/*/partition; do
      if [ -e "$part" ]; then set -- "$@" "${part%partition}dev"; fi
    done
    own=$(cat "$@" | while IFS=: read -r major minor; do
      printf 'block special file %x.%x \n' "$major" "$minor"
    done)
  else
    own=$(stat -L -c ' %d:%i /proc/' /dev/fd/3)
  fi
  cached=--cached=always
  stat "$cached" / >/dev/null 2>&1 || cached=
  find /proc/[0-9]*/fd -mindepth 1 -lname '/*' -print0 2>/dev/null |
    xargs -0 -r sh -c 'timeout -s KILL 20 stat -L $0 -c "%F %t.%T %d:%i %n" "$@" 2>/dev/null
      [ "$?" -lt 124 ] || echo "no answer"' "${cached:--L}" |
    grep -F -e "$own" -e 'no answer' |
    while read -r found; do
      place=${found##* } process=${found##*/proc/} process=${process%%/*}
      if [ "$found" = 'no answer' ]; then
        printf 'perhaps: a file system of that host does not answer'
        break
      fi
      if grep -qs '^flags:.*[123567]$' "${place%/fd/*}/fdinfo/${place##*/}"; then
        printf 'process %s (%s) has it open for writing' "$process" \
          "$(cat "/proc/$process/comm" 2>/dev/null)"
        break
      fi
    done
}
users() {
  own=$(stat -L -c '%d:%i %t:%T' /dev/fd/3)
  for state in /sys/block/loop*/loop; do
    name=${state%/loop}
    if [ "$(cat "$name/ro" 2>/dev/null)" != 0 ]; then continue; fi
    file=$(cat "$state/backing_file" 2>/dev/null)
    over=$(timeout -s KILL 5 stat -L -c '%d:%i %t:%T' -- "$file" 2>/dev/null)
    # Compare devices by number, as a device may have several names.
    if [ -b /dev/fd/3 ]; then same=${own#* } over=${over#* }; else same=$own; fi
    if [ "$over" = "$same" ]; then echo "attached as /dev/${name##*/}"; return; fi
  done
  if [ -b /dev/fd/3 ]; then
    # lsblk shows mounts and swap, also of partitions; mountinfo also shows mounts in other mount
    # namespaces: its fifth word is the mount point.
    told=$(lsblk -nro NAME,MOUNTPOINT "$(readlink -f /dev/fd/3)" 2>/dev/null | grep -m 1 ' .')
    number=$(printf ' %d:%d ' "0x$(stat -L -c %t /dev/fd/3)" "0x$(stat -L -c %T /dev/fd/3)")
    if [ -z "$told" ]; then
      told=$(grep -hs -m 1 -e "$number" /proc/[0-9]*/mountinfo | head -n 1 | cut -d ' ' -f 5)
    fi
    if [ -n "$told" ]; then echo "mounted: $told"; return; fi
  else
    while read -r swap _; do
      if [ "$(timeout -s KILL 5 stat -L -c '%d:%i %t:%T' "$(printf %b "$swap")" 2>/dev/null)" \
        = "$own" ]
      then echo "active as swap"; return; fi
    done </proc/swaps
  fi
  writers
  echo
}
trap tidy EXIT
trap 'exit 1' HUP INT TERM PIPE
echo "$dir"
while read -r command a b; do
  case $command in
  state)
    if [ -b /dev/fd/3 ]; then kind=block size=$(blockdev --getsize64 /dev/fd/3)
    else kind=file size=$(stat -L -c %s /dev/fd/3); fi
    echo "$kind $size $(stat -L -c '%d %i %.9Y %.9W' /dev/fd/3)" ;;
  locks)
    grep ":$a " /proc/locks | tr '\n' ';'
    echo ;;
  users) users ;;
  read)
    dd if=/dev/fd/3 bs=64k iflag=skip_bytes,count_bytes,fullblock skip="$a" count="$b" \
      status=none </dev/null | base64 -w 0
    echo ;;
  check)
    qemu-img check "$a" </dev/null >"$dir/said" 2>&1
    echo "$? $(head -c 4000 "$dir/said" | base64 -w 0)" ;;
  serve)
    qemu-nbd --read-only --persistent --shared="$shared" --socket="$dir/nbd" "$a" </dev/null >&2 &
    server=$!
    while ! [ -S "$dir/nbd" ]; do
      kill -0 "$server" 2>/dev/null || exit 1
      sleep 0.1
    done
    echo serving ;;
  esac
done
"""
# The variables of our user's environment that ssh, its configuration and its keys depend on.
ENVIRONMENT = ("HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "KRB5CCNAME")
# Of every connection: no question is asked, and what the user's configuration wants beside the
# connection itself is left out.
OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "30",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
    "ExitOnForwardFailure": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "LogLevel": "INFO",  # at this level ssh says why it does not forward
}
_LOCAL_SCRIPT = 'mount -t tmpfs -o size=64k,mode=700 forward "$1" && shift && exec "$@"'


class Location(NamedTuple):
    """The parts of an ssh:// URL."""

    user: str | None
    host: str
    port: int | None
    path: str
    image_format: str | None


class ImageState(NamedTuple):
    """What identifies an image and its state; sizes in bytes."""

    is_block: bool
    size: int
    device: int
    inode: int
    mtime: str  # seconds
    birth: str  # seconds; 0 if the file system does not store it


def parse(url: str) -> Location:
    """Parses ssh://[user@]host[:port]/path[?format=F]; the path is percent-decoded.

    Raises:
        ValueError: it is not such a URL, or ssh could read a part of it as an option or a command.
    """
    scheme, colon, rest = url.partition("://")
    place, slash, named = rest.partition("/")
    if not place.isprintable():
        raise ValueError(f"not a host name: {place!r}")
    # urlsplit() drops line feeds and tabs, which a name may have.
    named = re.sub(r"[\0-\x1f\x7f]", lambda found: quote(found[0]), named)
    parts = urlsplit(f"{scheme}{colon}{place}{slash}{named}")
    if parts.scheme != "ssh" or parts.fragment:
        raise ValueError("not of the form ssh://[user@]host[:port]/path ('#' is %23, '?' is %3F)")
    query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    image_format = query.pop("format", [None])[-1]
    if query:
        raise ValueError(f"unknown after '?': {', '.join(query)}")
    if parts.password is not None:
        raise ValueError("everybody can see a password in a URL: use keys")
    host, user, path = (
        parts.hostname or "",
        parts.username,
        unquote(parts.path, errors="surrogateescape"),
    )
    if not re.fullmatch(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*", host):
        raise ValueError(f"not a host name: {host!r}")
    if user is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*", user):
        raise ValueError(f"not a user name: {user!r}")
    if not path.strip("/") or "\0" in path or not path.startswith("/"):
        raise ValueError("it names no file")
    return Location(user, host, parts.port, path, image_format)


def ssh_command(location: Location, directory: str, clients: int) -> list[str]:
    """The command line of the one ssh process.

    Its socket is in its own mount namespace, so that nothing of it can remain; see `socket_of`.

    Args:
        location: of the image.
        directory: is created on the other host, with the socket in it.
        clients: maximum number of connections to qemu-nbd.
    """
    # A control master would do the forwarding, outside of our namespace.
    options = {**OPTIONS, "ControlMaster": "no", "ControlPath": "none"}
    remote = ["exec", "sh", "-c", _REMOTE_SCRIPT, "sh", directory, location.path, str(clients)]
    return [
        *with_private_sockets("ssh", *settings(options), *destination(location)),
        *("-L", f"{PLACE}/nbd:{directory}/nbd"),
        *("--", location.host, shlex.join(remote)),
    ]


def with_private_sockets(*command: str) -> list[str]:
    """The command line of a program whose sockets in PLACE are in its own mount namespace."""
    return ["unshare", "--mount", "--", "sh", "-c", _LOCAL_SCRIPT, command[0], PLACE, *command]


def settings(options: Mapping[str, str]) -> list[str]:
    """Options of ssh_config(5) as arguments of ssh."""
    return [f"-o{name}={value}" for name, value in options.items()]


def destination(location: Location) -> list[str]:
    """The user and port of a location as arguments of ssh; the host itself stands behind `--`."""
    return [
        *(("-l", location.user) if location.user else ()),
        *(("-p", str(location.port)) if location.port else ()),
    ]


def socket_of(pid: int, name: str = "nbd") -> str:
    """The path of a socket in PLACE of a process of `with_private_sockets`."""
    return f"/proc/{pid}/root{PLACE}/{name}"


def parse_state(answer: str) -> ImageState:
    """Parses the answer to the script's command `state`.

    Raises:
        ValueError: it is something else.
    """
    kind, size, device, inode, mtime, birth = answer.split()
    return ImageState(kind == "block", int(size), int(device), int(inode), mtime, birth)


def parse_check(answer: str) -> tuple[int, list[str]]:
    """Parses the answer to `check`: the exit code of qemu-img, and the first lines of its output.

    The lines are part of the answer, since stderr may arrive before or after it.

    Raises:
        ValueError: it is something else.
    """
    code, _, said = answer.partition(" ")
    text = base64.b64decode(said, validate=True).decode("utf-8", "surrogateescape")
    return int(code), text.splitlines()
