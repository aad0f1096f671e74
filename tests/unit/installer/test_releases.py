"""The table of releases: what is known of suites, and the facts that go by their order."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import distro_info
import pytest

from installer import releases
from installer.releases import (
    Since,
    dhcp_client,
    distribution,
    has_ended,
    kernel_package,
    known_suites,
    left_mirrors,
    named,
    network_stack,
    older_than,
    release,
    security_suite,
    suite_problem,
    table,
    unreadable_features,
    updates_suite,
    usr_is_merged,
    usr_may_be_unmerged,
)
from node.errors import KitError

DEBIAN = """\
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
UBUNTU = """\
version,codename,series,created,release,eol,eol-server,eol-esm
22.04 LTS,Jammy Jellyfish,jammy,2021-10-14,2022-04-21,2027-06-01,2027-06-01,2032-04-21
"""

# Those that distro-info does not know count as the newest of all.
NEWEST = ("sid", "later", "kali-rolling", "site-2031")
DEBIANS = ("jessie", "stretch", "buster", "bullseye", "bookworm", "trixie", "forky", *NEWEST)
UBUNTUS = ("trusty", "xenial", "bionic", "focal", "jammy", "kinetic", "noble", "resolute", *NEWEST)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for distro-info's tables, read in place of the node's."""
    monkeypatch.setattr(distro_info, "_get_data_dir", lambda: str(tmp_path))
    (tmp_path / "debian.csv").write_text(DEBIAN)
    (tmp_path / "ubuntu.csv").write_text(UBUNTU)
    table.cache_clear()
    yield tmp_path
    table.cache_clear()


def on(day: date, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "_today", lambda: day)


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
        # A table without the day on which forky came out.
        ("testing", date(2027, 8, 2), "forky"),
        ("oldoldstable", date(2022, 1, 1), None),
        ("testing", date(1990, 1, 1), None),
    ],
)
@pytest.mark.usefixtures("data")
def test_aliases_move_on_the_day_of_a_release(alias: str, day: date, expected: str | None) -> None:
    assert release(alias, table("debian"), day) == expected


def test_code_names_need_no_table(data: Path) -> None:
    (data / "debian.csv").unlink()
    assert named("bookworm") == "bookworm"
    assert named("jammy") == "jammy"


def test_an_alias_that_nobody_knows_is_an_error(data: Path) -> None:
    (data / "debian.csv").write_text("".join(DEBIAN.splitlines(keepends=True)[:1]))
    with pytest.raises(KitError, match="suite stable") as caught:
        named("stable")
    assert "distro-info-data" in caught.value.hint


@pytest.mark.parametrize(
    "content", [None, b"\xff\n", b"series\nbookworm\n", b"version,codename,series,created\n12,B\n"]
)
def test_a_table_that_cannot_be_read_is_an_error(data: Path, content: bytes | None) -> None:
    path = data / "debian.csv"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    # Which release is the older one is not guessed.
    with pytest.raises(KitError, match="releases of debian") as caught:
        dhcp_client("bookworm")
    assert caught.value.hint == "apt-get install --reinstall distro-info-data"


def test_releases_that_the_nodes_table_does_not_have_are_the_newest(data: Path) -> None:
    assert distribution("noble", scripts=data) == ""  # a newer debootstrap knows it
    assert not older_than("noble", Since(ubuntu="jammy"))
    # The table ends before the release that a fact begins with.
    assert older_than("jammy", Since(ubuntu="noble"))
    assert older_than("duke", Since("later"))
    assert not older_than("sid", Since("later"))


@pytest.mark.usefixtures("data")
def test_known_suites(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "kali").touch()
    assert {"bookworm", "sid", "jammy", "kali"} <= set(known_suites(scripts))
    assert "jammy" in known_suites(tmp_path / "none")


@pytest.mark.parametrize(
    ("suite", "script", "mirror", "expected"),
    [
        ("bookworm", None, None, "debian"),
        ("duke", None, None, "debian"),
        ("potato", None, None, "debian"),
        ("experimental", None, None, "debian"),
        ("jammy", "gutsy", None, "ubuntu"),
        ("hirsute", "gutsy", None, "ubuntu"),
        ("warty", None, None, "ubuntu"),
        ("later", "gutsy", None, "ubuntu"),
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
        ("stretch", "stretch/updates"),
        ("buster", "buster/updates"),
        ("bullseye", "bullseye-security"),
        ("forky", "forky-security"),
        ("later", "later-security"),
        ("sid", None),
        ("experimental", None),
    ],
)
def test_security_suite(suite: str, expected: str | None) -> None:
    assert security_suite(suite, "debian") == expected
    assert (updates_suite(suite, "debian") is None) is (expected is None)
    assert security_suite(suite, "kali") is updates_suite(suite, "kali") is None


@pytest.mark.parametrize("suite", ["xenial", "bionic", "jammy", "noble", "later"])
def test_ubuntus_security_suites(suite: str) -> None:
    assert security_suite(suite, "ubuntu") == f"{suite}-security"
    assert updates_suite(suite, "ubuntu") == f"{suite}-updates"


def test_releases_at_their_end_of_life_need_a_mirror() -> None:
    problem = suite_problem("buster", "")
    assert problem is not None and "end of life" in problem and "set MIRROR" in problem
    assert suite_problem("buster", "http://mirror.example.org/debian") is None
    assert suite_problem("bullseye", "") is None


def test_aliases_are_debians() -> None:
    assert distribution("unstable") == distribution("stable") == "debian"


@pytest.mark.usefixtures("data")
def test_an_end_of_life_is_that_of_the_longest_support(monkeypatch: pytest.MonkeyPatch) -> None:
    on(date(2026, 8, 31), monkeypatch)
    assert not has_ended("bullseye")
    on(date(2026, 9, 1), monkeypatch)
    assert has_ended("bullseye") and not has_ended("bookworm")
    on(date(2032, 4, 21), monkeypatch)
    assert not has_ended("jammy")
    on(date(2032, 4, 22), monkeypatch)
    assert has_ended("jammy")
    assert not any(map(has_ended, ("sid", "duke", "later")))


@pytest.mark.usefixtures("data")
def test_releases_leave_the_mirrors_a_year_after_their_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(date(2027, 8, 31), monkeypatch)
    assert not left_mirrors("bullseye")
    on(date(2027, 9, 1), monkeypatch)
    assert left_mirrors("bullseye") and not left_mirrors("bookworm")
    on(date(2099, 1, 1), monkeypatch)
    # Ubuntu's mirror itself says what is gone.
    assert not any(map(left_mirrors, ("jammy", "sid", "later")))


def suites_where(fact: bool, of: tuple[str, ...], since: Since) -> set[str]:
    return {suite for suite in of if older_than(suite, since) is fact}


def test_the_order_of_releases() -> None:
    assert suites_where(True, DEBIANS, Since("buster", "focal")) == {"jessie", "stretch"}
    assert suites_where(True, UBUNTUS, Since("buster", "bionic")) == {"trusty", "xenial"}
    assert suites_where(True, (*DEBIANS, *UBUNTUS), Since()) == set()


@pytest.mark.parametrize("suites", [DEBIANS, UBUNTUS])
def test_dhcp_clients(suites: tuple[str, ...]) -> None:
    newer = {"trixie", "forky", "noble", "resolute", *NEWEST}
    for suite in suites:
        assert dhcp_client(suite) == ("dhcpcd-base" if suite in newer else "isc-dhcp-client")


def test_network_stacks() -> None:
    assert {network_stack(suite, "debian") for suite in DEBIANS} == {"ifupdown"}
    assert {network_stack(suite, "") for suite in NEWEST} == {"ifupdown"}
    older = {suite for suite in UBUNTUS if network_stack(suite, "ubuntu") == "ifupdown"}
    assert older == {"trusty", "xenial"}
    assert {network_stack(suite, "ubuntu") for suite in UBUNTUS} == {"ifupdown", "networkd"}


def test_kernels() -> None:
    for suite in DEBIANS:
        assert kernel_package(suite, "debian", "amd64") == "linux-image-amd64"
        assert kernel_package(suite, "debian", "arm64") == "linux-image-arm64"
    # Debian 13 has none any more.
    i386 = {suite for suite in DEBIANS if kernel_package(suite, "debian", "i386")}
    assert i386 == {"jessie", "stretch", "buster", "bullseye", "bookworm"}
    assert kernel_package("bookworm", "debian", "i386") == "linux-image-686-pae"
    for suite in UBUNTUS:
        assert kernel_package(suite, "ubuntu", "amd64") == "linux-image-generic"
    assert kernel_package("kali-rolling", "kali", "amd64") is None


def test_merged_usr() -> None:
    suites = (*DEBIANS, *UBUNTUS)
    choice = {suite for suite in suites if usr_may_be_unmerged(suite)}
    assert choice == {
        *("jessie", "stretch", "buster", "bullseye"),
        *("trusty", "xenial", "bionic", "focal", "jammy"),
    }
    unmerged = {suite for suite in suites if not usr_is_merged(suite)}
    assert unmerged == {"jessie", "stretch", "trusty", "xenial", "bionic"}


OLDEST = ("jessie", "trusty", "xenial")
BEFORE_GRUB_204 = (*OLDEST, "stretch", "buster", "bionic")
BEFORE_GRUB_212 = (*BEFORE_GRUB_204, "bullseye", "bookworm", "focal", "jammy", "kinetic")


@pytest.mark.parametrize(
    ("fstype", "feature", "suites"),
    [
        ("ext4", "metadata_csum", OLDEST),
        ("ext4", "metadata_csum_seed", BEFORE_GRUB_212),
        ("ext4", "orphan_file", BEFORE_GRUB_212),
        ("xfs", "sparse", BEFORE_GRUB_204),
        ("xfs", "nrext64", BEFORE_GRUB_212),
        ("xfs", "bigtime", BEFORE_GRUB_212),
        ("xfs", "inobtcount", BEFORE_GRUB_212),
        ("xfs", "reflink", OLDEST),
        ("xfs", "rmapbt", OLDEST),
        ("btrfs", "free-space-tree", OLDEST),
    ],
)
def test_features_that_a_suite_cannot_read(
    fstype: str, feature: str, suites: tuple[str, ...]
) -> None:
    known = dict.fromkeys((*DEBIANS, *UBUNTUS))
    assert {suite for suite in known if feature in unreadable_features(suite, fstype)} == {*suites}


def test_other_file_systems_are_the_same_for_all() -> None:
    assert unreadable_features("jessie", "ext3") == unreadable_features("jessie", "ext2") == ()


def test_the_oldest_releases_get_no_later_feature() -> None:
    """The guests of old backups."""
    later = {"64bit", "metadata_csum", "metadata_csum_seed", "orphan_file"}
    assert set(unreadable_features("woody", "ext4")) == later
    assert "64bit" in unreadable_features("wheezy", "ext4")
    assert "64bit" not in unreadable_features("jessie", "ext4")
