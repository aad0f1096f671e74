"""What an import could leave on either host."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.host import Host

from .domains import DB1, IMAGES, OLD1, WEB1

SETTLE_SECONDS = 10.0  # until processes of a lost connection have ended
# Of the lab itself.
OURS = tuple(
    f"{place}{machine.name}-"
    for machine in (WEB1, DB1, OLD1)
    for place in (f"file {IMAGES}/", "volume kvmvg/")
)

# The upper parts of the host's overlays have all files that were written or removed there. What is
# libvirt's and LVM's own, logs and QEMU itself are left out.
_KVM_HOST = r"""
touch /tmp /var/tmp # a directory is in the upper part as soon as it has been changed
ps -eo args= | grep -v 'qemu-system\|^ps \|^grep \|^sed \|^sh ' | sed 's/^/process /'
find /mnt/*.upper -mindepth 1 | sed 's|^/mnt/\([a-z]*\)\.upper|/\1|' |
  grep -v '^/var/log/\|^/etc/libvirt/qemu\|^/etc/lvm\|^/var/cache/' |
  grep -v '^/var/lib/libvirt/qemu/\(domain-\|nvram\|channel\|checkpoint\|save\)' | sed 's/^/file /'
find /run -maxdepth 1 -mindepth 1 | sed 's/^/file /'
find /var/lib/libvirt/images -type f | sed 's/^/file /'
lvs --noheadings --options=vg_name,lv_name,lv_tags --separator=/ | sed 's/^ */volume /'
for name in $(virsh --quiet list --all --name); do
  virsh --quiet checkpoint-list --name "$name" | grep . | sed "s/^/checkpoint of $name: /"
done
"""
_NODE = r"""
ps -eo args= | grep 'instance-kit\|kvm1' | grep -v '^grep \|libvirt-sandbox' | sed 's/^/process /'
find /var/lib/ganeti-instance-kit /run/ganeti-instance-kit* -mindepth 1 2>/dev/null |
  grep -v '^/var/lib/ganeti-instance-kit/\(copies\|imports\|nvram\)$' | sed 's/^/file /'
find /tmp -maxdepth 1 -mindepth 1 | sed 's/^/file /'
lvs --noheadings --options=vg_name,lv_name,lv_tags --separator=/ | sed 's/^ */volume /'
"""


def found(node: Host, kvm: Host) -> frozenset[str]:
    """Processes, files, volumes and checkpoints on both hosts, but for those of the lab."""
    lines = {
        f"{name}: {line}"
        for name, host, script in (("node", node, _NODE), ("KVM host", kvm, _KVM_HOST))
        for line in host.run(["sh", "-c", script], check=False).stdout.splitlines()
        if not line.startswith(OURS)
    }
    return frozenset(lines)


@contextmanager
def none(node: Host, kvm: Host) -> Iterator[None]:
    """Asserts that the block leaves nothing new on either host."""
    before = found(node, kvm)
    yield
    deadline = time.monotonic() + SETTLE_SECONDS
    while new := found(node, kvm) - before:
        assert time.monotonic() < deadline, f"left behind: {sorted(new)}"
        time.sleep(0.5)
