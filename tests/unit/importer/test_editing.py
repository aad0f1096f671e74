from typing import cast

import pytest

from importer.editing import Edit, as_diff, write
from node.errors import KitError
from node.guest_files import GuestFiles


class Files:
    """Files of a guest; notes what is done to them, in order."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts
        self.done: list[str] = []

    def read(self, path: str) -> str | None:
        return self.texts.get(path.lstrip("/"))

    def keep(self, path: str, directory: str) -> None:
        self.done.append(f"keep {path} in {directory}")

    def replace(self, path: str, text: str) -> None:
        self.done.append(f"write {path}: {text}")


def test_a_diff_shows_no_secrets() -> None:
    old = "[wifi]\npsk=correct horse\nwep-key0 = battery\n802-1x.password=staple\naddress=1\n"
    diff = as_diff([Edit("/etc/a", old, old.replace("address=1", "address=2"))])
    assert "-address=1\n+address=2" in diff
    for secret in ("correct", "battery", "staple"):
        assert secret not in diff
    assert " psk=***" in diff


@pytest.mark.parametrize(
    "line",
    [
        "    wpa-psk sesame",
        "\twireless-key1 x\n    wpa-private-key-passwd sesame",
        '          password: "sesame"',
        "          - {password: sesame}",
        "PrivateKey=sesame",
        "802-1x.pin=sesame",
        "WPA_PASSPHRASE=sesame",
        "PresharedKey=sesame",
        "      key: sesame",
        "        - keys: {public: x, shared: sesame}",
        "            private: sesame",
    ],
)
def test_a_diff_shows_no_secrets_of_other_programs(line: str) -> None:
    diff = as_diff([Edit("/etc/a", f"{line}\naddress 1\n", f"{line}\naddress 2\n")])
    assert "sesame" not in diff and "+address 2" in diff


def test_a_diff_shows_what_only_looks_like_a_secret() -> None:
    text = "mapping eth0\nup ping -c1 x\nup keyboard x\naddress"
    diff = as_diff([Edit("/etc/a", f"{text} 1\n", f"{text} 2\n")])
    assert "mapping eth0" in diff
    assert "***" not in diff


def test_a_new_file() -> None:
    assert as_diff([Edit("/etc/a", None, "x\n")]) == "--- /dev/null\n+++ b/etc/a\n@@ -0,0 +1 @@\n+x"


def test_old_files_are_kept_before_the_first_is_written() -> None:
    files = Files(a="1", b="2")
    edits = [Edit("/a", "1", "x"), Edit("/b", "2", "y"), Edit("/c", None, "z")]
    write(cast(GuestFiles, files), edits, "now")
    place = "/etc/ganeti-instance-kit/before-now"
    assert files.done == [
        f"keep /a in {place}",
        f"keep /b in {place}",
        "write /a: x",
        "write /b: y",
        "write /c: z",
    ]


@pytest.mark.parametrize(
    "edit", [Edit("/b", "1", "y"), Edit("/b", None, "y"), Edit("/c", "1", "y")]
)
def test_what_has_changed_since_is_not_written(edit: Edit) -> None:
    files = Files(a="1", b="2")
    with pytest.raises(KitError, match="in the guest: it has changed since it was read"):
        write(cast(GuestFiles, files), [Edit("/a", "1", "x"), edit], "now")
    assert files.done == []
