import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from installer.bootstrap import archive
from installer.bootstrap.archive import AccessError, Asker
from node.errors import KitError

SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
SUITE_X = b"Suite: x"


@contextmanager
def mirror(answers: dict[str, bytes]) -> Iterator[str]:
    """The URL of a server that answers requests for these files with these bytes, others with 404.

    Bytes that end in `...` are sent one every tenth of a second, and nothing closes the connection.
    """
    over = threading.Event()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            name = self.rfile.readline().split()[1].decode().rpartition("/")[2]
            while self.rfile.readline().strip():
                pass
            answer = answers.get(name, status(404))
            if not answer.endswith(b"..."):
                self.wfile.write(answer)
                return
            for byte in answer.removesuffix(b"...") + b"x" * 10**6:
                self.wfile.write(bytes([byte]))
                if over.wait(0.1):
                    return

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/debian"
        finally:
            over.set()
            server.shutdown()
            thread.join()


def status(code: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def signed(index: bytes, signature: bytes | None) -> str | None:
    """Stands in for gpgv, which no unit test may run: tests/system asks the real one."""
    return None if index == SIGNED or signature == b"signature" else "not signed"


def asker(*, proxy: str | None = None, public_only: Collection[str] = ()) -> Asker:
    return Asker(proxy, signed, public_only)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"InRelease": status(200, SIGNED)}, SIGNED),
        ({"InRelease": status(410), "Release": status(404)}, None),
        ({"Release": status(200, SUITE_X), "Release.gpg": status(200, b"signature")}, SUITE_X),
        (
            {
                "InRelease": status(403),
                "Release": status(200, SUITE_X),
                "Release.gpg": status(200, b"signature"),
            },
            SUITE_X,
        ),
    ],
)
def test_what_a_mirror_says(answers: dict[str, bytes], expected: bytes | None) -> None:
    with mirror(answers) as url:
        assert asker().index(url, "bookworm") == expected


@pytest.mark.parametrize(
    ("code", "proxied", "who", "remedy"),
    [
        (401, False, "the mirror", "no password"),
        (403, False, "the mirror", "allow this node"),
        (403, True, "the proxy or the mirror", "allow this node"),
        (407, True, "the proxy", "set PROXY with the user"),
    ],
)
def test_what_is_refused_is_not_missing(code: int, proxied: bool, who: str, remedy: str) -> None:
    with mirror({name: status(code) for name in ("InRelease", "Release")}) as url:
        proxy = url.removesuffix("/debian") if proxied else None
        asked = "http://deb.example.org/debian" if proxied else url
        with pytest.raises(AccessError) as caught:
            asker(proxy=proxy).index(asked, "bookworm")
    assert f"{who} refuses access: HTTP status {code}" in caught.value.message
    assert f"mirror: {asked}/dists/bookworm/" in caught.value.message
    assert remedy in caught.value.hint


def test_a_403_stays_one_where_the_other_index_is_missing() -> None:
    with mirror({"InRelease": status(403)}) as url, pytest.raises(AccessError, match="403"):
        asker().index(url, "bookworm")


@pytest.mark.parametrize("code", [403, 407])
def test_a_proxy_that_lets_no_tls_through(code: int) -> None:
    # The name that a server sees of CONNECT is host:port.
    with mirror({"deb.example.org:443": status(code)}) as url, pytest.raises(AccessError) as caught:
        asker(proxy=url.removesuffix("/debian")).index("https://deb.example.org/debian", "bookworm")
    assert f"the proxy refuses access: HTTP status {code}" in caught.value.message


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (
            {"InRelease": status(200, b"<html>Please log in")},
            "InRelease has no valid signature: not",
        ),
        ({"Release": status(200, b"Suite: x")}, "no Release.gpg"),
        (
            {"Release": status(200, b"x"), "Release.gpg": status(200, b"<html>")},
            "Release has no valid",
        ),
    ],
)
def test_an_index_that_is_not_signed(answers: dict[str, bytes], reason: str) -> None:
    with mirror(answers) as url, pytest.raises(KitError, match=reason):
        asker().index(url, "bookworm")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(503), "HTTP status 503"),
        (b"", "the answer is not HTTP"),
        (b"SSH-2.0-secret\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 x\r\n\r\n", "the answer is not HTTP"),
        (status(302, b"", "Location: http://inner.example.org/x"), "another host, inner.example"),
        (status(302, b"", "Location: http://127.0.0.1:8108/x"), "another host, 127.0.0.1:8108"),
    ],
)
def test_a_mirror_that_cannot_be_asked(answer: bytes, reason: str) -> None:
    with mirror({"InRelease": answer}) as url, pytest.raises(KitError, match=reason) as caught:
        asker().index(url, "bookworm")
    assert caught.value.message.startswith(f"mirror: cannot fetch {url}/dists/bookworm/InRelease: ")
    assert "secret" not in caught.value.message


def test_a_redirect_on_the_same_host_is_followed() -> None:
    moved = status(301, b"", "Location: /elsewhere/moved")
    with mirror({"InRelease": moved, "moved": status(200, SIGNED)}) as url:
        assert asker().index(url, "bookworm")


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 x\r\nContent-Length: 9000\r\n\r\n"])
def test_a_mirror_that_drips_is_given_up(begin: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "TOTAL_SECONDS", 0.5)
    started = time.monotonic()
    with (
        mirror({"InRelease": begin + b"..."}) as url,
        pytest.raises(KitError, match="not answered"),
    ):
        asker().index(url, "bookworm")
    assert time.monotonic() - started < 20  # TIMEOUT never comes: each byte is in time


def test_a_name_that_leads_to_the_node_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    address = [(2, 1, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(archive.socket, "getaddrinfo", lambda *_args, **_options: address)
    with pytest.raises(KitError, match=r"inner.example.org is 127.0.0.1"):
        asker(public_only={"inner.example.org"}).index(
            "http://inner.example.org/debian", "bookworm"
        )
