"""The files of the Debian package agree with the rest of the project."""

import re
import tomllib
from pathlib import Path

TOP = Path(__file__).parents[2]
DEBIAN = TOP / "debian"
# Essential packages, which a package does not name as dependencies; dh_python3 adds python3.
IMPLIED = {"debianutils", "python3", "tar", "util-linux"}
# The kit uses them only if they are installed.
OPTIONAL = {"ovmf", "ubuntu-keyring"}


def field(name: str) -> set[str]:
    """The packages that the binary package's field names."""
    control = (DEBIAN / "control").read_text()
    found = re.search(rf"^{name}:\n((?: .*\n)+)", control, re.MULTILINE)
    assert found
    return set(re.findall(r"^ ([a-z][a-z0-9.+-]+),$", found[1], re.MULTILINE))


def test_all_name_the_same_version() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    changes = re.search(r"^## \[(\d\S*)\] - (.+)$", (TOP / "CHANGELOG.md").read_text(), re.M)
    package = re.match(r"ganeti-instance-kit \((.+)\) (\S+);", (DEBIAN / "changelog").read_text())
    assert changes and package
    assert changes[1] == package[1] == project["version"]
    assert (changes[2] == "unreleased") == (package[2] == "UNRELEASED")


def test_the_licence_is_that_of_the_project() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    text = (DEBIAN / "copyright").read_text()
    assert re.findall(r"^License: (.+)$", text, re.M) == 2 * [project["license"]["text"]]
    holders = re.search(r"^Copyright \(c\) (.+)$", (TOP / "LICENSE").read_text(), re.M)
    assert holders and f"Copyright: {holders[1]}\n" in text
    terms = (TOP / "LICENSE").read_text().partition("\n\n")[2].partition("\n\n")[2]
    packaged = text.rpartition("License: BSD-2-Clause\n")[2]
    assert [word for word in packaged.split() if word != "."] == terms.split()


def test_the_package_wants_what_make_installs() -> None:
    makefile = (TOP / "Makefile").read_text()
    listed = re.search(r"^NODE_PACKAGES := ((?:.*\\\n)*.*)$", makefile, re.M)
    assert listed
    named = set(listed[1].replace("\\", " ").split())
    wanted = field("Depends") | field("Recommends") | field("Suggests")
    assert wanted - OPTIONAL == named - IMPLIED


def test_creating_needs_no_appliance() -> None:
    assert not {"python3-guestfs", "libguestfs-tools"} & (field("Depends") | field("Recommends"))
