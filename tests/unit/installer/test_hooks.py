"""What the smaller hooks render, and what they run in the guest."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from guest.instance import Instance
from guest.resolv import Resolver
from installer.devices import Devices
from installer.disks import MIB, plan_layout
from installer.facts import NodeFacts
from installer.hooks import all_hooks
from installer.hooks.base import Context
from installer.hooks.fstab import HookFstab
from installer.hooks.grub import HookGrub, modules
from installer.hooks.locale import HookLocale, HookTimezone
from installer.hooks.password import ALPHABET, LENGTH, HookPassword, random_password
from installer.hooks.site import variables
from installer.hooks.ssh import HookAuthorizedKeys, HookSsh
from installer.settings import DEFINITIONS, Settings
from installer.target import Target
from node.errors import KitError
from node.run import Result

GOLDEN = Path(__file__).parents[2] / "data/golden/hooks"
NODE = NodeFacts(
    hostname="node1",
    codename="bookworm",
    architecture="amd64",
    resolver=Resolver((), ()),
    timezone="Europe/Paris",
    authorized_keys='from="192.0.2.1" ssh-ed25519 AAAA admin@example.org # night shift\n',
)


def context(hypervisor: str = "kvm", hv: dict[str, str] | None = None, **settings: Any) -> Context:
    values = {"serial_console": "True", "serial_speed": "115200", **(hv or {})}
    instance = Instance.from_environ(
        {
            "OS_API_VERSION": "20",
            "INSTANCE_NAME": "web1.example.org",
            "HYPERVISOR": hypervisor,
            "DISK_COUNT": "1",
            "DISK_0_PATH": "/dev/vg/web1",
            "DISK_0_ACCESS": "rw",
            "NIC_COUNT": "0",
            **{f"INSTANCE_HV_{key}": value for key, value in values.items()},
        }
    )
    made = Settings(suite="bookworm", arch="amd64", kernel="linux-image-amd64", **settings)
    layout = plan_layout(
        instance, made, {0: 4096 * MIB}, existing={}, new_uuid=lambda: UUID(int=0xABC)
    )
    return Context(instance, made, layout, NODE)


class RecordingTarget(Target):
    """Runs nothing, and remembers what it should have run."""

    def __init__(self, root: Path, answers: dict[str, str] | None = None) -> None:
        super().__init__(root)
        self.ran: list[tuple[tuple[str, ...], str | None]] = []
        self._answers = answers or {}

    def run(self, argv: Sequence[str], *, input: str | None = None, **_: Any) -> Result:  # noqa: A002
        self.ran.append((tuple(argv), input))
        return Result(0, self._answers.get(argv[0], ""), "")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("grub-serial", context()),
        ("grub-9600", context(hv={"serial_speed": "9600"}, grub_timeout=1)),
        ("grub-xen-pv", context("xen-pvm")),
        ("grub-no-serial", context(hv={"serial_console": "False"})),
    ],
)
def test_grub_defaults(name: str, made: Context) -> None:
    (file,) = HookGrub().render(made).values()
    assert file.text == (GOLDEN / name).read_text()


def test_grub_is_skipped_where_the_node_has_the_kernel() -> None:
    assert HookGrub().enabled(context())
    assert not HookGrub().enabled(context(hv={"kernel_path": "/boot/vmlinuz"}))


def test_grub_knows_partition_table_and_file_system() -> None:
    assert modules(context(filesystem="btrfs", partition_style="gpt")) == ("part_gpt", "btrfs")
    assert modules(context()) == ("part_msdos", "ext2")


@pytest.mark.parametrize("filesystem", ["xfs", "btrfs"])
def test_no_room_for_grub_is_an_error_before_a_disk_is_touched(filesystem: str) -> None:
    with pytest.raises(KitError, match="no room"):
        HookGrub().packages(context(filesystem=filesystem, partition_style="none"))


def test_an_architecture_without_boot_loader_is_an_error() -> None:
    made = context()
    other = replace(made, settings=replace(made.settings, arch="riscv64"))
    with pytest.raises(KitError, match="riscv64"):
        HookGrub().packages(other)


def test_tmp_is_a_tmpfs_unless_switched_off() -> None:
    assert "tmpfs" in HookFstab().render(context())["etc/fstab"].text
    assert "tmpfs" not in HookFstab().render(context(hook_tmp=False))["etc/fstab"].text


def test_passwords_are_long_unambiguous_and_never_hold_the_nodes_name() -> None:
    assert not set("0O1lI") & set(ALPHABET)
    made = {random_password("a") for _ in range(200)}
    assert len(made) == 200
    assert {len(password) for password in made} == {LENGTH}
    assert not any("a" in password for password in made)
    assert all(set(password) <= set(ALPHABET) for password in made)


def test_the_password_travels_on_stdin_only(tmp_path: Path) -> None:
    target = RecordingTarget(tmp_path)
    target.write("etc/shadow", "daemon:*:1::::::\nroot:$y$hash:0::::::\n")
    report = HookPassword().apply(context(), target)
    assert report is not None
    (line,) = report()
    password = line.removeprefix("root password: ")
    assert target.ran == [
        (("chpasswd",), f"root:{password}\n"),
        (("chage", "--lastday", "0", "root"), None),
    ]


def test_a_password_that_a_site_hook_changed_is_not_claimed(tmp_path: Path) -> None:
    target = RecordingTarget(tmp_path)
    target.write("etc/shadow", "root:$y$hash:0::::::\n")
    report = HookPassword().apply(context(password_expire=False), target)
    assert report is not None
    target.write("etc/shadow", "root:$y$other:0::::::\n")
    assert not any("root password" in line for line in report())
    assert [argv[0] for argv, _ in target.ran] == ["chpasswd"]


def test_host_keys_are_made_for_the_instance(tmp_path: Path) -> None:
    target = RecordingTarget(tmp_path, {"ssh-keygen": "256 SHA256:abc root@web1.example.org (X)\n"})
    target.write("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n")
    HookSsh().apply(context(), target)
    made = [argv for argv, _ in target.ran if "-t" in argv]
    assert made == [
        *(
            ("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@web1.example.org", "-f", path)
            for kind, path in (
                ("rsa", "/etc/ssh/ssh_host_rsa_key"),
                ("ecdsa", "/etc/ssh/ssh_host_ecdsa_key"),
                ("ed25519", "/etc/ssh/ssh_host_ed25519_key"),
            )
        )
    ]
    assert target.exists("etc/ssh/sshd_config.d/ganeti-instance-kit.conf")


def test_authorized_keys_keep_options_and_comments(tmp_path: Path) -> None:
    target = RecordingTarget(tmp_path)
    (tmp_path / "root").mkdir()
    HookAuthorizedKeys().apply(context(), target)
    assert target.read("root/.ssh/authorized_keys") == NODE.authorized_keys
    assert (tmp_path / "root/.ssh").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600


def test_the_time_zone_is_the_nodes_unless_set(tmp_path: Path) -> None:
    target = RecordingTarget(tmp_path)
    for zone in ("Europe/Paris", "Etc/UTC"):
        target.write(f"usr/share/zoneinfo/{zone}", "")
    HookTimezone().apply(context(), target)
    assert target.read("etc/timezone") == "Europe/Paris\n"
    HookTimezone().apply(context(timezone="Etc/UTC"), target)
    assert (tmp_path / "etc/localtime").readlink() == Path("/usr/share/zoneinfo/Etc/UTC")
    with pytest.raises(KitError, match="Mars/Olympus"):
        HookTimezone().apply(context(timezone="Mars/Olympus"), target)


def test_a_locale_is_generated_with_its_character_set(tmp_path: Path) -> None:
    target = RecordingTarget(tmp_path)
    target.write("usr/share/i18n/SUPPORTED", "de_DE ISO-8859-1\nde_DE.UTF-8 UTF-8\n")
    HookLocale().apply(context(locale="de_DE.UTF-8"), target)
    assert target.read("etc/locale.gen") == "de_DE.UTF-8 UTF-8\n"
    assert target.ran == [(("locale-gen",), None)]
    assert HookLocale().packages(context(locale="de_DE.UTF-8")) == ("locales",)
    assert HookLocale().packages(context()) == ()
    with pytest.raises(KitError, match="xx_XX"):
        HookLocale().apply(context(locale="xx_XX"), target)


def test_site_hooks_get_the_variables_of_old(tmp_path: Path) -> None:
    devices = Devices(
        disk=Path("/dev/loop10"),
        blockdev=Path("/dev/drbd0"),
        fsysdev=Path("/dev/loop11"),
        esp=None,
        root=tmp_path,
    )
    made = context(extra_pkgs=("vim", "git"))
    assert variables(made, Target(tmp_path, devices)) == {
        "TARGET": str(tmp_path),
        "SUITE": "bookworm",
        "ARCH": "amd64",
        "PARTITION_STYLE": "msdos",
        "EXTRA_PKGS": "vim,git",
        "BLOCKDEV": "/dev/drbd0",
        "FSYSDEV": "/dev/loop11",
    }


def test_every_hook_has_a_switch_and_the_sites_come_last() -> None:
    hooks = all_hooks({}, Path("/"))
    names = [hook.name for hook in hooks]
    assert names[-1] == "site"
    assert {f"hook_{name}" for name in names} - {"hook_fstab"} == {
        name for name in DEFINITIONS if name.startswith("hook_")
    } - {"hook_tmp"}
    off = context(**{f"hook_{name}": False for name in (*names, "tmp") if name != "fstab"})
    assert [hook.name for hook in hooks if hook.enabled(off)] == ["fstab"]
