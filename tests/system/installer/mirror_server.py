"""HTTP servers of this machine that stand in for a mirror, sound or faulty."""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

# Gives the status and the body of the answer to a path.
Answer = Callable[[str], tuple[int, bytes]]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server that answers so; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with _running(Handler) as url:
        yield url


@contextmanager
def mirror(archive: Path, *, status: int = 200, breaks_off: bool = False) -> Iterator[str]:
    """A server of an archive's files; gives its URL.

    Args:
        archive: the directory, whose name is the URL's path.
        status: of all answers; other than 200, nothing comes with them.
        breaks_off: whether only half of each package comes.
    """

    class Handler(SimpleHTTPRequestHandler):
        def send_head(self) -> BytesIO | BinaryIO | None:
            if status != 200:
                self.send_error(status)
                return None
            found = super().send_head()
            if found is None or not (breaks_off and self.path.endswith(".deb")):
                return found
            with found:
                content = found.read()
            self.close_connection = True
            return BytesIO(content[: len(content) // 2])

        def log_message(self, *_: object) -> None:
            pass

    with _running(functools.partial(Handler, directory=str(archive.parent))) as url:
        yield f"{url}/{archive.name}"


@contextmanager
def _running(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
