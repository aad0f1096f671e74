from dataclasses import replace
from pathlib import Path

import pytest

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
    with pytest.raises(KitError, match="OS parameters cannot name this node"):
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
