from hypothesis import given
from hypothesis import strategies as st

from guest.fstab import Entry, render


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
