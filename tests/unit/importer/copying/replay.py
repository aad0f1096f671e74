"""An NBD server that says what was recorded."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replayed(path: Path, talk: Sequence[tuple[bytes, bytes]]) -> Iterator[Path]:
    """Listens at a socket, and for each pair awaits what a client sends, then answers.

    At the end it closes the connection.
    """
    wrong: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            for sent, answer in talk:
                if (found := stream.read(len(sent))) != sent:
                    wrong.append(found)
                    return
                connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            thread.join()
    assert not wrong, wrong[0].hex()
