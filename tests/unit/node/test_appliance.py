"""The environment of libguestfs's programs."""

from pathlib import Path

import pytest

from node.appliance import _environment


@pytest.mark.parametrize(
    ("there", "sandboxed", "kept"),
    [(True, False, True), (False, False, False), (True, True, False)],
)
def test_tmpdir_is_kept_where_it_can_be_used(
    there: bool, sandboxed: bool, kept: bool, tmp_path: Path
) -> None:
    """libpam-tmpdir sets it to a directory below /tmp, which is another one for some callers."""
    place = tmp_path / "0"
    if there:
        place.mkdir()
    given = {"TMPDIR": str(place), "LIBGUESTFS_DEBUG": "1", "TAR_OPTIONS": "--remove-files"}
    found = _environment(given, use_kvm=False, sandboxed=sandboxed)
    assert ("TMPDIR" in found) is kept
    assert found["LIBGUESTFS_DEBUG"] == "1"
    assert found["LIBGUESTFS_BACKEND_SETTINGS"] == "force_tcg"
    assert "TAR_OPTIONS" not in found
