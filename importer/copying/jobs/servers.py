"""Ends the servers of images on the KVM host that a connection has left which was cut silently.

Until sshd there finds it to be dead, its qemu-nbd keeps the domain from starting. Pure.
"""

import json
from collections.abc import Sequence

# A function of bash: it ends ours of the images in the array `images`.
END_SERVERS = r"""
end_servers() {
  local process words image
  for process in /proc/[0-9]*; do
    if [ "$(cat "$process/comm" 2> /dev/null)" != qemu-nbd ]; then continue; fi
    words=$(tr '\0' '\n' 2> /dev/null < "$process/cmdline")
    if [[ $words != *--socket=*ganeti-instance-kit* ]]; then continue; fi
    for image in "${images[@]}"; do
      if [[ $words == *"$image"* ]]; then kill "${process#/proc/}"; fi
    done
  done
}
"""
_END = f"""{END_SERVERS}
images=("$@")
end_servers
"""


def in_json(paths: Sequence[str]) -> list[str]:
    """The paths of images as the command lines of qemu-nbd have them."""
    return [json.dumps(path) for path in paths]


def command(paths: Sequence[str]) -> list[str]:
    """The command line that ends the servers of images."""
    return ["bash", "-c", _END, "end-servers", *in_json(paths)]
