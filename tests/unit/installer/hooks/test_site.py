"""What the site's hooks are given, and what of their output reaches the log."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.disks.prepare import Devices
from installer.guest_tree import GuestTree
from installer.hooks.site import HookSite, hook_variables, listed, passed_on_to_hooks
from node.errors import CommandError, KitError
from node.run import Result
from tests.unit.installer.hooks.test_hooks import context

DEVICES = Devices(Path("/dev/loop10"), Path("/dev/loop11"), None, Path("/target"))
TARGET = GuestTree(DEVICES.root, DEVICES)


def test_hooks_get_all_that_the_older_provider_has_for_them() -> None:
    made = context(
        extra_pkgs=("vim", "git"),
        mirror="http://mirror.example.org/debian",
        proxy="http://me:secret@proxy.example.org:3128",
        components=("main", "contrib"),
        filesystem="xfs",
    )
    assert hook_variables(made, TARGET) == {
        "TARGET": "/target",
        "SUITE": "bookworm",
        "ARCH": "amd64",
        "PARTITION_STYLE": "msdos",
        "EXTRA_PKGS": "vim,git",
        "BLOCKDEV": "/dev/loop10",
        "FSYSDEV": "/dev/loop11",
        "MIRROR": "http://mirror.example.org/debian",
        "PROXY": "http://me:secret@proxy.example.org:3128",
        "http_proxy": "http://me:secret@proxy.example.org:3128",
        "https_proxy": "http://me:secret@proxy.example.org:3128",
        "COMPONENTS": "main,contrib",
        "CUSTOMIZE_DIR": "/etc/ganeti/instance-debootstrap/hooks",
        "VARIANTS_DIR": "/etc/ganeti/instance-debootstrap/variants",
        "GENERATE_CACHE": "yes",
        "CLEAN_CACHE": "14",
        "CACHE_DIR": "/var/cache/ganeti-instance-debootstrap",
        "PARTITION_ALIGNMENT": "2048",
        "OSP_FILESYSTEM": "xfs",
    }


def test_without_a_proxy_none_is_exported() -> None:
    found = hook_variables(context(), TARGET)
    assert found["PROXY"] == "" and "http_proxy" not in found


def test_what_steers_programs_or_is_ganetis_is_not_passed_on() -> None:
    site = {
        "KERNEL_IMAGE_PKG": "linux-image-rt-amd64",
        "LDAP_SERVER": "192.0.2.1",
        "suite": "x",
        "PATH": "/opt/bin:/bin",
        "http_proxy": "http://proxy.example.org:3128",
        "OSLO": "1",
    }
    kept_back = {
        "LD_PRELOAD": "/x.so",
        "BASH_ENV": "/x",
        "ENV": "/x",
        "IFS": "x",
        "TMPDIR": "/x",
        "PYTHONPATH": "/x",
        "PERL5LIB": "/x",
        "SHELLOPTS": "xtrace",
        "PS4": "x",
        "INSTANCE_NAME": "x",
        "DISK_0_PATH": "/dev/sda",
        "NIC_0_IP": "x",
        "OSP_SUITE": "x",
        "HYPERVISOR": "x",
        "OS_VARIANT": "x",
    }
    assert passed_on_to_hooks({**site, **kept_back}) == site


def run_printing(
    monkeypatch: pytest.MonkeyPatch, lines: Sequence[str], error: str = "", **settings: Any
) -> dict[str, str]:
    """Runs a hook that prints these lines, and gives its environment."""
    environment: dict[str, str] = {}

    def run(_argv: Sequence[str], **options: Any) -> Result:
        environment.update(options["env"])
        for line in lines:
            options["on_line"](line)
        if error:
            raise CommandError(
                f"{options['what']}: {error}", exit_code=1, stdout="", stderr="", hint="see above"
            )
        return Result(0, "", "")

    monkeypatch.setattr("installer.hooks.site.run", run)
    ganetis = {"INSTANCE_NAME": "web1.example.org", "PATH": "/sbin:/bin"}
    assigned = {"SUITE": "sid", "LDAP_SERVER": "192.0.2.1", "INSTANCE_NAME": "x"}
    made = replace(context(**settings), site_hooks=("/hooks/one",))
    HookSite(ganetis, assigned, Path("/")).apply(made, TARGET)
    return environment


def test_hooks_are_those_that_run_parts_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "installer.hooks.site.run", lambda *_args, **_options: Result(0, "/h/10\n/h/20 x\n", "")
    )
    settings = context(customize_dir=str(tmp_path)).settings
    assert listed(settings) == ("/h/10", "/h/20 x")
    assert listed(replace(settings, hook_site=False)) == ()
    assert listed(replace(settings, customize_dir=str(tmp_path / "missing"))) == ()


def test_what_counts_for_the_guest_wins_over_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_printing(monkeypatch, [])
    assert found["SUITE"] == "bookworm"
    assert found["LDAP_SERVER"] == "192.0.2.1"
    assert found["INSTANCE_NAME"] == "web1.example.org"
    assert found["PATH"] == "/sbin:/bin"


def test_the_password_of_the_proxy_stays_out_of_log_and_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = "http://me:s3cret@proxy.example.org:3128"
    with (
        caplog.at_level(logging.INFO, "ganeti-instance-kit"),
        pytest.raises(KitError) as caught,
    ):
        run_printing(
            monkeypatch,
            [f"+ export http_proxy={proxy}", "curl -U me:s3cret", "with s3cret"],
            f"wget: {proxy}: refused",
            proxy=proxy,
        )
    assert "s3cret" not in caplog.text + caught.value.message
    assert "+ export http_proxy=http://***@proxy.example.org:3128" in caplog.text
