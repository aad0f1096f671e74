import logging

import pytest

from installer import verify
from node.errors import KitError
from node.log import log


@pytest.fixture
def messages(caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level(logging.INFO, logger=log.name):
        yield lambda: [(found.levelname, found.getMessage()) for found in caplog.records]


def run(tmp_path, *argv, **environ):
    verify.main(argv, environ, defaults_file=tmp_path / "defaults", os_dir=tmp_path)


def test_good_parameters_say_nothing(tmp_path, messages):
    run(tmp_path, "parameters", OSP_FILESYSTEM="xfs")
    assert messages() == []


def test_each_bad_value_has_its_line(tmp_path, messages):
    with pytest.raises(
        KitError, match=r"^OS parameters and settings: 2 are not allowed$"
    ) as caught:
        run(tmp_path, "parameters", OSP_FILESYSTEM="zfs", OSP_FOO="1")
    assert messages() == [
        ("ERROR", "-O filesystem=zfs: not one of ext4, xfs, btrfs, ext3, ext2"),
        ("ERROR", "-O foo: unknown parameter"),
    ]
    assert "ganeti-os-debootstrap(7)" in caught.value.hint


def test_unknown_settings_are_warned_about(tmp_path, messages):
    (tmp_path / "defaults").write_text("FOO=1\n")
    run(tmp_path, "parameters")
    path = tmp_path / "defaults"
    text = f"{path}: not settings, only passed to the site's hooks: FOO"
    assert messages() == [("WARNING", text)]


def test_a_missing_variant_is_an_error(tmp_path):
    (tmp_path / "defaults").write_text(f"VARIANTS_DIR={tmp_path}\n")
    with pytest.raises(KitError, match=r"^OS variant lenny: "):
        run(tmp_path, "parameters", OS_VARIANT="lenny")


@pytest.mark.parametrize("argv", [(), ("memory",), ("parameters", "memory")])
def test_other_checks_are_unknown(tmp_path, argv):
    with pytest.raises(KitError, match=r"^verify( memory: no such check|: no check given)$"):
        run(tmp_path, *argv)
