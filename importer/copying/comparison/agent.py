"""The agent on the KVM host: reads a disk over NBD, and answers with digests and bytes.

The importer sends the text of this file to a Python there (`agent_disk.command`), so nothing is
installed. It needs only the standard library, and runs on Python 3.5 (Debian 9) and later: no
f-strings, no annotated variables. It ends with its stdin, so with the SSH connection.

The protocol, all numbers big-endian:
1. The agent writes GREETING, and a message (LENGTH, then that many bytes of JSON): seconds for each
   algorithm that it has.
2. The node writes a message: socket, export, algorithm, salt (hexadecimal), connections.
3. The agent opens that disk, and writes a message: its size (bytes); or error, and then it ends.
4. The node sends requests (REQUEST): kind, number, offset, length. Each gets a reply (REPLY):
   status, number, length; then as many bytes. Replies come in any order. Those of an ERROR are
   text; the others:
   MAP: runs of the disk from `offset` on, each EXTENT: its length and the NBD flags of
     base:allocation; at least one run, and at most MAX_EXTENTS.
   DIGESTS: a digest of DIGEST bytes for each BLOCK; the disk's last block may be shorter.
   READ: a byte for each BLOCK from `offset` on, 1, or 0 if all of the block is zero; then the bytes
     of the blocks with 1.
"""

import hashlib
import json
import os
import queue
import socket
import struct
import sys
import threading
import timeit
from typing import Any, BinaryIO, Dict, Iterator, List, Tuple

GREETING = b"\0ganeti-instance-kit agent 1\n"
LENGTH = struct.Struct(">I")
REQUEST = struct.Struct(">BIQI")
REPLY = struct.Struct(">BII")
EXTENT = struct.Struct(">II")
MAP, DIGESTS, READ = 1, 2, 3
DONE, ERROR = 0, 1
# Bytes of a block: the cluster of most qcow2 images. The digests are 0.02 % of the disk.
BLOCK = 64 << 10
ZEROS = bytes(BLOCK)
ALGORITHMS = ("blake2b", "sha256")  # Python 3.5 has no BLAKE2
DIGEST = 16  # bytes of a digest that are sent
MAX_DATA = 2 << 20  # bytes of one request for digests or bytes
MAX_STATUS = 1 << 30  # bytes of one request for a map
MAX_EXTENTS = 4096
MAX_MESSAGE = 64 << 10
STATE_ZERO = 2  # a flag of base:allocation: the run reads as zeros

# The NBD protocol, doc/proto.md.
NBD_MAGIC, NBD_OPTION, NBD_OPTION_REPLY = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
NBD_FIXED, NBD_NO_ZEROES = 1, 2
OPT_EXPORT_NAME, OPT_GO, OPT_STRUCTURED, OPT_SET_META = 1, 7, 8, 10
REP_ACK, REP_INFO, REP_META, REP_UNSUPPORTED = 1, 3, 4, 0x80000001
INFO_EXPORT = b"\0\0"
CMD_READ, CMD_STATUS = 0, 7
REQUEST_MAGIC, SIMPLE_MAGIC, STRUCTURED_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
CHUNK_DONE, CHUNK_IS_ERROR = 1, 1 << 15
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS = 0, 1, 2, 5
ALLOCATION = b"base:allocation"
CONNECT_SECONDS, SILENCE_SECONDS = 10.0, 300.0
# A server may let in fewer clients than we ask for, and not answer the others.
FURTHER_SECONDS = 1.0


class NbdError(OSError):
    """The server refuses, fails, or does not keep to the protocol."""


class Nbd:
    """One connection to an NBD server, or OSError; one thread uses it at a time."""

    def __init__(self, path: str, export: str, seconds: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(path)
            self._negotiate(export.encode())
            self._socket.settimeout(SILENCE_SECONDS)
        except BaseException:
            self._socket.close()
            raise

    def _negotiate(self, export: bytes) -> None:
        magic, option, flags = struct.unpack(">QQH", self._take(18))
        if (magic, option) != (NBD_MAGIC, NBD_OPTION) or not flags & NBD_FIXED:
            raise NbdError("not an NBD server, or one from before 2012")
        flags &= NBD_FIXED | NBD_NO_ZEROES
        self._socket.sendall(struct.pack(">I", flags))
        self._context = None  # the server's number for base:allocation
        name = struct.pack(">I", len(export)) + export
        if self._ask(OPT_STRUCTURED, b"")[0] == REP_ACK:
            query = struct.pack(">II", 1, len(ALLOCATION)) + ALLOCATION
            last, answers = self._ask(OPT_SET_META, name + query)
            if last == REP_ACK and answers:
                (self._context,) = struct.unpack_from(">I", answers[0])
        last, answers = self._ask(OPT_GO, name + struct.pack(">H", 0))
        if last == REP_UNSUPPORTED:  # QEMU before 2.10
            self._send_option(OPT_EXPORT_NAME, export)
            (self.size, _) = struct.unpack(">QH", self._take(10))
            self._take(0 if flags & NBD_NO_ZEROES else 124)
            return
        if last != REP_ACK:
            said = answers[-1].decode("utf-8", "replace") if answers else ""
            raise NbdError("the NBD server refuses the export (%#x): %s" % (last, said))
        sizes = [each for each in answers if len(each) >= 12 and each.startswith(INFO_EXPORT)]
        if not sizes:
            raise NbdError("the NBD server does not state the size of the export")
        (self.size,) = struct.unpack_from(">Q", sizes[-1], 2)

    def _send_option(self, option: int, data: bytes) -> None:
        self._socket.sendall(struct.pack(">QII", NBD_OPTION, option, len(data)) + data)

    def _ask(self, option: int, data: bytes) -> Tuple[int, List[bytes]]:
        """Sends an option; returns the type of the last reply, and the data of all replies."""
        self._send_option(option, data)
        answers = []
        while True:
            magic, of, kind, length = struct.unpack(">QIII", self._take(20))
            if magic != NBD_OPTION_REPLY or of != option or length > MAX_MESSAGE:
                raise NbdError("the NBD server does not answer the option %d" % option)
            answers.append(self._take(length))
            if kind not in (REP_INFO, REP_META):
                if kind == REP_ACK:
                    answers.pop()
                return kind, answers

    def _take(self, length: int) -> bytes:
        found = bytearray(length)
        self._take_into(memoryview(found))
        return bytes(found)

    def _take_into(self, view: memoryview) -> None:
        while len(view):
            count = self._socket.recv_into(view)
            if not count:
                raise NbdError("the NBD server closed the connection")
            view = view[count:]

    def read(self, offset: int, view: memoryview) -> None:
        """Fills a view from an offset on; raises OSError."""
        missing = [len(view)]

        def take(kind: int, length: int) -> None:
            place, size = 0, length
            if kind != SIMPLE_MAGIC:
                (place,) = struct.unpack(">Q", self._take(8))
                size -= 8
                if kind == CHUNK_HOLE:
                    (size,) = struct.unpack(">I", self._take(4))
                place -= offset
            if kind not in (SIMPLE_MAGIC, CHUNK_DATA, CHUNK_HOLE):
                raise NbdError("an answer of type %d to a read" % kind)
            if place < 0 or size <= 0 or place + size > len(view):
                raise NbdError("an answer outside of what was asked for")
            if kind == CHUNK_HOLE:
                view[place : place + size] = bytes(size)
            else:
                self._take_into(view[place : place + size])
            missing[0] -= size

        self._command(CMD_READ, offset, len(view), take)
        if missing[0]:
            raise NbdError("an answer of another length than asked for")

    def status(self, offset: int, length: int) -> List[Tuple[int, int]]:
        """Runs from an offset on: lengths and flags. At least one; raises OSError."""
        if self._context is None:
            return [(length, 0)]
        runs = []  # type: List[Tuple[int, int]]

        def take(kind: int, size: int) -> None:
            if kind != CHUNK_STATUS or size > 4 + 8 * (1 << 20) or size % 8 != 4:
                raise NbdError("an answer of type %d to a block status" % kind)
            data = self._take(size)
            if struct.unpack_from(">I", data)[0] == self._context:
                runs.extend(struct.iter_unpack(">II", data[4:]))

        self._command(CMD_STATUS, offset, length, take)
        if not runs:
            raise NbdError("an empty answer to a block status")
        return runs

    def _command(self, kind: int, offset: int, length: int, take: Any) -> None:
        self._socket.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, kind, 0, offset, length))
        why = None
        while True:
            (magic,) = struct.unpack(">I", self._take(4))
            if magic == SIMPLE_MAGIC:
                error, cookie = struct.unpack(">IQ", self._take(12))
                if not error and not cookie:
                    take(SIMPLE_MAGIC, length)
                    return
                raise NbdError(error, os.strerror(error))
            if magic != STRUCTURED_MAGIC:
                raise NbdError("not an answer of an NBD server")
            flags, chunk, cookie, size = struct.unpack(">HHQI", self._take(16))
            if cookie:
                raise NbdError("an answer to a request that was not sent")
            if chunk & CHUNK_IS_ERROR:
                if not 6 <= size <= MAX_MESSAGE:
                    raise NbdError("an error of %d bytes" % size)
                (error,) = struct.unpack_from(">I", self._take(size))
                why = NbdError(error, os.strerror(error))
            elif chunk == CHUNK_NONE:
                self._take(size if size <= MAX_MESSAGE else 0)
            else:
                take(chunk, size)
            if flags & CHUNK_DONE:
                if why is not None:
                    raise why
                return

    def close(self) -> None:
        """Disconnects."""
        self._socket.close()


class Hasher:
    """Computes digests; with a salt, so that no guest can prepare two blocks with one digest."""

    def __init__(self, algorithm: str, salt: bytes) -> None:
        self._salted = hashlib.new(algorithm)
        self._salted.update(salt)
        self.zero = self.of(ZEROS)  # of a block of zeros

    def of(self, data: "bytes | memoryview") -> bytes:
        """The digest of a block."""
        salted = self._salted.copy()
        salted.update(data)
        return bytes(salted.digest()[:DIGEST])

    def seconds(self) -> float:
        """How long the digest of a block takes here; the shortest of 16."""
        return min(timeit.repeat(lambda: self.of(ZEROS), repeat=16, number=1))

    def digests(self, data: bytearray, length: int) -> bytes:
        """The digests of the blocks of the first bytes of a buffer, one after the other."""
        return b"".join(
            self.zero if is_zero and len(block) == BLOCK else self.of(block)
            for block, is_zero in blocks(data, length)
        )


def blocks(data: bytearray, length: int) -> "Iterator[Tuple[memoryview, bool]]":
    """The blocks of the first bytes of a buffer, and whether each is all zeros."""
    view = memoryview(data)
    for place in range(0, length, BLOCK):
        block = view[place : min(place + BLOCK, length)]
        yield block, data.startswith(ZEROS[: len(block)], place)


def without_zeros(data: bytearray, length: int) -> "List[bytes | memoryview]":
    """The reply to READ for the first bytes of a buffer, in parts."""
    found = list(blocks(data, length))
    there = [block for block, is_zero in found if not is_zero]
    return [bytes(not is_zero for _, is_zero in found), *there]


def speeds() -> Dict[str, float]:
    """The algorithms that there are here, each with its `Hasher.seconds`."""
    there = set(ALGORITHMS) & hashlib.algorithms_available
    return {name: Hasher(name, b"").seconds() for name in there}


class Agent:
    """Answers requests in several threads, each with its own connection to the NBD server."""

    def __init__(self, out: BinaryIO, hasher: Hasher, size: int) -> None:
        self._out = out
        self._hasher = hasher
        self._size = size
        self._turn = threading.Lock()
        self.requests = queue.Queue()  # type: queue.Queue[Tuple[int, int, int, int]]

    def work(self, disk: Nbd) -> None:
        """Answers requests until the process ends."""
        data = bytearray(MAX_DATA)
        try:
            while True:
                kind, number, offset, length = self.requests.get()
                try:
                    status, parts = DONE, self._answer(disk, data, kind, offset, length)
                except Exception as error:
                    status, parts = ERROR, [(str(error) or "it failed").encode()[:MAX_MESSAGE]]
                with self._turn:
                    self._out.writelines([REPLY.pack(status, number, sum(map(len, parts))), *parts])
                    self._out.flush()
        except OSError:  # whoever reads our stdout is gone
            os._exit(1)

    def _answer(
        self, disk: Nbd, data: bytearray, kind: int, offset: int, length: int
    ) -> "List[bytes | memoryview]":
        most = MAX_STATUS if kind == MAP else MAX_DATA
        if not 0 < length <= most or offset + length > self._size:
            raise ValueError("not a range of the disk")
        if kind == MAP:
            return [EXTENT.pack(*run) for run in disk.status(offset, length)[:MAX_EXTENTS]]
        disk.read(offset, memoryview(data)[:length])
        if kind == DIGESTS:
            return [self._hasher.digests(data, length)]
        return without_zeros(data, length)


def connections(path: str, export: str, count: int) -> List[Nbd]:
    """Up to `count` connections to a server, at least one; raises OSError."""
    found = [Nbd(path, export, CONNECT_SECONDS)]
    try:
        while len(found) < count:
            found.append(Nbd(path, export, FURTHER_SECONDS))
    except OSError:
        pass
    return found


def send_message(out: BinaryIO, **fields: Any) -> None:
    """Writes a message."""
    content = json.dumps(fields).encode()
    out.write(LENGTH.pack(len(content)) + content)
    out.flush()


def main() -> None:
    """Runs the agent on stdin and stdout; its end is the end of the process."""
    source, out = sys.stdin.buffer, sys.stdout.buffer
    out.write(GREETING)
    send_message(out, **speeds())
    try:
        (length,) = LENGTH.unpack(source.read(LENGTH.size))
        wanted = json.loads(source.read(length).decode())
        hasher = Hasher(wanted["algorithm"], bytes.fromhex(wanted["salt"]))
        disks = connections(wanted["socket"], wanted["export"], wanted["connections"])
    except Exception as error:
        send_message(out, error=str(error) or type(error).__name__)
        os._exit(1)
    agent = Agent(out, hasher, disks[0].size)
    for disk in disks:
        threading.Thread(target=agent.work, args=(disk,), daemon=True).start()
    send_message(out, size=disks[0].size)
    while True:
        request = source.read(REQUEST.size)
        if len(request) < REQUEST.size:
            os._exit(0)
        agent.requests.put(REQUEST.unpack(request))


if __name__ == "__main__":
    main()
