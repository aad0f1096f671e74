"""File systems that older releases can read, by the node's own mkfs."""

from pathlib import Path

import pytest

from installer.disks.prepare import mkfs_argv
from installer.releases import unreadable_features
from node.run import run

UUID = "0b06c6ba-5eb8-4a4c-8ad6-5a2a5f1d5f3b"
SIZE = 400 << 20
# What names the features of a file system that is not mounted, and those that it calls otherwise.
ASK = {
    "ext4": ["dumpe2fs", "-h"],
    "xfs": ["xfs_db", "-r", "-c", "version"],
    "btrfs": ["btrfs", "inspect-internal", "dump-super"],
}
ALWAYS = {"ext4": "extent", "xfs": "crc", "btrfs": "no_holes"}
CALLED = {
    "sparse": "SPARSE_INODES",
    "inobtcount": "INOBTCNT",
    "nrext64": "NREXT64",
    "free-space-tree": "FREE_SPACE_TREE",
}


@pytest.mark.parametrize("suite", ["xenial", "stretch", "bookworm", "sid"])
@pytest.mark.parametrize("fstype", ASK)
def test_features_that_a_suite_cannot_read_are_off(fstype: str, suite: str, tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(SIZE)
    run(mkfs_argv(fstype, UUID, suite, image))
    said = run([*ASK[fstype], str(image)]).stdout.lower().replace(",", " ").split()
    assert ALWAYS[fstype] in said
    for feature in unreadable_features(suite, fstype):
        assert CALLED.get(feature, feature).lower() not in said
