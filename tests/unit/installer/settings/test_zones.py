from pathlib import Path

import pytest

from installer.hooks.locale import HookLocale, HookTimezone
from installer.settings import zones
from installer.settings.zones import aliases, is_zone
from node.errors import KitError
from tests.unit.installer.hooks.test_hooks import context


@pytest.fixture
def zoneinfo(tmp_path: Path) -> Path:
    """The zones of a node whose old names are in another package, which it lacks."""
    top = tmp_path / "zoneinfo"
    (top / "Europe").mkdir(parents=True)
    (top / "Europe/Kyiv").write_bytes(b"TZif2")
    (top / "leapseconds").write_text("# table")
    (top / "localtime").symlink_to("/etc/localtime")
    (top / "tzdata.zi").write_text(
        "# version 2025b\nZ America/New_York -4:56:2 - LMT 1883\n-5 u E%sT 1920\n"
        "Z Europe/Kyiv 2:2:4 - LMT 1880\nL Europe/Kyiv Europe/Kiev\n"
        "L America/New_York US/Eastern\n"
    )
    return top


def test_the_names_of_a_zone(zoneinfo: Path) -> None:
    assert aliases("US/Eastern", zoneinfo) == ("US/Eastern", "America/New_York")
    assert aliases("America/New_York", zoneinfo) == ("America/New_York", "US/Eastern")
    assert aliases("Europe/Kiev", zoneinfo) == ("Europe/Kiev", "Europe/Kyiv")
    for name in ("Europe", "Europe/Paris", "leapseconds", "localtime", "tzdata.zi", "../zoneinfo"):
        assert aliases(name, zoneinfo) == ()


def test_what_is_a_zone(zoneinfo: Path) -> None:
    assert is_zone("Europe/Kyiv", zoneinfo)
    assert not any(is_zone(name, zoneinfo) for name in ("Europe", "leapseconds", "localtime", "x"))


@pytest.mark.parametrize("name", ["Mars/Olympus", "leapseconds", "Europe"])
def test_a_zone_that_does_not_exist_is_refused_before(name: str) -> None:
    assert zones.ZONEINFO.is_dir()
    with pytest.raises(KitError, match=rf"time zone {name}: no such zone"):
        HookTimezone().check(context(timezone=name))
    HookTimezone().check(context(timezone="Europe/Berlin"))
    HookTimezone().check(context())


def test_a_locale_that_does_not_exist_is_refused_before() -> None:
    with pytest.raises(KitError, match=r"locale de_XX.UTF-8: the package locales does not know it"):
        HookLocale().check(context(locale="de_XX.UTF-8"))
    for name in ("de_DE.UTF-8", "C.UTF-8", "POSIX"):
        HookLocale().check(context(locale=name))
