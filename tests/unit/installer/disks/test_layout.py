from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest.fstab import render
from guest.instance import Instance
from installer.disks.layout import Layout, mountpoint_of, plan_layout, plan_only_root
from installer.disks.prepare import mkfs_argv
from installer.settings import MIB, Settings

GOLDEN = Path(__file__).parents[3] / "data/golden/disks"


def counted() -> Callable[[], UUID]:
    def numbers() -> Iterator[UUID]:
        number = 0
        while True:
            number += 1
            yield UUID(int=number << 96 | number)

    generator = numbers()
    return lambda: next(generator)


def instance(
    *names: str | None, access: str = "rw", environ: dict[str, str] | None = None
) -> Instance:
    values = {
        "OS_API_VERSION": "20",
        "INSTANCE_NAME": "web1.example.org",
        "HYPERVISOR": "kvm",
        "DISK_COUNT": str(len(names)),
        "NIC_COUNT": "0",
        **(environ or {}),
    }
    for index, name in enumerate(names):
        values[f"DISK_{index}_PATH"] = f"/dev/vg/disk{index}"
        values[f"DISK_{index}_ACCESS"] = access
        if name is not None:
            values[f"DISK_{index}_NAME"] = name
    return Instance.from_environ(values)


def planned(
    *names: str | None,
    sizes: list[int] | None = None,
    existing: dict[int, tuple[str, str]] | None = None,
    **settings: object,
) -> Layout:
    mib = sizes or [4096] * len(names)
    return plan_layout(
        instance(*names),
        Settings(kernel="linux-image-amd64", **settings),  # type: ignore[arg-type]
        {index: size * MIB for index, size in enumerate(mib)},
        existing=existing or {},
        new_uuid=counted(),
    )


def indexes(disks: tuple[object, ...]) -> list[int]:
    return [disk.disk.index for disk in disks]  # type: ignore[attr-defined]


def test_disks_become_what_their_names_say() -> None:
    layout = planned(None, "swap", "var-lib-postgresql", "var", None, "data")
    assert layout.root.mountpoint == "/"
    assert indexes(layout.swaps) == [1]
    assert [disk.mountpoint for disk in layout.data] == ["/var", "/var/lib/postgresql"]
    assert indexes(layout.untouched) == [4, 5]


@pytest.mark.parametrize("style", ["msdos", "gpt", "none"])
def test_fstab(style: str) -> None:
    layout = planned(None, "swap", "srv", None, partition_style=style)
    text = render(layout.fstab(swapfile=False, grow=True))
    assert text == (GOLDEN / f"fstab-{style}").read_text()


def test_fstab_without_a_swap_disk_has_the_file() -> None:
    entries = planned(None).fstab(swapfile=True, grow=True)
    assert [(entry.spec, entry.fstype) for entry in entries][-1] == ("/swapfile", "swap")


@pytest.mark.parametrize(
    ("name", "mountpoint"),
    [
        ("srv", "/srv"),
        ("home", "/home"),
        ("var-lib-postgresql", "/var/lib/postgresql"),
        ("srv-my\\x2ddata", "/srv/my-data"),
        ("/var/lib/mysql", "/var/lib/mysql"),
        ("swap", None),
        ("root", None),
        ("data", None),
        ("usr", None),
        ("etc-ssh", None),
        ("var-..-..-etc", None),
        ("var--lib", None),
        ("srv-a b", None),
        ("", None),
        (None, None),
    ],
)
def test_mountpoint_of(name: str | None, mountpoint: str | None) -> None:
    assert mountpoint_of(name) == mountpoint


@given(st.text())
def test_mountpoints_stay_below_their_tops(name: str) -> None:
    mountpoint = mountpoint_of(name)
    if mountpoint is not None:
        parts = mountpoint.split("/")
        assert ".." not in parts and parts[1] in (
            "home",
            "media",
            "mnt",
            "opt",
            "srv",
            "tmp",
            "var",
        )


def test_a_small_root_is_refused_with_the_size_that_it_needs() -> None:
    with pytest.raises(ValueError, match=r"disk 0 \(/\): too small: it has 1 GiB, .* 1.9 GiB"):
        planned(None, sizes=[1024])


def test_a_swap_disk_makes_a_smaller_root_do() -> None:
    assert planned(None, "swap", sizes=[1401, 64]).root.size == 1401 * MIB


def test_a_small_data_disk_is_refused() -> None:
    with pytest.raises(ValueError, match=r"disk 1 \(/srv\): too small: .* 300 MiB"):
        planned(None, "srv", sizes=[4096, 200], filesystem="xfs")


@pytest.mark.parametrize("name", ["var-run", "/var/lock/x", "var-spool-mail"])
def test_nothing_is_mounted_on_a_link_of_every_guest(name: str) -> None:
    with pytest.raises(ValueError, match=r"disk 1 \(.*\): /var/.* is a link in the guest"):
        planned(None, name)


def test_two_disks_cannot_be_one_mountpoint() -> None:
    with pytest.raises(ValueError, match=r"disk 2 \(/srv\): disk 1 has the same mount point"):
        planned(None, "srv", "/srv")


def test_a_read_only_disk_cannot_be_root() -> None:
    with pytest.raises(ValueError, match=r"disk 0.*: read-only"):
        plan_layout(
            instance(None, access="ro"),
            Settings(),
            {0: 4096 * MIB},
            existing={},
            new_uuid=counted(),
        )


def test_the_first_disk_is_never_swap() -> None:
    with pytest.raises(ValueError, match=r"disk 0.*root disk"):
        planned("swap", None)


@pytest.mark.parametrize("name", ["var", "var-lib", "var-lib-dpkg", "var-lib-apt", "var-cache"])
def test_where_packages_are_kept_there_is_room_for_them(name: str) -> None:
    with pytest.raises(ValueError, match=r"disk 1 .*: too small: it has 255 MiB, .* 256 MiB"):
        planned(None, name, sizes=[4096, 255])
    planned(None, name, sizes=[4096, 256])
    with pytest.raises(ValueError, match=r"disk 1 .*: too small: .* 300 MiB"):
        planned(None, name, sizes=[4096, 256], filesystem="xfs")


@pytest.mark.parametrize("name", ["srv", "var-log", "var-lib-postgresql"])
def test_elsewhere_the_file_system_alone_says_how_small_a_disk_may_be(name: str) -> None:
    planned(None, name, sizes=[4096, 8])
    with pytest.raises(ValueError, match=r"needs at least 8 MiB"):
        planned(None, name, sizes=[4096, 7])


def test_no_disk_is_an_error() -> None:
    with pytest.raises(ValueError, match="no disk"):
        planned()


def test_msdos_ends_at_two_tebibytes() -> None:
    with pytest.raises(ValueError, match="use gpt"):
        planned(None, sizes=[3 * 1024 * 1024])
    assert planned(None, sizes=[3 * 1024 * 1024], partition_style="gpt").root.size == 3 << 40


def test_a_reinstall_keeps_data_but_makes_system_disks_anew() -> None:
    found = {
        1: ("xfs", "11111111-2222-3333-4444-555555555555"),
        2: ("ext4", "uuid-of-var"),
        3: ("ext4", "uuid-of-var-lib"),
    }
    layout = planned(None, "srv", "var", "var-lib", existing=found)
    assert [(disk.mountpoint, disk.fstype, disk.uuid) for disk in layout.kept] == [
        ("/srv", "xfs", "11111111-2222-3333-4444-555555555555")
    ]
    assert [disk.mountpoint for disk in layout.data] == ["/var", "/var/lib"]
    assert "UUID=11111111-2222-3333-4444-555555555555" in render(
        layout.fstab(swapfile=False, grow=True)
    )


def test_file_systems_grow_unless_switched_off() -> None:
    layout = planned(None, "srv")
    assert render(layout.fstab(swapfile=False, grow=True)).count("x-systemd.growfs") == 2
    assert "growfs" not in render(layout.fstab(swapfile=False, grow=False))


def test_a_large_alignment_needs_a_larger_disk() -> None:
    with pytest.raises(ValueError, match=r"too small: it has 3 GiB, but needs at least 4.4 GiB"):
        planned(None, "swap", sizes=[3072, 64], partition_style="gpt", partition_alignment=2**21)


def test_switched_off_swap_leaves_the_disk_alone() -> None:
    assert indexes(planned(None, "swap", hook_swap=False).untouched) == [1]


@pytest.mark.parametrize(
    ("fstype", "suite", "argv"),
    [
        ("ext4", "trixie", "mke2fs -q -F -t ext4 -U ID /dev/loop0"),
        (
            "ext4",
            "bullseye",
            "mke2fs -q -F -t ext4 -U ID -O ^metadata_csum_seed,^orphan_file /dev/loop0",
        ),
        (
            "ext4",
            "bionic",
            "mke2fs -q -F -t ext4 -U ID -O ^metadata_csum_seed,^orphan_file /dev/loop0",
        ),
        (
            "ext4",
            "xenial",
            "mke2fs -q -F -t ext4 -U ID -O ^metadata_csum,^metadata_csum_seed,^orphan_file"
            " /dev/loop0",
        ),
        ("ext4", "sid", "mke2fs -q -F -t ext4 -U ID /dev/loop0"),
        ("ext3", "trixie", "mke2fs -q -F -t ext3 -U ID /dev/loop0"),
        ("xfs", "trixie", "mkfs.xfs -q -f -m uuid=ID /dev/loop0"),
        ("btrfs", "bookworm", "mkfs.btrfs -q -f -U ID /dev/loop0"),
        ("btrfs", "xenial", "mkfs.btrfs -q -f -U ID -R ^free-space-tree /dev/loop0"),
    ],
)
def test_mkfs_argv(fstype: str, suite: str, argv: str) -> None:
    assert mkfs_argv(fstype, "ID", suite, Path("/dev/loop0")) == argv.split()


def test_older_suites_get_an_xfs_that_they_can_read() -> None:
    argv = mkfs_argv("xfs", "ID", "bullseye", Path("/dev/loop0"))
    assert argv == [
        *("mkfs.xfs", "-q", "-f", "-i", "nrext64=0"),
        *("-m", "uuid=ID,bigtime=0,inobtcount=0", "/dev/loop0"),
    ]
    argv = mkfs_argv("xfs", "ID", "stretch", Path("/dev/loop0"))
    assert argv[3:7] == ["-i", "sparse=0,nrext64=0", "-m", "uuid=ID,bigtime=0,inobtcount=0"]
    argv = mkfs_argv("xfs", "ID", "xenial", Path("/dev/loop0"))
    assert argv[6] == "uuid=ID,bigtime=0,inobtcount=0,reflink=0,rmapbt=0"


@pytest.mark.parametrize("style", ["msdos", "gpt", "none"])
def test_a_disk_from_a_backup_needs_no_room_for_an_installation(style: str) -> None:
    disk = instance(None, "swap").disks[1]
    layout = plan_only_root(disk, 200 * MIB, Settings(partition_style=style), counted())
    assert layout.root.disk is disk
    assert len(layout.root.partitions) == {"msdos": 1, "gpt": 3, "none": 0}[style]
    assert (layout.esp_id is not None) == (style == "gpt")
    assert not any((layout.swaps, layout.data, layout.kept, layout.untouched))


@pytest.mark.parametrize(
    ("style", "size", "why"),
    [
        ("msdos", MIB, "disk 1: too small: its file system needs 8 MiB at least"),
        ("gpt", 130 * MIB, "disk 1: too small"),
        ("msdos", 3 << 40, "disk 1 \\(/\\): larger than 2 TiB"),
    ],
)
def test_sizes_that_such_a_disk_cannot_have(style: str, size: int, why: str) -> None:
    disk = instance(None, None).disks[1]
    with pytest.raises(ValueError, match=why):
        plan_only_root(disk, size, Settings(partition_style=style), counted())
