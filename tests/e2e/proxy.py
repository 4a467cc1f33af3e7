"""A small proxy between the writer and its database: it cuts, stalls, slows down and refuses, on command.

    with Proxy(database.socket) as proxy:      # TCP on loopback in front of a unix socket
        proxy.stall(up=False)                  # the database's bytes stop; the writer's go on
        proxy.resume()
        proxy.cut(Proxy.is_stream, after=1000) # 1,000 bytes later, in the middle of an event
        proxy.trap(COMMIT, "after")            # the next COMMIT is executed, and its answer lost

Bytes in flight are bounded (a direction is not read while its last bytes have not left), so a stalled connection fills
the kernel's buffers and then blocks its sender, as a dead network does. What is cut is reset (RST), not closed.

Threads: one of its own moves the bytes; the functions may be called from any. Ownership: owns its sockets.
Errors: of sockets end their pair; of the proxy itself are raised by close(). Limits: BLOCK bytes a pair and direction.
"""

import os
import select
import socket
import struct
import threading
from typing import Callable, List, Optional, Union

BLOCK = 1 << 16
TICK_SECONDS = 0.01
COMMIT = b"\x07\x00\x00\x00\x03COMMIT"  # the whole packet of a text query

_DUMPS = (b"\x00\x12", b"\x00\x1e")  # a first packet (sequence 0) of COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID
Address = Union[str, tuple]


def _dial(target: Address) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX if isinstance(target, str) else socket.AF_INET, socket.SOCK_STREAM)
    try:
        peer.connect(target)
    except OSError:
        peer.close()
        raise
    peer.setblocking(False)
    return peer


def _reset(peer: socket.socket) -> None:
    try:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # the other side was faster
    peer.close()


class Pair:
    """One connection: the client's socket and the one to the database."""

    def __init__(self, client: socket.socket, server: socket.socket):
        self.client = client
        self.server = server
        self.is_stream = False          # it has asked for the binlog (never known when it is encrypted)
        self.port = server.getsockname()[1] if server.family == socket.AF_INET else 0  # as the database sees it
        self.to_server = b""
        self.to_client = b""
        self.client_ended = False
        self.server_ended = False
        self.left: Optional[int] = None  # bytes to the client until it is cut
        self.swallows = False            # the next bytes to the client are lost, and the connection with them


class Proxy:
    def __init__(self, target: Address, listen: Optional[str] = None):
        """`listen`: a unix socket's path; without it a TCP port on loopback is taken, see `port`."""
        self._target = target
        self._path = listen
        self.port = 0
        self._lock = threading.Lock()
        # Under the lock:
        self._pairs: List[Pair] = []
        self._stalled_up = self._stalled_down = False
        self._rate: Optional[int] = None  # bytes a tick and direction
        self._trap: Optional[tuple] = None
        self._closing = False
        self.accepted = 0
        self.trapped = 0

        self._listener: Optional[socket.socket] = None
        self._error: Optional[BaseException] = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        self.accept()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_unused) -> None:
        self.close()

    # --- what tests say

    @staticmethod
    def is_stream(pair: Pair) -> bool:
        return pair.is_stream

    @staticmethod
    def is_session(pair: Pair) -> bool:
        return not pair.is_stream

    def connections(self, which: Callable[[Pair], bool] = lambda pair: True) -> int:
        with self._lock:
            return sum(1 for pair in self._pairs if which(pair))

    def cut(self, which: Callable[[Pair], bool] = lambda pair: True, after: int = 0) -> int:
        """Resets these connections, or lets `after` more bytes go to the client first. How many."""
        with self._lock:
            chosen = [pair for pair in self._pairs if which(pair)]
            for pair in chosen:
                if after > 0:
                    pair.left = after
                else:
                    self._end(pair)
        self._wake()
        return len(chosen)

    def stall(self, up: bool = True, down: bool = True) -> None:
        """Nothing passes any more: up is towards the database. New connections are accepted, and stall as well."""
        with self._lock:
            self._stalled_up, self._stalled_down = up, down
        self._wake()

    def trickle(self, rate: int) -> None:
        """At most so many bytes a hundredth of a second, connection and direction."""
        with self._lock:
            self._rate = rate
        self._wake()

    def trap(self, pattern: bytes, when: str) -> None:
        """The next connection that sends these bytes is cut "before" the database has them, or "after" it has
        answered, without the answer. Counted in `trapped`."""
        assert when in ("before", "after")
        with self._lock:
            self._trap = (pattern, when)

    def resume(self) -> None:
        """Everything passes again."""
        with self._lock:
            self._stalled_up = self._stalled_down = False
            self._rate = self._trap = None
        self._wake()

    def refuse(self) -> None:
        """New connections are refused by the kernel, those that are there are cut."""
        with self._lock:
            listener, self._listener = self._listener, None
            if listener:
                listener.close()
            if self._path and os.path.exists(self._path):
                os.unlink(self._path)
        self.cut()

    def accept(self) -> None:
        """The same address again."""
        with self._lock:
            if self._listener:
                return
            listener = socket.socket(socket.AF_UNIX if self._path else socket.AF_INET, socket.SOCK_STREAM)
            if self._path:
                listener.bind(self._path)
            else:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", self.port))
                self.port = listener.getsockname()[1]
            listener.listen(64)
            listener.setblocking(False)
            self._listener = listener
        self._wake()

    def close(self) -> None:
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._wake()
        self._thread.join(30)
        self.refuse()
        os.close(self._wake_read)
        os.close(self._wake_write)
        if self._error:
            raise self._error

    # --- the thread

    def _wake(self) -> None:
        os.write(self._wake_write, b"!")

    def _run(self) -> None:
        try:
            while True:
                with self._lock:
                    if self._closing:
                        return
                    poll, wait = self._interests()
                ready = dict(poll.poll(wait))
                with self._lock:
                    if self._wake_read in ready:
                        os.read(self._wake_read, BLOCK)
                    self._take(ready)
                    for pair in list(self._pairs):
                        self._move(pair, ready)
                if self._rate is not None:
                    threading.Event().wait(TICK_SECONDS)
        except BaseException as error:  # handed to close(), in the test's thread
            self._error = error

    def _interests(self):
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if self._listener:
            poll.register(self._listener.fileno(), select.POLLIN)
        for pair in self._pairs:
            client = server = 0
            if not self._stalled_up:
                client |= 0 if pair.to_server or pair.client_ended else select.POLLIN
                server |= select.POLLOUT if pair.to_server else 0
            if not self._stalled_down:
                server |= 0 if pair.to_client or pair.server_ended else select.POLLIN
                client |= select.POLLOUT if pair.to_client else 0
            # A socket without interests is left out: poll would tell its end again and again.
            if client:
                poll.register(pair.client.fileno(), client)
            if server:
                poll.register(pair.server.fileno(), server)
        return poll, 1000

    def _take(self, ready) -> None:
        if not self._listener or self._listener.fileno() not in ready:
            return
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # gone again
        client.setblocking(False)
        self.accepted += 1
        try:
            self._pairs.append(Pair(client, _dial(self._target)))
        except OSError:
            _reset(client)  # the database is down: nearest to what the client would see without us

    def _move(self, pair: Pair, ready) -> None:
        try:
            if not self._stalled_up and pair.client.fileno() in ready and not pair.to_server and not pair.client_ended:
                self._from_client(pair)
            if not self._stalled_down and pair.server.fileno() in ready and not pair.to_client and not pair.server_ended:
                self._from_server(pair)
            if pair in self._pairs and not self._stalled_up:
                pair.to_server = self._send(pair.server, pair.to_server)
            if pair in self._pairs and not self._stalled_down:
                self._to_client(pair)
        except OSError:
            self._end(pair)
        if pair in self._pairs and not pair.to_server and not pair.to_client and (pair.client_ended or pair.server_ended):
            self._end(pair)

    @staticmethod
    def _receive(peer: socket.socket) -> Optional[bytes]:
        """None: nothing there now. Empty: ended."""
        try:
            return peer.recv(BLOCK)
        except BlockingIOError:
            return None

    def _from_client(self, pair: Pair) -> None:
        data = self._receive(pair.client)
        if data is None:
            return
        pair.client_ended = not data
        pair.is_stream = pair.is_stream or data[3:5] in _DUMPS
        if self._trap and self._trap[0] in data:
            when, self._trap = self._trap[1], None
            self.trapped += 1
            if when == "before":
                return self._end(pair)
            pair.swallows = True
        pair.to_server = data

    def _from_server(self, pair: Pair) -> None:
        data = self._receive(pair.server)
        if data is None:
            return
        if pair.swallows and data:
            return self._end(pair)
        pair.server_ended = not data
        pair.to_client = data

    def _to_client(self, pair: Pair) -> None:
        if pair.left is None:
            pair.to_client = self._send(pair.client, pair.to_client)
            return
        now, rest = pair.to_client[:pair.left], pair.to_client[pair.left:]
        unsent = self._send(pair.client, now)
        pair.left -= len(now) - len(unsent)
        pair.to_client = unsent + rest
        if pair.left == 0:
            self._end(pair)

    def _send(self, peer: socket.socket, data: bytes) -> bytes:
        """What could not be sent now."""
        if not data:
            return data
        try:
            return data[peer.send(data if self._rate is None else data[:self._rate]):]
        except BlockingIOError:
            return data

    def _end(self, pair: Pair) -> None:
        if pair in self._pairs:
            self._pairs.remove(pair)
            _reset(pair.client)
            pair.server.close()
