"""A network that fails: what goes between a client and a server goes through here, and is held up or broken off."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Trouble = Literal["none", "refuses", "breaks off", "falls silent", "garbles"]
_CHUNK = 4096


@dataclass
class Proxy:
    """Connections to `port` of `address` are passed on to the server, as the trouble of the moment lets them."""

    server: tuple[str, int]
    address: str = "127.0.0.1"
    trouble: Trouble = "none"
    after: int = 0
    """how many bytes of the server's pass, over all connections, before the trouble begins"""
    met: int = 0
    """connections that the trouble has come upon"""
    port: int = 0
    _passed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: list[socket.socket] = field(default_factory=list)

    def be(self, trouble: Trouble, after: int = 0) -> None:
        """From now on; connections that stand are broken off."""
        with self._lock:
            self.trouble, self.after, self._passed = trouble, after, 0
            for connection in self._open:
                _reset(connection)
            self._open.clear()

    def accept(self, listening: socket.socket) -> None:
        """Take connections until the socket is closed."""
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return  # closed: the test is over
            if self.trouble == "refuses":
                self.met += 1
                _reset(client)
                continue
            server = socket.create_connection(self.server)
            for connection in (client, server):
                # or each small question of SFTP's would wait for the answer to the last packet, 40 ms each
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open += [client, server]
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                if answers and self.trouble != "none":
                    chunk = self._troubled(chunk, source, sink)
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)

    def _troubled(self, chunk: bytes, source: socket.socket, sink: socket.socket) -> bytes:
        with self._lock:
            left = self.after - self._passed
            self._passed += len(chunk)
            if left >= len(chunk):
                return chunk
            self.met += 1
        if self.trouble == "garbles":
            at = random.Random(self._passed).randrange(max(left, 0), len(chunk))
            return chunk[:at] + bytes([chunk[at] ^ 16]) + chunk[at + 1 :]
        sink.sendall(chunk[: max(left, 0)])
        if self.trouble == "breaks off":
            _reset(sink)
            _reset(source)
            return b""
        # silent: the connection stands, and nothing comes any more
        while self.trouble == "falls silent" and sink.fileno() != -1:
            threading.Event().wait(0.05)
        raise OSError("over")


def _reset(connection: socket.socket) -> None:
    """End a connection as a host does that has gone: no farewell, both directions at once."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextlib.contextmanager
def before(server: tuple[str, int]) -> Iterator[Proxy]:
    """A proxy in front of a server, without trouble so far."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        made = Proxy(server, port=listening.getsockname()[1])
        threading.Thread(target=made.accept, args=(listening,), daemon=True).start()
        try:
            yield made
        finally:
            # who waits in accept is not told of a close
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            made.be("refuses")
