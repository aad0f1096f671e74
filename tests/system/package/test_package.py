"""Builds the Debian package, and installs it on minimal systems, also over its predecessor."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from . import trees

OURS, PREDECESSOR = "ganeti-instance-kit", trees.PREDECESSOR
NEXT = "99.0"

# `$ours` is our package, `$next` its next version.
PRELUDE = f"""
ours=$(echo "$packages"/{OURS}_*_all.deb)
next=$packages/next.deb
predecessor=$(echo /srv/{PREDECESSOR}_*.deb)
shipped=/usr/share/{OURS}/etc
defaults=default/{PREDECESSOR}
list=ganeti/instance-debootstrap/variants.list
variants=ganeti/instance-debootstrap/variants
hooks=ganeti/instance-debootstrap/hooks
cd /etc

change() {{
  echo 'FILESYSTEM="xfs"' >>$defaults
  echo mine >>$list
  echo 'SUITE="sid"' >$variants/mine.conf
  echo 'SUITE="bookworm"  # as it was' >$variants/bookworm.conf
  printf '#!/bin/sh\\n' >$hooks/mine
  chmod 750 $hooks/mine
  cp -a /etc /changed
}}

stays() {{
  local file
  for file in $defaults $list $variants/mine.conf $variants/bookworm.conf $hooks/mine; do
    cmp $file /changed/$file
    [ "$(stat -c '%a %U' $file)" = "$(stat -c '%a %U' /changed/$file)" ]
  done
}}

no_diversion() {{
  if dpkg-divert --list | grep {OURS}; then exit 1; fi
}}

all_files() {{
  find / -xdev -regextype egrep -not -regex '/var/(log|lib/dpkg|lib/apt|cache/(apt|tests))(/.*)?' |
    grep -vx /var/cache/ldconfig/aux-cache | sort
}}
set -x
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with our package and its next version."""
    directory = tmp_path_factory.mktemp("packages") / "built"
    built = subprocess.run(
        ["make", f"--directory={trees.TOP}", "deb", f"DEB={directory}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout
    (deb,) = directory.glob(f"{OURS}_*_all.deb")
    make_next_version(deb, directory / "next.deb")
    return directory


def make_next_version(deb: Path, result: Path) -> None:
    """Makes a package with another content of two files, one new variant, and one less."""
    tree = result.with_suffix("")
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text(
        "".join(
            f"Version: {NEXT}\n" if line.startswith("Version:") else f"{line}\n" for line in lines
        )
    )
    etc = tree / f"usr/share/{OURS}/etc"
    for name in (f"default/{PREDECESSOR}", "ganeti/instance-debootstrap/variants/sid.conf"):
        with (etc / name).open("a") as file:
            file.write("# of the next version\n")
    variants = etc / "ganeti/instance-debootstrap/variants"
    (variants / "buster.conf").rename(variants / "duke.conf")
    subprocess.run(["dpkg-deb", "-b", "--root-owner-group", "-Znone", tree, result], check=True)
    shutil.rmtree(tree)


@pytest.fixture(scope="module", params=trees.SUITES)
def image(request: pytest.FixtureRequest) -> Path:
    return trees.clean_tree(request.param)


@pytest.mark.quick
@pytest.mark.trixie
def test_lintian_has_nothing_to_say(packages: Path, tmp_path: Path) -> None:
    (changes,) = packages.glob("*.changes")
    ran = subprocess.run(
        ["lintian", "--pedantic", "--allow-root", "--fail-on=error,warning,pedantic", changes],
        env={**os.environ, "TMPDIR": str(tmp_path)},  # it leaves a file there
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


@pytest.mark.parametrize("way", ["apt-get -qq install", "dpkg -i"])
def test_it_takes_over_what_was_changed(way: str, image: Path, packages: Path) -> None:
    trees.on(
        image,
        packages,
        f"""{PRELUDE}
        dpkg -i $predecessor
        change
        {way} $ours
        dpkg-query -W -f '${{db:Status-Status}}\\n' {PREDECESSOR} | grep -x config-files
        stays
        cmp $variants/default.conf $shipped/$variants/default.conf  # nobody had changed it
        dpkg -P {PREDECESSOR}
        stays
        cmp $variants/default.conf $shipped/$variants/default.conf

        dpkg -P {OURS}
        no_diversion
        find /etc/ganeti /etc/default/{PREDECESSOR}* -type f 2>/dev/null | sort >/left || true
        printf '%s\\n' /etc/$hooks/mine /etc/$variants/mine.conf | cmp - /left
        """,
    )


def test_it_takes_over_what_was_left(image: Path, packages: Path) -> None:
    trees.on(
        image,
        packages,
        f"""{PRELUDE}
        dpkg -i $predecessor
        change
        dpkg -r {PREDECESSOR}
        dpkg -i $ours
        stays
        apt-get -qq purge {PREDECESSOR}
        stays
        dpkg --audit
        """,
    )


def test_it_renews_what_nobody_has_changed(image: Path, packages: Path) -> None:
    trees.on(
        image,
        packages,
        f"""{PRELUDE}
        dpkg -i $predecessor
        chmod 640 $defaults
        dpkg -i $ours
        diff -r $shipped/default/{PREDECESSOR} /etc/$defaults
        diff -r $shipped/ganeti/instance-debootstrap /etc/ganeti/instance-debootstrap | grep -vx \\
          'Only in /etc/ganeti/instance-debootstrap: hooks' && exit 1
        [ "$(stat -c %a $defaults)" = 640 ]
        """,
    )


def test_the_predecessor_may_come_back(image: Path, packages: Path) -> None:
    trees.on(
        image,
        packages,
        f"""{PRELUDE}
        dpkg -i $predecessor
        dpkg -i $ours
        change
        apt-get -qq install $predecessor
        no_diversion
        stays
        [ -x /usr/share/ganeti/os/debootstrap/create ]
        dpkg -P {OURS}
        stays
        [ -d /var/cache/{PREDECESSOR} ] && [ ! -e /var/lib/{OURS} ]
        """,
    )


def test_it_leaves_nothing(image: Path, packages: Path) -> None:
    trees.on(
        image,
        packages,
        f"""{PRELUDE}
        all_files >/before
        touch /after
        apt-get -qq install $ours
        cd /usr/share/ganeti/os/debootstrap
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin OS_API_VERSION=20 OS_NAME=debootstrap+bookworm \\
          OS_VARIANT=bookworm OSP_FILESYSTEM=xfs ./verify parameters
        [ "$(qcow2raw --version 2>&1 | tail -1)" = 'hint: apt-get install python3-libnbd' ]
        instance-kit gc --dry-run
        instance-kit cache list
        cd /etc
        change
        rm -r /changed $variants/mine.conf $hooks/mine
        mkdir /var/lib/{OURS}/copies
        touch /var/lib/{OURS}/copies/journal /var/cache/{PREDECESSOR}/kept.tar.zst
        mkdir /var/lib/{OURS}/nvram
        touch /var/lib/{OURS}/nvram/used-by-an-instance.fd
        dpkg -P {OURS}
        rm /var/lib/{OURS}/nvram/used-by-an-instance.fd
        rmdir /var/lib/{OURS}/nvram /var/lib/{OURS}
        no_diversion
        sed -i '\\|^/after$|d' /before
        rm /after
        all_files | grep -vx /before | diff - <(grep -vx /before /before)
        """,
    )


def test_upgrade_downgrade_and_removal_keep_what_was_changed(image: Path, packages: Path) -> None:
    trees.on(
        image,
        packages,
        f"""{PRELUDE}
        dpkg -i $ours
        change
        rm $variants/forky.conf
        dpkg -i $next
        stays
        [ ! -e $variants/forky.conf ] && [ ! -e $variants/buster.conf ]
        [ -e $variants/duke.conf ]
        cmp $variants/sid.conf $shipped/$variants/sid.conf
        grep 'of the next version' $variants/sid.conf
        dpkg -i $ours
        stays
        [ ! -e $variants/forky.conf ] && [ ! -e $variants/duke.conf ]
        cmp $variants/buster.conf $shipped/$variants/buster.conf
        cmp $variants/sid.conf $shipped/$variants/sid.conf
        dpkg -r {OURS}
        stays
        dpkg -i $next
        stays
        [ ! -e $variants/forky.conf ]
        """,
    )


def test_it_takes_the_place_of_make_install(image: Path, packages: Path) -> None:
    trees.on(
        image,
        packages,
        f"""{PRELUDE}
        mkdir -p /usr/lib/{OURS}/os-definition /usr/lib/{OURS}/gone/__pycache__ $hooks $variants
        touch /usr/lib/{OURS}/gone/module.py
        mkdir -p /usr/share/ganeti/os
        ln -s ../../../lib/{OURS}/os-definition /usr/share/ganeti/os/debootstrap
        change
        dpkg -i $ours
        stays
        [ ! -e /usr/lib/{OURS}/gone ]
        [ ! -L /usr/share/ganeti/os/debootstrap ]
        grep -q installer /usr/share/ganeti/os/debootstrap/create
        """,
    )


def test_an_installation_that_fails_diverts_nothing(image: Path, packages: Path) -> None:
    trees.on(
        image,
        packages,
        f"""{PRELUDE}
        mkdir -p /other/DEBIAN /other/usr/sbin
        touch /other/usr/sbin/qcow2raw
        printf '%s\\n' 'Package: other' 'Version: 1' 'Architecture: all' 'Maintainer: x <x@x>' \\
          'Description: has our file' >/other/DEBIAN/control
        dpkg-deb -b /other /other.deb
        dpkg -i /other.deb $predecessor
        change
        if dpkg -i $ours; then exit 1; fi
        no_diversion
        stays
        """,
    )
