"""A service of the guests that writes records, each on the disk before the next is made."""

import hashlib

from tests.e2e.host import Host

PATH = "/srv/records"
PROGRAM = "/usr/local/sbin/write-records"
UNIT = "/etc/systemd/system/write-records.service"
COPY = "/var/tmp/records.ext4"

# Each digest is that of the digest before, a blank and the number: so none can be missing. A power
# failure may leave an incomplete last line.
PROGRAM_TEXT = f"""\
#!/bin/sh
touch {PATH}
if [ -n "$(tail --bytes=1 {PATH})" ]; then sed --in-place '$d' {PATH}; fi
number=$(wc --lines < {PATH})
digest=$(tail --lines=1 {PATH} | cut --delimiter=' ' --fields=2)
while sleep 0.2; do
  number=$((number + 1))
  digest=$(printf '%s %s' "$digest" $number | sha256sum | cut --delimiter=' ' --fields=1)
  echo "$number $digest" >> {PATH}
  sync {PATH}
done
"""
UNIT_TEXT = f"""\
[Unit]
Description=Writes records
RequiresMountsFor={PATH}

[Service]
ExecStart={PROGRAM}

[Install]
WantedBy=multi-user.target
"""


def count(text: str) -> int:
    """How many records the file has.

    Raises:
        AssertionError: a record is missing or damaged.
    """
    digest, number = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        digest = hashlib.sha256(f"{digest} {number}".encode()).hexdigest()
        assert line == f"{number} {digest}", f"record {number} is {line!r}"
    return number


def on_disk(host: Host, path: str, image_format: str) -> int:
    """How many records are on a data disk of a machine that is off, or on a copy of it.

    Args:
        host: where it is.
        path: its image or volume, which is only read.
        image_format: qcow2 or raw.

    Raises:
        AssertionError: a record is missing or damaged.
    """
    host.run(["qemu-img", "convert", "-f", image_format, "-O", "raw", path, COPY])
    host.run(["e2fsck", "-p", COPY], check=False)  # exits with 1 after it has replayed the journal
    text = host.run(["debugfs", "-R", "cat /records", COPY]).stdout
    host.run(["rm", COPY])
    return count(text[: text.rfind("\n") + 1])
