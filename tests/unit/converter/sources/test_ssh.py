"""ssh:// URLs, and the command line that comes of them."""

import base64
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.sources.ssh import ssh_source
from converter.sources.ssh_helper import (
    ImageState,
    Location,
    parse,
    parse_check,
    parse_state,
    socket_of,
    ssh_command,
)
from node.errors import KitError


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("ssh://far/a/b.qcow2", Location(None, "far", None, "/a/b.qcow2", None)),
        ("ssh://root@far:22/a%20b%3F%25", Location("root", "far", 22, "/a b?%", None)),
        ("ssh://a.b+c@10.0.0.1/x?format=raw", Location("a.b+c", "10.0.0.1", None, "/x", "raw")),
        ("ssh://[2001:db8::1]:2222/x", Location(None, "2001:db8::1", 2222, "/x", None)),
        ("ssh://far/b%FCro", Location(None, "far", None, "/b\udcfcro", None)),
        ("ssh://far/b\udcfcro", Location(None, "far", None, "/b\udcfcro", None)),
        ("ssh://far/a\nb\tc\x1b ", Location(None, "far", None, "/a\nb\tc\x1b ", None)),
        ("ssh://far//dev/vg/lv", Location(None, "far", None, "//dev/vg/lv", None)),
    ],
)
def test_urls(url: str, location: Location) -> None:
    assert parse(url) == location


@pytest.mark.parametrize(
    "url",
    [
        "ssh://-oProxyCommand=x/a",
        "ssh://-l@far/a",
        "ssh://root@-far/a",
        "ssh://a;b@far/a",
        "ssh://$(x)@far/a",
        "ssh://far host/a",
        "ssh://fa\nr/a",
        "ssh:///a",
        "ssh://far",
        "ssh://far/",
        "ssh://far/a%00b",
        "ssh://far:port/a",
        "ssh://far:70000/a",
        "ssh://me:secret@far/a",
        "ssh://far/a?driver=x",
        "ssh://far/a?x",
        "ssh://far/a#b",
        "sftp://far/a",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse(url)


@settings(derandomize=True, max_examples=200)
@given(
    path=st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1)
)
def test_a_path_reaches_the_far_script_as_it_is(path: str) -> None:
    location = Location("root", "far", 2222, f"/{path}", None)
    *command, host, far = ssh_command(location, "/tmp/dir", 16)
    assert (command[-1], host) == ("--", "far")
    words = shlex.split(far)
    assert words[:3] == ["exec", "sh", "-c"]
    assert words[4:] == ["sh", "/tmp/dir", f"/{path}", "16"]


def test_the_command_line_of_ssh() -> None:
    command = ssh_command(Location("me", "far", 2222, "/a", None), "/tmp/dir", 16)
    assert command[:3] == ["unshare", "--mount", "--"]
    ssh = command[command.index("ssh", 6) :]
    assert {"-oBatchMode=yes", "-oExitOnForwardFailure=yes", "-oControlPath=none"} <= set(ssh)
    assert ssh[-9:-3] == ["-l", "me", "-p", "2222", "-L", "/sys/nbd:/tmp/dir/nbd"]
    assert socket_of(7) == "/proc/7/root/sys/nbd"
    plain = ssh_command(Location(None, "far", None, "/a", None), "/tmp/dir", 16)
    assert "-l" not in plain and "-p" not in plain


def test_states() -> None:
    state = parse_state("block 1024 5 77 1795389654.517061547 1795389653.000000001")
    assert state == ImageState(True, 1024, 5, 77, "1795389654.517061547", "1795389653.000000001")
    for wrong in ("", "file 1 2 3", "file one 2 3 4"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_state(wrong)


def test_what_qemu_img_says_comes_with_how_it_ended() -> None:
    assert parse_check("0 ") == (0, [])
    said = base64.b64encode("ERROR \u00e4\nand more\n".encode()).decode()
    assert parse_check(f"2 {said}") == (2, ["ERROR \u00e4", "and more"])
    for other in ("", "no number", "1 no base64!"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_check(other)


def test_formats_are_checked_before_anything_is_run() -> None:
    for url, image_format, why in (
        ("ssh://far/a?format=raw", "vmdk", "contradicts"),
        ("ssh://far/a", "img", "format img: unknown"),
        ("ssh://-far/a", None, "not a host name"),
    ):
        with pytest.raises(KitError, match=why), ssh_source(url, image_format):
            pass
