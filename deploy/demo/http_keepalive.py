"""A small HTTP/1.1 client over one kept-alive connection, TCP or unix socket.

Used where the standard library's client would cost more time than what is measured, or hide what is checked (the
connection's identity, pipelined bytes). Understands Content-Length, chunked, and responses without a body.

    with Connection(("127.0.0.1", 8080)) as connection:
        response = connection.request("GET", "/v1/products/1")

Threads: one user per Connection.   Errors: ConnectionLost when the peer is not there, ends early or is too slow.
Limits: a response of at most MAX_RESPONSE_BYTES.
"""

import json
import socket
import time
from typing import Dict, Optional, Tuple, Union

Address = Union[Tuple[str, int], str]
MAX_RESPONSE_BYTES = 256 << 20


class ConnectionLost(OSError):
    """The connection could not be made, or ended before the response was whole."""


class Response:
    """One response. Header names are in lower case; of a repeated header the last value counts."""

    def __init__(self, status: int, headers: Dict[str, str], body: bytes, seconds: float):
        self.status = status
        self.headers = headers
        self.body = body
        self.seconds = seconds

    def json(self):
        """The body as Python values; numbers with a point or exponent stay text of the same digits (Number)."""
        return json.loads(self.body, parse_float=Number)

    @property
    def version(self) -> Optional[int]:
        text = self.headers.get("ringside-version")
        return int(text) if text is not None else None

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


class Number(str):
    """A JSON number with a point or exponent, as its own digits: nothing is rounded on the way."""


class Connection:
    def __init__(self, address: Address, timeout_s: float = 30.0, host: str = "127.0.0.1"):
        self._address = address
        self._timeout_s = timeout_s
        self._host = host if isinstance(address, str) else f"{address[0]}:{address[1]}"
        self._socket: Optional[socket.socket] = None
        self._buffer = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_unused) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None
        self._buffer = b""

    def connect(self) -> None:
        """Connects unless connected. request() does it by itself."""
        if self._socket:
            return
        unix = isinstance(self._address, str)
        peer = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        try:
            peer.settimeout(self._timeout_s)
            peer.connect(self._address)
            if not unix:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            peer.close()
            raise ConnectionLost(f"{self._address}: {error}") from error
        self._socket = peer

    def request(self, method: str, target: str, body: Union[bytes, dict, list, None] = None,
                headers: Optional[Dict[str, str]] = None) -> Response:
        """Sends one request and reads its response. A dict or list goes as application/json."""
        self.connect()
        lines = {"Host": self._host, **(headers or {})}
        if isinstance(body, (dict, list)):
            lines.setdefault("Content-Type", "application/json")
            body = json.dumps(body).encode("utf-8")
        if body is not None:
            lines["Content-Length"] = str(len(body))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items()) + "\r\n"
        return self.exchange(head.encode("latin-1") + (body or b""), method)

    def exchange(self, request: bytes, method: str = "GET") -> Response:
        """Sends these very bytes and reads one response to them."""
        self.connect()
        assert self._socket
        start = time.perf_counter()
        try:
            self._socket.sendall(request)
            status, headers, body = self._read_response(method)
        except (OSError, ValueError) as error:
            self.close()
            raise ConnectionLost(f"{self._address}: {error}") from error
        response = Response(status, headers, body, time.perf_counter() - start)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return response

    def _read_response(self, method: str):
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        headers = {}
        for line in head[1:]:
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        if 100 <= status < 200:
            return self._read_response(method)
        if method == "HEAD" or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return status, headers, self._chunks()
        if "content-length" not in headers:
            raise ConnectionLost(f"{self._address}: a response without Content-Length")
        return status, headers, self._exactly(int(headers["content-length"]))

    def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int(self._until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                while self._until(b"\r\n"):
                    pass  # trailers
                return body
            body += self._exactly(size)
            self._exactly(2)

    def _more(self) -> None:
        assert self._socket
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionLost(f"{self._address}: closed by the server before the response was whole")
        self._buffer += data
        if len(self._buffer) > MAX_RESPONSE_BYTES:
            raise ConnectionLost(f"{self._address}: a response beyond {MAX_RESPONSE_BYTES} bytes")

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(end)
        return head

    def _exactly(self, size: int) -> bytes:
        parts = [self._buffer]
        have = len(self._buffer)
        assert self._socket
        if size > MAX_RESPONSE_BYTES:
            raise ConnectionLost(f"{self._address}: a response of {size} bytes")
        while have < size:
            data = self._socket.recv(min(size - have, 1 << 20))
            if not data:
                raise ConnectionLost(f"{self._address}: closed by the server before the response was whole")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self._buffer = whole[size:]
        return whole[:size]


def wait_ready(address: Address, target: str, seconds: float, still_running) -> Optional[str]:
    """Asks for `target` until the answer is 200. None then; else why not: the last answer, or that
    still_running() became false."""
    last = "no answer yet"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not still_running():
            return "the program has ended"
        try:
            with Connection(address, timeout_s=5.0) as connection:
                response = connection.request("GET", target)
                if response.status == 200:
                    return None
                last = f"{response.status} {response.body.decode('utf-8', 'replace').strip()}"
        except ConnectionLost as error:
            last = str(error)
        time.sleep(0.02)
    return f"not ready within {seconds:g} s: {last}"
