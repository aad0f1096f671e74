"""The OS definitions to compare, each with its own files, cache and hooks."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
SUITE = "bookworm"
PEER = "ganeti-instance-debootstrap"
GRUB = "grub-pc"

# Private mounts, so that neither uses the machine's own files: the cache directory of
# ganeti-instance-debootstrap is hard-coded, and so is the defaults file of both.
IN_NAMESPACE = """
mount --bind "$1" /var/cache && mount --bind "$2" /etc/default && cd "$3" && shift 3 && exec "$@"
"""


@dataclass(frozen=True)
class Contender:
    """An OS definition and the directory that holds its private files.

    Attributes:
        wants_block: whether its disk is a loop device over the file. It would otherwise take a
            loop device with a low number, and GRUB's 10_linux makes no entry for a root on
            /dev/loop0 to loop9. In both cases one loop device is between file system and file.
    """

    name: str
    os_dir: Path
    private: Path
    wants_block: bool

    @property
    def caches(self) -> Path:
        """The directory that is its /var/cache."""
        return self.private / "cache"

    def argv(self, *command: str) -> list[str]:
        """The command line that runs a command in its OS directory, with its private files."""
        return [
            *("unshare", "--mount", "--propagation", "private", "--"),
            *("sh", "-c", IN_NAMESPACE, "sh"),
            *(str(self.caches), str(self.private / "default"), str(self.os_dir)),
            *command,
        ]

    def drop_cache(self) -> None:
        """Empties its cache, so that its next create is cold."""
        shutil.rmtree(self.caches, ignore_errors=True)
        (self.caches / PEER).mkdir(parents=True)

    def has_cache(self) -> bool:
        """Whether its next create is warm."""
        return any((self.caches / PEER).glob("cache-*"))


def environment(disk: Path) -> dict[str, str]:
    """Ganeti's environment for a `create` of an instance with one disk and one NIC."""
    return {
        "PATH": "/sbin:/bin:/usr/sbin:/usr/bin",
        "OS_API_VERSION": "20",
        "OS_NAME": "debootstrap",
        "OS_VARIANT": SUITE,
        "INSTANCE_OS": f"debootstrap+{SUITE}",
        "INSTANCE_NAME": "bench.example.org",
        "HYPERVISOR": "kvm",
        "DEBUG_LEVEL": "0",
        "INSTANCE_HV_serial_console": "True",
        "INSTANCE_HV_serial_speed": "115200",
        "INSTANCE_HV_kernel_path": "",
        "INSTANCE_HV_disk_type": "paravirtual",
        "DISK_COUNT": "1",
        "DISK_0_PATH": str(disk),
        "DISK_0_ACCESS": "rw",
        "NIC_COUNT": "1",
        "NIC_0_MAC": "aa:00:00:12:34:56",
        "NIC_0_IP": "192.0.2.15",
        "NIC_0_MODE": "bridged",
        "NIC_0_NETWORK_NAME": "bench",
        "NIC_0_NETWORK_SUBNET": "192.0.2.0/24",
        "NIC_0_NETWORK_GATEWAY": "192.0.2.1",
    }


def ours(directory: Path) -> Contender:
    """This checkout, installed below the directory, with all hooks on (the default)."""
    root = directory / "ours/root"
    subprocess.run(
        ["make", "--silent", "install", f"DESTDIR={root}"],
        cwd=TOP,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    variants = root / "etc/ganeti/instance-debootstrap/variants"
    os_dir = root / "usr/lib/ganeti-instance-kit/os-definition"
    return _contender(directory, "ours", os_dir, {"VARIANTS_DIR": str(variants)})


def planned(contender: Contender, disk: Path) -> dict[str, object]:
    """What our create would bootstrap: `packages`, `mirror`, `engine`."""
    ran = subprocess.run(
        contender.argv(
            "/usr/bin/python3", "-B", str(HERE / "planned.py"), str(contender.os_dir.parent)
        ),
        env=environment(disk),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def unpacked_peer(directory: Path) -> tuple[Path, str]:
    """Unpacks Debian's package without installing it; returns its OS directory and version."""
    place = directory / "peer"
    place.mkdir(parents=True, exist_ok=True)
    if not (archives := list(place.glob("*.deb"))):
        download = ["apt-get", "-qq", "download", PEER]
        if subprocess.run(download, cwd=place, stderr=subprocess.DEVNULL, check=False).returncode:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(download, cwd=place, check=True)
        archives = list(place.glob("*.deb"))
        subprocess.run(["dpkg", "--extract", archives[0], place / "root"], check=True)
    shown = subprocess.run(
        ["dpkg-deb", "--field", archives[0], "Version"], check=True, stdout=subprocess.PIPE
    )
    return place / "root/usr/share/ganeti/os/debootstrap", shown.stdout.decode().strip()


def theirs(directory: Path, os_dir: Path, plan: dict[str, object], *, grub: bool) -> Contender:
    """ganeti-instance-debootstrap with our packages and mirror, with or without a GRUB hook."""
    listed = plan["packages"]
    assert isinstance(listed, list)
    packages = [name for name in listed if grub or name != GRUB]
    settings = {
        "EXTRA_PKGS": ",".join(packages),
        "MIRROR": str(plan["mirror"] or ""),
        # Its other partition style needs kpartx and so device mapper.
        "PARTITION_STYLE": "none",
    }
    name = "theirs, GRUB hook" if grub else "theirs, no hook"
    contender = _contender(directory, name, os_dir, settings)
    if grub:
        shutil.copy(HERE / "peer-grub-hook", contender.private / "hooks")
    return contender


def _contender(directory: Path, name: str, os_dir: Path, settings: dict[str, str]) -> Contender:
    private = directory / "-".join(name.replace(",", "").split())
    hooks, variants, defaults = (private / part for part in ("hooks", "variants", "default"))
    for path in (hooks, variants):
        path.mkdir(parents=True, exist_ok=True)
    (variants / f"{SUITE}.conf").write_text(f'SUITE="{SUITE}"\n')
    shutil.rmtree(defaults, ignore_errors=True)
    # Other programs read their defaults there, too.
    shutil.copytree("/etc/default", defaults, symlinks=True)
    settings = {"CUSTOMIZE_DIR": str(hooks), "VARIANTS_DIR": str(variants), **settings}
    lines = [f'{key}="{value}"\n' for key, value in settings.items()]
    (defaults / PEER).write_text("".join(lines))
    contender = Contender(name, os_dir, private, wants_block=name != "ours")
    (contender.caches / PEER).mkdir(parents=True, exist_ok=True)
    return contender
