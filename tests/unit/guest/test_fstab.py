import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest.fstab import Entry, moved, parsed, render, root_spec, without_doubles


def test_columns_are_aligned() -> None:
    entries = [
        Entry("UUID=6c1f7a52-0d5b-4a31-9a36-3c2a7a4b9a01", "/", "ext4", "errors=remount-ro", 1),
        Entry("UUID=0b001f8f-6fc9-4baf-b62c-f094892ac479", "/srv", "ext4", passno=2),
        Entry("/swapfile", "none", "swap", "sw"),
    ]
    titles, *lines = render(entries).splitlines()
    assert titles.startswith("# ")
    assert lines == [
        "UUID=6c1f7a52-0d5b-4a31-9a36-3c2a7a4b9a01  /            ext4  errors=remount-ro  0     1",
        "UUID=0b001f8f-6fc9-4baf-b62c-f094892ac479  /srv         ext4  defaults           0     2",
        "/swapfile                                  none         swap  sw                 0     0",
    ]
    assert [titles.index(title) for title in ("mount point", "type", "options", "dump")] == [
        lines[0].index(field) for field in ("/  ", "ext4", "errors", "0     1")
    ]


def test_white_space_and_backslashes_are_escaped() -> None:
    line = render([Entry("LABEL=a b", "/srv/x\ty\\z", "ext4")]).splitlines()[1]
    assert line.split()[:2] == [r"LABEL=a\040b", r"/srv/x\011y\134z"]


@given(st.text(st.sampled_from("/ab \t\n\\0147"), min_size=1))
def test_fields_come_back_whole(mountpoint: str) -> None:
    text = render([Entry("UUID=1", "/" + mountpoint, "ext4")])
    (line,) = [line for line in text.splitlines() if not line.startswith("#")]
    fields = line.split()
    assert len(fields) == 6
    # fstab(5)'s own escapes are Python's octal ones.
    assert fields[1].encode().decode("unicode_escape") == "/" + mountpoint


ROOT = Entry("UUID=aa", "/", "ext4", "errors=remount-ro", 1)
SRV = Entry("UUID=bb", "/srv", "ext4", passno=2)
SWAP = Entry("UUID=cc", "none", "swap", "sw")
TMP = Entry("tmpfs", "/tmp", "tmpfs", "mode=1777,nosuid,nodev")
OURS = (ROOT, SRV, SWAP, TMP)
NAMES = {"/dev/vdb": "UUID=bb", "/dev/vdc": "UUID=cc"}


@pytest.mark.parametrize(
    ("added", "gone"),
    [
        ("# a comment\nproc /proc proc defaults 0 0\n", ()),
        ("/dev/vda1 / ext4 defaults 0 1\n", (ROOT,)),
        ("UUID=dd /srv/ xfs defaults 0 0\n", (SRV,)),
        ("tmpfs /tmp tmpfs size=1g 0 0\n", (TMP,)),
        ("tmpfs /scratch tmpfs size=1g 0 0\n", ()),
        ('UUID="cc" swap swap defaults 0 0\n', (SWAP,)),
        ("/dev/vdc none swap sw 0 0\n", (SWAP,)),
        ("/dev/disk/by-uuid/bb /data ext4 defaults 0 0\n", (SRV,)),
        ("/dev/vdb /data ext4\n", (SRV,)),
        ("UUID=aa /mnt/all btrfs subvolid=5 0 0\n", ()),
        ("/other-swap none swap sw 0 0\n", ()),
        ("UUID=cc none swap sw 0 0\n", (SWAP,)),  # the very line
        ("UUID=dd / ext4\nUUID=cc none swap pri=1\n", (ROOT, SWAP)),
    ],
)
def test_what_a_hook_wrote_takes_the_place_of_ours(added: str, gone: tuple[Entry, ...]) -> None:
    text, doubles = without_doubles(render(OURS) + added, OURS, NAMES)
    assert doubles == gone
    lines = render(OURS).splitlines(keepends=True)
    kept = [line for line, entry in zip(lines[1:], OURS, strict=True) if entry not in gone]
    assert text == "".join([lines[0], *kept, added])


def test_lines_that_a_hook_has_changed_are_its_own() -> None:
    changed = render(OURS).replace("errors=remount-ro", "noatime") + "UUID=dd / ext4 defaults\n"
    assert without_doubles(changed, OURS, NAMES) == (changed, ())


def test_subvolumes_are_mounted_beside_their_whole() -> None:
    ours = [Entry("UUID=r", "/", "btrfs"), Entry("UUID=d", "/srv", "btrfs")]
    text = render(ours) + "UUID=d /srv/www btrfs noatime,subvol=www 0 0\n"
    assert without_doubles(text, ours, {}) == (text, ())
    moved = render(ours) + "UUID=d /data btrfs noatime 0 0\n"
    assert without_doubles(moved, ours, {})[1] == (ours[1],)


@pytest.mark.parametrize(
    ("line", "expected", "changed"),
    [
        (
            "UUID=old  /   ext3  noatime,errors=remount-ro 0 1",
            "UUID=new  /   ext4  noatime,errors=remount-ro 0 1",
            False,
        ),
        ("  /dev/sda1 / ext4", "  UUID=new / ext4", False),
        ("# UUID=old / ext3 defaults 0 1", "# UUID=old / ext3 defaults 0 1", False),
        ("proc /proc proc defaults 0 0", "proc /proc proc defaults 0 0", False),
        ("/dev/vdb none swap sw 0 0", "/dev/vdb none swap sw 0 0", False),
        ("/swapfile none swap sw 0 0", "/swapfile none swap sw 0 0", False),
        ("UUID=s none swap sw 0 0", "# not in the backup: UUID=s none swap sw 0 0", True),
        ('UUID="d" /srv ext4 noatime 0 2', 'UUID="d" /srv ext4 noatime,nofail 0 2', True),
        ("LABEL=d /srv ext4", "LABEL=d /srv ext4 defaults,nofail", True),
        ("/dev/disk/by-id/x /srv ext4 rw 0 2", "/dev/disk/by-id/x /srv ext4 rw,nofail 0 2", True),
        ("UUID=d /srv ext4 noauto,rw 0 2", "UUID=d /srv ext4 noauto,rw 0 2", False),
        ("UUID=d /srv ext4 nofail 0 2", "UUID=d /srv ext4 nofail 0 2", False),
    ],
)
def test_a_guest_whose_root_was_made_anew(line: str, expected: str, changed: bool) -> None:
    text = f"# the first line\n{line}\n\n"
    assert moved(text, "UUID=new", "ext4") == (
        f"# the first line\n{expected}\n\n",
        (line.strip(),) if changed else (),
    )


def test_the_root_of_an_fstab() -> None:
    text = '# UUID=no / ext4\nproc /proc proc\nUUID="old" / ext4 defaults 0 1\n'
    assert root_spec(text) == "UUID=old"
    assert root_spec("proc /proc proc\n") is None


@given(st.text(st.sampled_from("/ab =UID\t\n#,")))
def test_a_line_without_a_device_stays_as_it_is(text: str) -> None:
    found, changed = moved(text, "UUID=new", "ext4")
    assert len(found.splitlines()) == len(text.splitlines())
    assert not changed or "UUID=new" not in changed


def test_parsed() -> None:
    text = (
        "# UUID=0 /old ext4\n"
        'UUID="12ab" / ext4 errors=remount-ro 0 1\n'
        "LABEL=data /srv/my\\040data xfs\n"
        "UUID=34cd none swap sw 0 0\nbroken line\n"
    )
    assert parsed(text) == (
        Entry("UUID=12ab", "/", "ext4", "errors=remount-ro"),
        Entry("LABEL=data", "/srv/my data", "xfs"),
        Entry("UUID=34cd", "none", "swap", "sw"),
    )
