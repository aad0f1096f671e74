"""A guest installed by the kit, booted as a node with real LVM, and used over SSH."""

import dataclasses
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.converter.support import MIB, TOP, WARM, Outcome, Warm, noise, output, warm
from tests.system.installer.support import Node as InstallingNode

# Packages that a node needs for the converter and backups. Results are compared with qemu-img's.
PACKAGES = (
    "lvm2 thin-provisioning-tools qemu-utils python3-sh python3-tqdm python3-pyudev"
    " python3-distro-info python3-libnbd python3-seccomp python3-xxhash libdeflate0 libzstd1"
)
MAC = "aa:00:00:4c:56:4d"
# The addresses of QEMU's user network.
ENVIRON: dict[str, str | None] = {
    "NIC_COUNT": "1",
    "NIC_0_MAC": MAC,
    "NIC_0_IP": "10.0.2.15",
    "NIC_0_NETWORK_SUBNET": "10.0.2.0/24",
    "NIC_0_NETWORK_GATEWAY": "10.0.2.2",
    "NIC_0_NETWORK_SUBNET6": "fec0::/64",
    "NIC_0_NETWORK_GATEWAY6": "fec0::2",
}
ROOT_SIZE = 3072 * MIB
VG_SIZE = 8192 * MIB
SOURCES = "/srv/sources"
LIBRARY = Path("/usr/lib/ganeti-instance-kit")
# The content of an earlier tenant's volume.
TENANT = f"{SOURCES}/tenant.raw"
TENANT_SIZE = 72 * MIB
# Seconds; guests are emulated, and share two cores with other programs.
BOOT_TIMEOUT = 300
COMMAND_TIMEOUT = 180


class GuestError(Exception):
    """The guest did not start, or a command in it failed."""


def missing_capability() -> str | None:
    """The reason why no guest can be made and booted here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    programs = ("qemu-system-x86_64", "qemu-img", "ssh", "mkfs.ext4", "mkswap", "make")
    absent = [name for name in programs if not output("which", name, check=False).strip()]
    return f"needs {' '.join(absent)} (make test-packages)" if absent else None


def install(directory: Path) -> Path:
    """Installs the guest, with an SSH key, on a disk in the directory; returns the disk."""
    key = directory / "key"
    output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    node = InstallingNode(
        directory / "node",
        parameters={"extra_pkgs": PACKAGES, "password_expire": "no", "grub_timeout": "0"},
        environ=ENVIRON,
    )
    node.settings["AUTHORIZED_KEYS"] = f"{key}.pub"
    disk = node.disk(ROOT_SIZE)
    node.create().succeeded()
    return disk


def sources_disk(path: Path, contents: Path) -> Path:
    """Makes an ext4 file system of the images and the installed kit; removes `contents`."""
    output("make", "-C", TOP, "install", f"DESTDIR={contents / 'kit'}")
    shutil.copy(WARM, contents)
    with (contents / "tenant.raw").open("wb") as file:
        file.write((b"of a tenant\n" * MIB)[:MIB] * (TENANT_SIZE // MIB))
    size = sum(file.lstat().st_blocks * 512 for file in contents.rglob("*")) * 5 // 4 + 64 * MIB
    output("mkfs.ext4", "-q", "-O", "^has_journal", "-d", contents, path, f"{size // MIB}M")
    output("rm", "-r", contents)
    return path


def volume_group_disk(path: Path) -> Path:
    """Makes a disk with old bytes in each MiB, so that every logical volume on it has some."""
    rest = noise(8192, 5)
    with path.open("wb") as file:
        file.truncate(VG_SIZE)
        # The first MiB belongs to LVM.
        for offset in range(MIB, VG_SIZE, MIB):
            os.pwrite(file.fileno(), rest, offset + offset // MIB % 120 * 8192)
    return path


@dataclass(frozen=True)
class Guest:
    """Runs commands in the guest; has the disk of its volume group as a file of this machine."""

    ssh: tuple[str, ...]
    volume_group: Path
    loaded: Warm | None = None

    def try_run(
        self, command: str, *, tty: bool = False, timeout: float = COMMAND_TIMEOUT
    ) -> Outcome:
        """Runs a shell command; with `tty`, on a terminal that gets both streams."""
        try:
            ran = subprocess.run(
                [*self.ssh, *(["-tt"] if tty else []), command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise GuestError(f"{command}: still running after {timeout} s") from error
        # Not in text mode, which would turn carriage returns of a progress bar into line feeds.
        stdout, stderr = (words.decode(errors="replace") for words in (ran.stdout, ran.stderr))
        return Outcome(ran.returncode, stdout, stderr)

    def run(self, command: str, timeout: float = COMMAND_TIMEOUT) -> str:
        """Runs a shell command; returns its stdout, stripped.

        Raises:
            GuestError: it failed.
        """
        ran = self.try_run(f"set -e; {command}", timeout=timeout)
        if ran.exit_code != 0:
            raise GuestError(f"{command}: exit code {ran.exit_code}\n{ran.stdout}{ran.stderr}")
        return ran.stdout.strip()

    def qcow2raw(self, *words: str) -> Outcome:
        """Runs the installed program in a Python that is already started, which saves time."""
        assert self.loaded is not None
        return self.loaded.qcow2raw(*words, timeout=COMMAND_TIMEOUT)

    def started_qcow2raw(self, *words: str) -> Outcome:
        """Runs the installed program by its command."""
        return self.try_run(shlex.join(["qcow2raw", *words]))

    def content(self, device: str) -> bytes | None:
        """The content of a linear volume, read from the disk file; None for other volumes.

        The guest would read the same with an empty cache, but slowly, as it is emulated.
        """
        # Rows of dm-linear, in sectors: start, length, "linear", device, start on the device.
        table = self.run(
            f"sync; stat -Lc '%Hr:%Lr' /dev/vdb; dmsetup table -j $(stat -Lc %Hr {device})"
            f" -m $(stat -Lc %Lr {device})"
        )
        disk, *rows = (line.split() for line in table.splitlines())
        if any(row[2:4] != ["linear", *disk] for row in rows):
            return None
        with self.volume_group.open("rb") as file:
            return b"".join(
                os.pread(file.fileno(), int(row[1]) * 512, int(row[4]) * 512) for row in rows
            )


@dataclass(frozen=True)
class Node:
    """The node, and the Debian to be copied as a file out here."""

    guest: Guest
    debian: Path


def volume(guest: Guest, name: str, size: int = TENANT_SIZE) -> str:
    """A new thick volume full of an old tenant's bytes."""
    target = f"/dev/xenvg/{name}"
    dd = f"dd if={TENANT} of={target} bs=4M iflag=direct,count_bytes oflag=direct status=none"
    guest.run(f"lvcreate -qqy -Wn -Zn -L {size}b -n {name} xenvg; {dd} count={size}")
    return target


@contextmanager
def booted(directory: Path, disk: Path, volume_group: Path, sources: Path) -> Iterator[Guest]:
    """Boots the guest with the disks of the volume group and the sources; installs the kit."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = directory / "console.log"
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-smp", "2", "-m", "1024", "-nodefaults"]
    argv += ["-display", "none", "-serial", f"file:{log}", "-device", "virtio-rng-pci"]
    argv += ["-drive", f"if=virtio,format=raw,file={disk},snapshot=on,cache=unsafe"]
    argv += ["-drive", f"if=virtio,format=raw,file={volume_group},discard=unmap,cache=unsafe"]
    argv += ["-drive", f"if=virtio,format=raw,file={sources},readonly=on"]
    argv += ["-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{port}-:22"]
    argv += ["-device", f"virtio-net-pci,netdev=net0,mac={MAC}"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as machine:
        try:
            with _connected(directory, port, machine, log, volume_group) as guest:
                guest.run(
                    f"mkdir {SOURCES}; mount -o ro /dev/vdc {SOURCES}; cp -a {SOURCES}/kit/. /;"
                    " pvcreate -qy /dev/vdb; vgcreate -q xenvg /dev/vdb"
                )
                script = Path(SOURCES) / WARM.name
                with warm(*guest.ssh, library=LIBRARY, script=script) as loaded:
                    yield dataclasses.replace(guest, loaded=loaded)
        finally:
            machine.kill()


@contextmanager
def _connected(
    directory: Path,
    port: int,
    machine: "subprocess.Popen[bytes]",
    log: Path,
    volume_group: Path,
) -> Iterator[Guest]:
    # Host keys are checked by other tests.
    options = {
        "UserKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "no",
        "LogLevel": "ERROR",
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "ControlPath": f"{directory}/ssh",
    }
    words = ["ssh", "-F", "none", *(f"-o{key}={value}" for key, value in options.items())]
    words += ["-i", f"{directory}/key", f"-p{port}", "root@127.0.0.1"]
    guest = Guest(tuple(words), volume_group)
    deadline = time.monotonic() + BOOT_TIMEOUT
    while True:
        # One connection for all commands: a key exchange takes seconds in emulation.
        with subprocess.Popen([*words, "-MN"], stderr=subprocess.DEVNULL) as master:
            try:
                while master.poll() is None:
                    if (directory / "ssh").exists() and guest.try_run("true").exit_code == 0:
                        yield guest
                        return
                    time.sleep(0.2)
            finally:
                master.terminate()
        if machine.poll() is not None or time.monotonic() > deadline:
            raise GuestError(f"no SSH server in the guest; its console: {log.read_text()[-2000:]}")
        time.sleep(1)
