import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from installer.archive import serves
from node.errors import KitError


@contextmanager
def mirror(**answers: bytes) -> Iterator[str]:
    """The URL of a server that answers each method with these bytes."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            method = self.rfile.readline().split()[0].decode()
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answers[method])

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/debian"
        finally:
            server.shutdown()
            thread.join()


def status(code: int) -> bytes:
    return f"HTTP/1.1 {code} x\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(("code", "expected"), [(200, True), (403, False), (404, False)])
def test_what_a_mirror_says(code: int, expected: bool) -> None:
    with mirror(HEAD=status(code)) as url:
        assert serves(url, "bookworm", None) is expected


@pytest.mark.parametrize("refusal", [405, 501])
@pytest.mark.parametrize(("code", "expected"), [(200, True), (404, False)])
def test_a_mirror_that_does_not_know_head(refusal: int, code: int, expected: bool) -> None:
    with mirror(HEAD=status(refusal), GET=status(code)) as url:
        assert serves(url, "bookworm", None) is expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(503), "HTTP status 503"),
        (b"", "no answer of HTTP"),
        (b"SSH-2.0-secret\r\n", "no answer of HTTP"),
        (b"HTTP/1.1 x\r\n\r\n", "no answer of HTTP"),
    ],
)
def test_a_mirror_that_cannot_be_asked(answer: bytes, reason: str) -> None:
    with mirror(HEAD=answer) as url, pytest.raises(KitError, match=reason) as caught:
        serves(url, "bookworm", None)
    assert caught.value.message.startswith(f"mirror: cannot fetch {url}/dists/bookworm/InRelease: ")
    assert "secret" not in caught.value.message
