"""What the smaller hooks render, and what they run in the guest."""

import base64
import hashlib
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from guest.instance import Instance
from guest.resolv import Resolver
from installer.disks.layout import plan_layout
from installer.disks.prepare import Devices
from installer.guest_tree import GuestTree
from installer.hooks import stages
from installer.hooks.base import Context
from installer.hooks.fstab import HookFstab
from installer.hooks.grub import HookGrub, modules
from installer.hooks.locale import HookLocale, HookTimezone
from installer.hooks.password import ALPHABET, LENGTH, random_password
from installer.hooks.site import HookSite
from installer.hooks.ssh import HookAuthorizedKeys, HookHostKeys, HookSsh
from installer.inputs import NodeFacts
from installer.settings import DEFINITIONS, MIB, Settings
from node.errors import KitError
from node.run import Result
from tests.e2e.scrape import FINGERPRINT

GOLDEN = Path(__file__).parents[3] / "data/golden/hooks"
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


class RecordingTree(GuestTree):
    """Runs nothing, and remembers what it should have run."""

    def __init__(self, root: Path, answers: dict[str, str] | None = None) -> None:
        super().__init__(root)
        self.ran: list[tuple[tuple[str, ...], str | None]] = []
        self._answers = answers or {}

    def run(self, argv: Sequence[str], *, input: str | None = None, **_: Any) -> Result:  # noqa: A002
        self.ran.append((tuple(argv), input))
        return Result(0, self._answers.get(argv[0], ""), "")

    def start(self, argv: Sequence[str], **options: Any) -> Callable[[], Result]:
        result = self.run(argv, **options)
        return lambda: result


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("grub-serial", context()),
        ("grub-9600", context(hv={"serial_speed": "9600"}, grub_timeout=1)),
        ("grub-xen-pv", context("xen-pvm")),
        ("grub-no-serial", context(hv={"serial_console": "False"})),
        ("grub-no-serial", context(hook_console=False)),
    ],
)
def test_grub_defaults(name: str, made: Context) -> None:
    (file,) = HookGrub().render(made).values()
    assert file.text == (GOLDEN / name).read_text()


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (
            context(kernel_args="quiet mitigations=auto,nosmt"),
            'kit_set GRUB_CMDLINE_LINUX "console=tty0 console=ttyS0,115200n8 quiet'
            ' mitigations=auto,nosmt"',
        ),
        (
            context(hook_console=False, kernel_args="quiet"),
            'kit_set GRUB_CMDLINE_LINUX "quiet"',
        ),
    ],
)
def test_kernel_arguments_stand_behind_ours(made: Context, line: str) -> None:
    (file,) = HookGrub().render(made).values()
    assert [
        found for found in file.text.splitlines() if found.startswith("kit_set GRUB_CMDLINE_LINUX ")
    ] == [line]


def test_grub_is_skipped_where_the_node_has_the_kernel() -> None:
    assert HookGrub().enabled(context())
    assert not HookGrub().enabled(context(hv={"kernel_path": "/boot/vmlinuz"}))


def test_grub_knows_partition_table_and_file_system() -> None:
    assert modules(context(filesystem="btrfs", partition_style="gpt")) == ("part_gpt", "btrfs")
    assert modules(context()) == ("part_msdos", "ext2")


@pytest.mark.parametrize("filesystem", ["xfs", "btrfs"])
def test_no_room_for_grub_is_an_error_before_a_disk_is_touched(filesystem: str) -> None:
    with pytest.raises(KitError, match="no space"):
        HookGrub().packages(context(filesystem=filesystem, partition_style="none"))


def test_an_architecture_without_boot_loader_is_an_error() -> None:
    made = context()
    other = replace(made, settings=replace(made.settings, arch="riscv64"))
    with pytest.raises(KitError, match="riscv64"):
        HookGrub().packages(other)


def test_tmp_is_a_tmpfs_unless_switched_off() -> None:
    assert "tmpfs" in HookFstab().render(context())["etc/fstab"].text
    assert "tmpfs" not in HookFstab().render(context(hook_tmp=False))["etc/fstab"].text


def test_file_systems_grow_unless_switched_off() -> None:
    assert "x-systemd.growfs" in HookFstab().render(context())["etc/fstab"].text
    assert "x-systemd.growfs" not in HookFstab().render(context(hook_grow=False))["etc/fstab"].text


def test_mount_points_are_made_inside_the_guest_only(tmp_path: Path) -> None:
    made = context()
    outside = tmp_path / "node"
    outside.mkdir()
    target = RecordingTree(tmp_path / "guest")
    target.root.mkdir()
    (target.root / "srv").symlink_to(outside)
    disk = replace(made.layout.root, mountpoint="/srv/data")
    with pytest.raises(KitError, match="symlink"):
        HookFstab().apply(replace(made, layout=replace(made.layout, data=(disk,))), target)
    assert not list(outside.iterdir())


def test_passwords_are_long_unambiguous_and_never_hold_the_nodes_name() -> None:
    assert not set("0O1lI") & set(ALPHABET)
    made = {random_password("a") for _ in range(200)}
    assert len(made) == 200
    assert {len(password) for password in made} == {LENGTH}
    assert not any("a" in password for password in made)
    assert all(set(password) <= set(ALPHABET) for password in made)


def test_a_node_without_name_gets_passwords_too() -> None:
    assert len(random_password("")) == LENGTH


def test_host_keys_are_made_for_the_instance(tmp_path: Path) -> None:
    target = KeyTarget(tmp_path, blobs("a") * 3)
    make_keys(context(), target)
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
    HookSsh().apply(context(), target)
    assert target.exists("etc/ssh/sshd_config.d/ganeti-instance-kit.conf")


def digest(blob: bytes) -> str:
    return base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def blobs(*parts: str) -> list[bytes]:
    """Public keys: in the fingerprint of each is this text, and none of the others."""
    found = []
    for part in parts:
        others = {*parts} - {part}
        candidates = (b"key %d" % number for number in itertools.count())
        found.append(
            next(
                blob
                for blob in candidates
                if part in digest(blob) and not any(other in digest(blob) for other in others)
            )
        )
    return found


class KeyTarget(RecordingTree):
    """A guest with an SSH server, whose ssh-keygen makes these keys one by one."""

    def __init__(self, root: Path, keys: list[bytes], comment: str = "root@web1.example.org"):
        super().__init__(root)
        self._keys = iter(keys)
        self._comment = comment
        self.write("usr/bin/ssh-keygen", "")
        self.write("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n")

    def run(self, argv: Sequence[str], **_: Any) -> Result:
        self.ran.append((tuple(argv), None))
        path = argv[-1].lstrip("/")
        if "-t" in argv:
            self.write(path, "secret")
            public = base64.b64encode(next(self._keys)).decode()
            self.write(f"{path}.pub", f"ssh-rsa {public} {self._comment}\n")
            return Result(0, "", "")
        shown = digest(base64.b64decode(self.read(path).split()[1]))
        return Result(0, f"256 SHA256:{shown} {self._comment} (RSA)\n", "")


def make_keys(made: Context, target: KeyTarget) -> None:
    later = HookHostKeys().apply(made, target)
    assert list(later.report()) == []
    later.finish()


def logged_keys(target: KeyTarget, hostname: str) -> list[str]:
    made = context()
    made = replace(made, node=replace(NODE, hostname=hostname))
    make_keys(made, target)
    later = HookSsh().apply(made, target)
    return [line for line in later.report() if "SHA256" in line]


@pytest.mark.parametrize(
    ("hostname", "comment"),
    [
        ("node1", "root@web1.example.org"),
        ("web1", "root"),
        ("root", "-"),
        ("t@w", "root"),
        # Nothing helps these; they must not be waited for.
        ("", "root@web1.example.org"),
        ("SHA", "root@web1.example.org"),
        ("256", "root@web1.example.org"),
    ],
)
def test_no_fingerprint_is_lost_to_the_nodes_name(
    tmp_path: Path, hostname: str, comment: str
) -> None:
    keys = blobs("a", "d", "g")
    lines = logged_keys(KeyTarget(tmp_path, keys), hostname)
    assert lines == [f"256 SHA256:{digest(key)} {comment} (RSA)" for key in keys]
    assert all(FINGERPRINT.fullmatch(line) for line in lines)


def test_a_key_whose_fingerprint_holds_the_nodes_name_is_made_again(tmp_path: Path) -> None:
    keys = blobs("n1", "d", "g", "n1", "a")
    lines = logged_keys(KeyTarget(tmp_path, keys), "n1")
    wanted = (keys[4], keys[1], keys[2])
    assert [line.split()[1] for line in lines] == [f"SHA256:{digest(key)}" for key in wanted]


def test_host_keys_are_made_also_where_only_the_site_installs_a_server(tmp_path: Path) -> None:
    built_in, *_ = stages({}, {}, Path("/"))
    hooks = [hook for hook in built_in if hook.enabled(context(hook_ssh=False))]
    (hook,) = (hook for hook in hooks if isinstance(hook, HookHostKeys))
    target = KeyTarget(tmp_path, blobs("a") * 3)
    assert list(hook.apply(context(), target).report()) == []
    assert target.exists("etc/ssh/ssh_host_ed25519_key")


@pytest.mark.parametrize("path", ["usr/bin/ssh-keygen", "etc/ssh/sshd_config"])
def test_no_host_keys_where_there_is_no_server(tmp_path: Path, path: str) -> None:
    target = KeyTarget(tmp_path, [])
    target.remove(path)
    make_keys(context(), target)
    assert target.ran == []


def test_authorized_keys_keep_options_and_comments(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    (tmp_path / "root").mkdir()
    HookAuthorizedKeys().apply(context(), target)
    assert target.read("root/.ssh/authorized_keys") == NODE.authorized_keys
    assert (tmp_path / "root/.ssh").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600


def test_the_time_zone_is_the_nodes_unless_set(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    for zone in ("Europe/Paris", "Etc/UTC"):
        target.write(f"usr/share/zoneinfo/{zone}", "TZif")
    HookTimezone().apply(context(), target)
    assert target.read("etc/timezone") == "Europe/Paris\n"
    HookTimezone().apply(context(timezone="Etc/UTC"), target)
    assert (tmp_path / "etc/localtime").readlink() == Path("../usr/share/zoneinfo/Etc/UTC")
    with pytest.raises(KitError, match="Mars/Olympus"):
        HookTimezone().apply(context(timezone="Mars/Olympus"), target)


def test_the_nodes_time_zone_is_left_out_where_the_guest_does_not_know_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = RecordingTree(tmp_path)
    target.write("usr/share/zoneinfo/Etc/UTC", "TZif")
    made = context()
    node = replace(NODE, timezone="US/Eastern")
    HookTimezone().apply(replace(made, node=node), target)
    assert (tmp_path / "etc/localtime").readlink() == Path("../usr/share/zoneinfo/Etc/UTC")
    assert target.read("etc/timezone") == "Etc/UTC\n"
    assert "US/Eastern" in caplog.text


def test_a_time_zone_is_a_file_of_the_guest(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path / "guest")
    target.write("usr/share/zoneinfo/America/New_York", "TZif")
    target.write("usr/share/zoneinfo/leapseconds", "# table")
    target.symlink("usr/share/zoneinfo/US/Eastern", "../America/New_York")
    (tmp_path / "passwd").touch()
    (target.root / "usr/share/zoneinfo/localtime").symlink_to(tmp_path / "passwd")
    HookTimezone().apply(context(timezone="US/Eastern"), target)
    assert target.read("etc/timezone") == "US/Eastern\n"
    for zone in ("America", "localtime", "leapseconds", "../../../../passwd"):
        with pytest.raises(KitError, match=zone):
            HookTimezone().apply(context(timezone=zone), target)


def test_a_locale_is_generated_with_its_character_set(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    target.write("usr/share/i18n/SUPPORTED", "de_DE ISO-8859-1\nde_DE.UTF-8 UTF-8\n")
    HookLocale().apply(context(locale="de_DE.UTF-8"), target)
    assert target.read("etc/locale.gen") == "de_DE.UTF-8 UTF-8\n"
    assert target.ran == [(("locale-gen",), None)]
    assert HookLocale().packages(context(locale="de_DE.UTF-8")) == ("locales",)
    assert HookLocale().packages(context()) == ()
    with pytest.raises(KitError, match="xx_XX"):
        HookLocale().apply(context(locale="xx_XX"), target)


def test_what_site_hooks_print_is_not_taken_for_a_fact(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = [
        "100% done",
        "256 SHA256:abc x (RSA)",
        "root password: secret",
        "configured eth0 with",
    ]

    def run(_argv: Sequence[str], **options: Any) -> Result:
        for line in printed:
            options["on_line"](line)
        return Result(0, "", "")

    monkeypatch.setattr("installer.hooks.site.run", run)
    devices = Devices(
        disk=Path("/dev/loop10"), fsysdev=Path("/dev/loop11"), esp=None, root=tmp_path
    )
    with caplog.at_level(logging.INFO, "ganeti-instance-kit"):
        made = replace(context(), site_hooks=("/hooks/one",))
        HookSite({}, {}, Path("/")).apply(made, GuestTree(tmp_path, devices))
    assert "100% done" in caplog.text
    # Of what is no fact, the log's formatter masks the words that are searched for.
    assert not [record for record in caplog.records if hasattr(record, "fact")]


def test_every_hook_has_a_switch_and_the_sites_come_last() -> None:
    *ours, site = stages({}, {}, Path("/"))
    hooks = (*(hook for stage in ours for hook in stage), *site)
    names = [hook.name for hook in hooks]
    assert [hook.name for hook in site] == ["site"]
    always = ["host_keys", "fstab"]
    switched = [name for name in names if name not in (*always, "boot_loader")]
    assert {f"hook_{name}" for name in switched} == {
        name for name in DEFINITIONS if name.startswith("hook_")
    } - {"hook_tmp"}
    off = context(**{f"hook_{name}": False for name in (*switched, "tmp")})
    assert [hook.name for hook in hooks if hook.enabled(off)] == always
