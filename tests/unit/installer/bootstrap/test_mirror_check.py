from dataclasses import replace
from pathlib import Path

import pytest

from installer.bootstrap.archive import AccessError, Asker
from installer.bootstrap.mirror_check import check, served
from installer.bootstrap.mirrors import Mirrors
from installer.bootstrap.plan import BootstrapPlan
from node.errors import KitError


def test_the_mirror_is_asked_before(local: BootstrapPlan) -> None:
    check(local)
    with pytest.raises(KitError, match=r"suite trixie: the mirror file://.* does not have it"):
        check(replace(local, suite="trixie"))
    check(replace(local, suite="trixie", mirrors=Mirrors(None, None, "the engine")))


def test_a_dead_mirror_is_named(local: BootstrapPlan) -> None:
    dead = Mirrors("http://127.0.0.1:9/debian", None, "settings")
    with pytest.raises(KitError, match=r"127.0.0.1:9/debian/dists/bookworm/InRelease.*refused"):
        check(replace(local, mirrors=dead))


def test_a_mirror_of_the_site_may_stand_on_the_node(local: BootstrapPlan) -> None:
    plan = replace(local, mirrors=Mirrors("http://127.0.0.1:9/debian", None, "settings"))
    with pytest.raises(KitError, match=r"127.0.0.1:9/debian/dists/bookworm/InRelease.*refused"):
        check(replace(plan, users_hosts=frozenset({"deb.example.org"})))
    with pytest.raises(KitError, match="OS parameters must not name this node"):
        check(replace(plan, users_hosts=frozenset({"127.0.0.1"})))


def test_all_mirrors_are_asked_before(local: BootstrapPlan) -> None:
    dead = replace(local.mirrors, security="http://127.0.0.1:9/debian-security")
    with pytest.raises(KitError, match=r"debian-security/dists/bookworm-security/.*refused"):
        check(replace(local, mirrors=dead))


def test_archives_that_do_not_exist_are_warned_about(
    local: BootstrapPlan, caplog: pytest.LogCaptureFixture
) -> None:
    assert served(local, local.mirrors) == [(local.mirrors.main, "bookworm")]
    assert "no suite bookworm-updates" in caplog.text


def test_a_guest_never_goes_without_its_security_updates(
    local: BootstrapPlan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = replace(local, mirrors=replace(local.mirrors, security=f"file://{tmp_path}/security"))
    for ask in (check, lambda plan: served(plan, plan.mirrors)):
        with pytest.raises(KitError, match=r"suite bookworm-security: .*no security updates"):
            ask(plan)
    index = tmp_path / "security/dists/bookworm-security/InRelease"
    index.parent.mkdir(parents=True)
    index.touch()
    assert (plan.mirrors.security, "bookworm-security") in served(plan, plan.mirrors)
    assert "no security updates" not in caplog.text


def test_what_left_the_mirror_is_to_be_had_elsewhere(local: BootstrapPlan) -> None:
    for suite, hint in (("stretch", "archive of old releases"), ("trixie", "correct SUITE")):
        with pytest.raises(KitError, match=f"suite {suite}: the mirror .* does not have") as caught:
            check(replace(local, suite=suite))
        assert hint in caught.value.hint


def test_no_mirror_of_security_updates_is_warned_about(
    local: BootstrapPlan, caplog: pytest.LogCaptureFixture
) -> None:
    served(local, local.mirrors)
    assert "bookworm-security: the guest gets no security updates" in caplog.text


def test_what_has_reached_its_end_of_life_goes_without(
    local: BootstrapPlan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = tmp_path / "debian/dists/buster/InRelease"
    index.parent.mkdir()
    index.touch()
    plan = replace(local, suite="buster")
    plan = replace(plan, mirrors=replace(plan.mirrors, security=f"file://{tmp_path}/security"))
    check(plan)
    served(plan, plan.mirrors)
    assert "no suite buster/updates: the guest goes without it" in caplog.text


def index(plan: BootstrapPlan, suite: str, text: str) -> None:
    """Lets the mirror have this index."""
    assert plan.mirrors.main is not None
    path = Path(plan.mirrors.main.removeprefix("file://")) / "dists" / suite / "InRelease"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)


PAST, FUTURE = "Sat, 06 Sep 2014 10:45:02 UTC", "Sat, 06 Sep 2110 10:45:02 UTC"


@pytest.mark.parametrize(
    ("text", "why", "remedy"),
    [
        (f"Valid-Until: {PAST}", "its index expired at 2014-09-06 10:45 UTC", "=debootstrap"),
        (f"Date: {FUTURE}", "made at 2110-09-06 10:45 UTC, but this node's clock", "timedatectl"),
        ("Components: a b", "does not have the components main", "the mirror has a b"),
        ("Architectures: all arm64", "not have the architecture amd64", "this one has all arm64"),
    ],
)
def test_what_no_engine_could_make_a_guest_of(
    local: BootstrapPlan, text: str, why: str, remedy: str
) -> None:
    index(local, "bookworm", f"{text}\n")
    with pytest.raises(KitError, match=f"suite bookworm of the mirror file://.*{why}") as caught:
        check(local)
    assert remedy in caught.value.hint


@pytest.mark.parametrize("text", [f"Valid-Until: {PAST}", f"Date: {FUTURE}"])
def test_debootstrap_does_not_look_at_the_times(local: BootstrapPlan, text: str) -> None:
    index(local, "bookworm", f"{text}\n")
    check(replace(local, engine="debootstrap"))


def test_the_indexes_of_updates_expire_too(local: BootstrapPlan) -> None:
    index(local, "bookworm-updates", f"Valid-Until: {PAST}\n")
    with pytest.raises(KitError, match=r"suite bookworm-updates of the mirror .* expired"):
        check(local)


def test_archives_of_old_releases_have_expired(local: BootstrapPlan) -> None:
    index(local, "buster", f"Valid-Until: {PAST}\n")
    check(replace(local, suite="buster"))


def test_a_component_that_is_missing_among_others_is_warned_about(
    local: BootstrapPlan, caplog: pytest.LogCaptureFixture
) -> None:
    index(local, "bookworm", "Components: main contrib\n")
    check(replace(local, components=("main", "non-free-firmware")))
    assert "it does not have the components non-free-firmware" in caplog.text


def test_an_alias_of_debian_is_for_mirrors_of_debian(local: BootstrapPlan) -> None:
    plan = replace(local, alias="stable")
    index(plan, "bookworm", "Origin: Debian\n")
    check(plan)
    for origin, named in (
        ("Origin: Raspbian\n", "of Raspbian"),
        ("", "of an unknown distribution"),
    ):
        index(plan, "bookworm", origin)
        with pytest.raises(KitError, match=f"suite stable: that is bookworm of Debian.*{named}"):
            check(plan)
        check(local)  # named by its own name
    with pytest.raises(KitError, match=r"suite trixie \(stable of Debian\): the mirror") as caught:
        check(replace(plan, suite="trixie"))
    assert "set SUITE to the code name" in caught.value.hint


@pytest.mark.parametrize(
    ("refused", "status", "fails"),
    [
        ("bookworm", 403, True),
        ("bookworm-updates", 403, False),
        ("bookworm-updates", 407, True),
        ("bookworm-security", 403, True),
    ],
)
def test_only_what_a_guest_can_do_without_may_be_refused(
    local: BootstrapPlan,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refused: str,
    status: int,
    fails: bool,
) -> None:
    def asked(_self: Asker, mirror: str, suite: str) -> bytes:
        if suite == refused:
            raise AccessError(f"{mirror}/dists/{suite}/InRelease", status, "the mirror")
        return b"Suite: x\n"

    monkeypatch.setattr(Asker, "index", asked)  # test_archive asks servers
    plan = replace(local, mirrors=replace(local.mirrors, security="http://s.example.org"))
    if fails:
        with pytest.raises(AccessError):
            check(plan)
    else:
        check(plan)
        assert f"refuses access: HTTP status {status}" in caplog.text
