import pytest

from backup.dumps.guest import with_root

OLD, NEW = "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "6c1f7a52-0d5b-4a31-9a36-3c2a7a4b9a01"
MENU = """search --no-floppy --fs-uuid --set=root {root}
linux /vmlinuz root=UUID={root} ro
linux /vmlinuz root=UUID={root} ro single
"""


@pytest.mark.parametrize("in_fstab", [f"UUID={OLD}", f"/dev/disk/by-uuid/{OLD}", "/dev/vda1", None])
def test_the_menu_gets_the_new_root(in_fstab: str | None) -> None:
    assert with_root(MENU.format(root=OLD), in_fstab, NEW) == MENU.format(root=NEW)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('APPEND "root=LABEL=rootfs" ro', f'APPEND "root=UUID={NEW}" ro'),
        ("append root=LABEL=rootfs ro", f"append root=UUID={NEW} ro"),
        ("append root=LABEL=rootfs2 ro", "append root=LABEL=rootfs2 ro"),
        ("append root=/dev/vda1 ro", "append root=/dev/vda1 ro"),
    ],
)
def test_a_root_that_is_named_by_its_label(line: str, expected: str) -> None:
    assert with_root(line, "LABEL=rootfs", NEW) == expected
