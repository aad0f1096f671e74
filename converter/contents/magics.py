"""The magics of file systems and similar formats of which we check only the magic. Pure.

Names, offsets and magics are those of libblkid (util-linux, libblkid/src/superblocks and
partitions). They serve one check: whether a disk with a swap signature is something else by now. So
magics within a swap header (bytes 1024 to 1536) and magics of two bytes are left out.
"""

from converter.reading import Window

KIB = 1 << 10
HEAD = 512 * KIB  # contains most of them
_BCACHE = bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")
_BCACHEFS = bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")
_STRATIS = b"!Stra0tis\x86\xff\x02^\x41rh"
_UFS = (0x19540119, 0x00011954, 0x00195612, 0x00095014, 0x00612195, 0x05231994)
_UFS_PLACES = (0, 8 * KIB, 64 * KIB, 256 * KIB)
_UFS_MAGIC = 1372  # in its superblock

# Type, offset in bytes, magic.
KNOWN: tuple[tuple[str, int, bytes], ...] = (
    ("apfs", 32, b"NXSB"),
    ("bcache", 4 * KIB + 24, _BCACHE),
    ("bcachefs", 4 * KIB + 24, _BCACHEFS),
    ("bcachefs", 2048 * KIB + 24, _BCACHEFS),
    ("befs", 32, b"BFS1"),
    ("befs", 32, b"1SFB"),
    ("befs", 512 + 32, b"BFS1"),
    ("befs", 512 + 32, b"1SFB"),
    ("BitLocker", 0, b"\xeb\x52\x90-FVE-FS-"),
    ("BitLocker", 0, b"\xeb\x58\x90-FVE-FS-"),
    ("ceph_bluestore", 0, b"bluestore block device"),
    ("btrfs", 64 * KIB + 64, b"_BHRfS_M"),
    ("cramfs", 0, b"\x45\x3d\xcd\x28"),
    ("cramfs", 0, b"\x28\xcd\x3d\x45"),
    ("drbdmanage_control_volume", 0, b"$DRBDmgr=q"),
    ("exfs", 0, b"EXFS"),
    ("f2fs", 5 * KIB, b"\x10\x20\xf5\xf2"),
    ("gfs2", 64 * KIB, b"\x01\x16\x19\x70"),
    ("hpfs", 8 * KIB, b"\x49\xe8\x95\xf9"),
    ("jfs", 32 * KIB, b"JFS1"),
    ("mpool", 0, b"mpoolDev"),
    ("nss", 4 * KIB, b"SPB5"),
    ("ocfs", 8 * KIB, b"OracleCFS"),
    ("ocfs2", 2 * KIB, b"OCFSV2"),
    ("ocfs2", 4 * KIB, b"OCFSV2"),
    ("ocfs2", 8 * KIB, b"OCFSV2"),
    ("oracleasm", 32, b"ORCLDISK"),
    ("ReFS", 0, b"\0\0\0ReFS\0"),
    ("reiser4", 64 * KIB, b"ReIsEr4"),
    ("reiserfs", 8 * KIB + 20, b"ReIsErFs"),
    ("reiserfs", 8 * KIB + 52, b"ReIsErFs"),
    ("reiserfs", 64 * KIB + 52, b"ReIsErFs"),
    ("reiserfs", 64 * KIB + 52, b"ReIsEr2Fs"),
    ("reiserfs", 64 * KIB + 52, b"ReIsEr3Fs"),
    ("romfs", 0, b"-rom1fs-"),
    ("scoutfs", 64 * KIB + 4, b"\x8b\x42\x3c\x10"),
    ("squashfs", 0, b"hsqs"),
    ("squashfs", 0, b"sqsh"),
    ("stratis", 512 + 4, _STRATIS),
    ("stratis", 9 * 512 + 4, _STRATIS),
    ("sysv", 2 * KIB, b"\x2b\x55\x44"),
    ("sysv", 2 * KIB, b"\x44\x55\x2b"),
    ("ubi", 0, b"UBI#"),
    ("ubifs", 0, b"\x31\x18\x10\x06"),
    ("udf", 32 * KIB + 1, b"BEA01"),
    ("udf", 32 * KIB + 1, b"NSR02"),
    ("udf", 32 * KIB + 1, b"NSR03"),
    *(
        ("ufs", place + _UFS_MAGIC, magic.to_bytes(4, order))
        for place in _UFS_PLACES
        for magic in _UFS
        for order in ("little", "big")
    ),
    ("vdo", 0, b"dmvdo001"),
    ("VMFS", 2048 * KIB, b"\x5e\xf1\xab\x2f"),
    ("VMFS_volume_member", 1024 * KIB, b"\x0d\xd0\x01\xc0"),
    ("vxfs", 8 * KIB, b"\xa5\x01\xfc\xf5"),
    ("xfs_external_log", 0, b"\xfe\xed\xba\xbe"),
    ("zonefs", 0, b"SFOZ"),
    # Partition tables: some of them allow a first partition that begins at byte 0 of the disk.
    ("table of AIX", 0, b"\xc9\xc2\xd4\xc1"),
    ("table of BSD", 64, b"\x57\x45\x56\x82"),
    ("table of BSD", 128, b"\x57\x45\x56\x82"),
    ("table of BSD", 512, b"\x57\x45\x56\x82"),
    ("table of SGI", 0, b"\x0b\xe5\xa9\x41"),
    ("table of Sun", 508, b"\xda\xbe"),
)
# A ZFS label ends with its uberblocks, of 1 KiB or more each, in the writer's byte order.
_ZFS_LABELS, _ZFS_UBERBLOCKS, _ZFS_RING = (0, 256 * KIB), 128 * KIB, 128 * KIB
_ZFS_MAGICS = tuple((0x00BAB10C).to_bytes(8, order) for order in ("little", "big"))


def others(window: Window) -> list[str]:
    """The types of all magics that are found, each once."""
    head = window.at(0, HEAD)  # one read, since each may be slow

    def at(place: int, length: int) -> bytes:
        end = place + length
        return head[place:end] if end <= HEAD else window.at(place, length)

    found = {name: None for name, place, magic in KNOWN if at(place, len(magic)) == magic}
    for label in _ZFS_LABELS:
        first = label + _ZFS_UBERBLOCKS
        places = range(first, first + _ZFS_RING, KIB)
        if any(at(place, 8) in _ZFS_MAGICS for place in places):
            found["zfs_member"] = None
    return list(found)
