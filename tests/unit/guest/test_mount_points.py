from guest.mount_points import Place, Volume, places, volume

ROOT = volume("/dev/sda1", {"UUID": "AA-1", "LABEL": "root", "PART_ENTRY_UUID": "77-01"})
DATA = volume("/dev/sdb", {"UUID": "bb-2", "LABEL": "my data", "PART_ENTRY_NAME": "data"})
LV = volume("/dev/my-vg/var", {"UUID": "cc-3"})


def test_names_of_a_volume() -> None:
    names = {"/dev/sda1", "UUID=aa-1", "LABEL=root", "PARTUUID=77-01"}
    assert Volume("/dev/sda1", frozenset(names)) == ROOT
    assert "/dev/mapper/my--vg-var" in LV.names


def test_outer_ones_first_whatever_they_are_called_by() -> None:
    text = r"""
# comment
UUID=aa-1 / ext4 defaults 0 1
/dev/disk/by-label/my\x20data /var/lib/my\040app ext4 defaults,nofail # there
/dev/mapper/my--vg-var  /var/  ext4
PARTUUID="77-01" /again xfs noatime
/dev/xvdb /first btrfs rw,subvol=@home,compress=zstd 0 0
/dev/nvme1n1 /second btrfs subvolid=256
UUID=aa-1 none swap sw
/dev/sda1 /swapped swap sw
"""
    found, left_out = places(text, [ROOT, DATA, LV])
    assert left_out == ()
    assert found == (
        Place("/dev/my-vg/var", "/var"),
        Place("/dev/sda1", "/again"),
        Place("/dev/sdb", "/first", ("subvol=@home",)),
        Place("/dev/sdb", "/second", ("subvolid=256",)),
        Place("/dev/sdb", "/var/lib/my app"),
    )


def test_what_is_on_no_disk_is_not_mentioned() -> None:
    text = """
proc /proc proc
tmpfs /tmp tmpfs defaults
server:/srv /srv nfs ro
/srv/x /mnt none bind
/dev/sda1 /mnt none bind
/dev/sda1
LABEL=root swap auto
"""
    assert places(text, [ROOT]) == ((), ())


def test_what_is_missing_is_left_out_in_words() -> None:
    text = "UUID=99-9 /srv ext4\nLABEL=data /x ext4\n/dev/vdc1 /y ext4"
    assert places(text, [ROOT, DATA])[1] == (
        "/srv: no file system UUID=99-9 on the disks",
        "/x: no file system LABEL=data on the disks",
        "/y: no file system /dev/vdc1 on the disks",
    )


def test_mount_points_that_lead_elsewhere_or_come_twice() -> None:
    text = "LABEL=root /a/../../b ext4\nLABEL=root //c/./d/ ext4\nLABEL=root /c/d ext4"
    assert places(text, [ROOT])[0] == (Place("/dev/sda1", "/c/d"),)
