import os
from pathlib import Path

import pytest

from installer.settings import Settings
from installer.settings import load as variants
from node.errors import KitError
from node.run import PATH

SHIPPED = Path(__file__).resolve().parents[4] / "os-definition"


@pytest.fixture
def site(tmp_path):
    """A node: its defaults file, variants and OS directory."""
    (tmp_path / "variants").mkdir()
    (tmp_path / "variants.list").write_text("default\ntrixie\n")
    (tmp_path / "defaults").write_text(f'VARIANTS_DIR="{tmp_path}/variants"\nEXTRA_PKGS=less\n')
    return tmp_path


def load(site, variant=None, **environ):
    return variants.load(variant, environ, defaults_file=site / "defaults", os_dir=site)


def refused(site, variant=None, **environ):
    with pytest.raises(KitError) as caught:
        load(site, variant, **environ)
    return caught.value


def test_without_files_the_defaults_hold(tmp_path):
    loaded = load(tmp_path, None, OSP_FILESYSTEM="xfs")
    assert loaded == variants.Loaded(Settings(filesystem="xfs"), (), frozenset({"filesystem"}), {})
    assert load(tmp_path, "") == variants.Loaded(Settings(), (), frozenset(), {})


def test_a_variant_adds_to_the_defaults_file(site):
    (site / "variants/web.conf").write_text('SUITE=trixie\nEXTRA_PKGS="$EXTRA_PKGS,vim"\nX=1\n')
    loaded = load(site, "web", OSP_FILESYSTEM="btrfs")
    assert loaded.settings.suite == "trixie"
    assert loaded.settings.extra_pkgs == ("less", "vim")
    assert loaded.settings.filesystem == "btrfs"
    note = "not settings, only passed to the site's hooks: X"
    assert loaded.warnings == (f"{site}/variants/web.conf: {note}",)
    assert loaded.assigned == {
        "VARIANTS_DIR": f"{site}/variants",
        "EXTRA_PKGS": "less,vim",
        "SUITE": "trixie",
        "X": "1",
    }


def test_files_see_the_path_that_programs_get(site):
    (site / "defaults").write_text('PATH="/opt/bin:$PATH"\n')
    assert load(site).assigned == {"PATH": f"/opt/bin:{PATH}"}


def test_files_see_the_instance_but_no_parameters(site):
    (site / "variants/any.conf").write_text(
        'SUITE="$OS_VARIANT"\nCACHE_DIR="/x/$INSTANCE_NAME$OSP_SUITE"\n: ${PROXY:=http://p:1}\n'
    )
    environ = {"OS_VARIANT": "sid", "INSTANCE_NAME": "guest", "PROXY": "http://env:1"}
    settings = load(site, "any", **environ).settings
    assert (settings.suite, settings.cache_dir, settings.proxy) == ("sid", "/x/guest", "http://p:1")


@pytest.mark.parametrize("variant", ["../x", "a/b", ".", "-x", "a b", "x\n", "é"])
def test_odd_names_of_variants_are_refused(site, variant):
    assert "not a valid name of a variant" in refused(site, variant).message


def test_a_published_variant_without_a_file(site):
    error = refused(site, "trixie")
    assert f"{site}/variants.list lists it" in error.message
    assert f"create {site}/variants/trixie.conf" in error.hint


def test_an_unpublished_variant_without_a_file(site):
    error = refused(site, "trixy")
    assert f"{site}/variants.list does not list it" in error.message
    assert f"{site}/variants/trixy.conf" in error.hint


def test_a_file_that_would_run_something(site):
    (site / "variants/web.conf").write_text("SUITE=sid\nMIRROR=$(cat /etc/mirror)\n")
    error = refused(site, "web")
    assert error.message.startswith(f"{site}/variants/web.conf, line 2: ")
    assert "not executed" in error.hint


def test_a_file_that_cannot_be_read(site):
    path = site / "variants/web.conf"
    path.mkdir()
    assert refused(site, "web").message.startswith(f"cannot read {path}: ")


def test_comments_and_the_hooks_variables_may_be_of_any_encoding(site):
    path = site / "variants/web.conf"
    path.write_bytes(b"# caf\xe9\nSUITE=sid\nMOTD='d\xe9j\xe0'\n")
    loaded = load(site, "web")
    assert loaded.settings.suite == "sid"
    assert os.fsencode(loaded.assigned["MOTD"]) == b"d\xe9j\xe0"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"LOCALE=fran\xe7ais", 'web.conf, line 2: LOCALE="fran\\xe7ais": not a locale'),
        (b"caf\xe9", "web.conf, line 2: 'caf\\xe9' is not an assignment"),
        (b"echo caf\xe9", "web.conf, line 2: 'echo' is not an assignment"),
    ],
)
def test_other_text_that_is_no_utf8_is_named_with_its_place(site, line, said):
    (site / "variants/web.conf").write_bytes(b"# first\n" + line + b"\n")
    message = refused(site, "web").message
    assert said in message
    message.encode()  # it can be printed


def test_all_bad_settings_are_named_at_once(site):
    (site / "variants/web.conf").write_text("SUITE=SID\n")
    error = refused(site, "web", OSP_FILESYSTEM="zfs", OSP_DHCP="maybe")
    assert isinstance(error, variants.BadSettingsError)
    assert len(error.problems) == 3
    assert all(problem in error.message for problem in error.problems)


def test_the_shipped_variants(tmp_path):
    (tmp_path / "defaults").write_text(f'VARIANTS_DIR="{SHIPPED}/variants"\n')
    published = (SHIPPED / "variants.list").read_text().split()
    assert published[0] == "default"
    assert {path.stem for path in (SHIPPED / "variants").iterdir()} == set(published)
    for variant in published:
        if variant == "buster":
            assert "MIRROR" in refused(tmp_path, variant).message
        else:
            loaded = load(tmp_path, variant)
            assert loaded.settings.suite == ("" if variant == "default" else variant)
            assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("parameters", "hosts"),
    [
        ({"OSP_SECURITY_MIRROR": "none"}, set()),
        ({"OSP_MIRROR": ""}, set()),
        ({"OSP_MIRROR": "http://DEB.example.org:80/debian"}, {"deb.example.org"}),
        ({"OSP_SUITE": "trixie"}, set()),
    ],
)
def test_hosts_that_users_name_are_told_from_the_sites(site, parameters, hosts):
    (site / "defaults").write_text("MIRROR=http://127.0.0.1:3142/debian\n")
    assert load(site, **parameters).users_hosts == hosts
