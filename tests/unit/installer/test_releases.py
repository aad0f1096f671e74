"""Suites: distribution and end of life; aliases as debian.csv of distro-info-data has them."""

from datetime import date
from pathlib import Path

import pytest

from installer.releases import distribution, named, release, security_suite, suite_problem
from node.errors import KitError

TABLE = """\
version,codename,series,created,release,eol,eol-lts,eol-elts
1.1,Buzz,buzz,1993-08-16,1996-06-17,1997-06-05
11,Bullseye,bullseye,2019-07-06,2021-08-14,2024-08-14,2026-08-31,2031-06-30
12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30,2033-06-30
13,Trixie,trixie,2023-06-10,2025-08-09,2028-08-09,2030-06-30,2035-06-30
14,Forky,forky,2025-08-09
15,Duke,duke,2027-08-01
,Sid,sid,1993-08-16
,Experimental,experimental,1993-08-16
"""


@pytest.mark.parametrize(
    ("alias", "day", "expected"),
    [
        ("stable", date(2025, 8, 8), "bookworm"),
        ("stable", date(2025, 8, 9), "trixie"),
        ("oldstable", date(2025, 8, 8), "bullseye"),
        ("oldstable", date(2025, 8, 9), "bookworm"),
        ("oldoldstable", date(2025, 8, 9), "bullseye"),
        ("testing", date(2025, 8, 8), "trixie"),
        ("testing", date(2025, 8, 9), "forky"),
        ("unstable", date(2025, 8, 9), "sid"),
        ("oldoldstable", date(2022, 1, 1), None),
        ("testing", date(1990, 1, 1), None),
    ],
)
def test_aliases_move_on_the_day_of_a_release(alias: str, day: date, expected: str) -> None:
    assert release(alias, TABLE, day) == expected


def test_code_names_need_no_table(tmp_path: Path) -> None:
    assert named("bookworm", tmp_path / "none") == "bookworm"
    assert named("jammy", tmp_path / "none") == "jammy"


def test_an_alias_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="suite stable") as caught:
        named("stable", tmp_path / "none")
    assert "distro-info-data" in caught.value.hint
    (tmp_path / "broken").write_bytes(b"\xff\n")
    with pytest.raises(KitError, match="suite testing"):
        named("testing", tmp_path / "broken")


@pytest.mark.parametrize(
    ("suite", "script", "mirror", "expected"),
    [
        ("bookworm", None, None, "debian"),
        ("duke", None, None, "debian"),
        ("jammy", "gutsy", None, "ubuntu"),
        ("hirsute", "gutsy", None, "ubuntu"),
        # The debootstrap of Debian 12 knows no suite after lunar.
        ("noble", None, "http://mirror.example.org/apt", "ubuntu"),
        ("kali-rolling", "kali", None, "kali"),
        ("ascii", "sid", None, ""),
        ("zany", None, "http://mirror.example.org/ubuntu/", "ubuntu"),
        ("zany", None, "http://mirror.example.org/apt", ""),
    ],
)
def test_distribution(
    suite: str, script: str | None, mirror: str | None, expected: str, tmp_path: Path
) -> None:
    if script:
        (tmp_path / script).touch()
        if script != suite:
            (tmp_path / suite).symlink_to(script)
    assert distribution(suite, mirror, tmp_path) == expected


@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("buster", "buster/updates"),
        ("bullseye", "bullseye-security"),
        ("forky", "forky-security"),
        ("sid", None),
    ],
)
def test_security_suite(suite: str, expected: str | None) -> None:
    assert security_suite(suite, "debian") == expected


def test_releases_at_their_end_of_life_need_a_mirror() -> None:
    problem = suite_problem("buster", "")
    assert problem is not None and "end of life" in problem and "set MIRROR" in problem
    assert suite_problem("buster", "http://mirror.example.org/debian") is None
    assert suite_problem("bullseye", "") is None
