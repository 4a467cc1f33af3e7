"""Bytes to a server and answers back, with nothing in between that would mend either.

Threads: one user per RawClient.   Errors: Unanswered when the peer ends, or is silent for SILENCE_SECONDS, before an
answer is whole.   Limits: an answer of at most MAX_ANSWER_BYTES.
"""

import json
import socket
import time
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

Address = Union[Tuple[str, int], str]
SILENCE_SECONDS = 60.0
MAX_ANSWER_BYTES = 64 << 20


class Unanswered(OSError):
    """The connection ended, or nothing came, before an answer was whole."""


class Answer(NamedTuple):
    status: int
    headers: Dict[str, str]  # names in lower case
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    @property
    def problem(self) -> str:
        """The last part of the problem's type; empty when it is none."""
        if self.headers.get("content-type") != "application/problem+json" or not self.body:
            return ""
        return str(json.loads(self.body)["type"]).rpartition(":")[2]

    @property
    def detail(self) -> str:
        return str(json.loads(self.body).get("detail", "")) if self.problem else ""


class RawClient:
    def __init__(self, address: Address, timeout: float = SILENCE_SECONDS, receive_buffer: Optional[int] = None):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_unused) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes, step: int = 0) -> bool:
        """`step`: so many bytes at a time. False: the peer has ended the connection meanwhile."""
        try:
            for at in range(0, len(data), step or max(len(data), 1)):
                self.socket.sendall(data[at:at + step] if step else data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def finish_sending(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has ended already, which the next receive tells

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except socket.timeout as error:
            raise Unanswered(f"nothing came for {self.socket.gettimeout():g} s; so far {self._buffer[:200]!r}") from error
        except ConnectionResetError:
            return False
        self._buffer += data
        if len(self._buffer) > MAX_ANSWER_BYTES:
            raise Unanswered("the answer is longer than any expected here")
        return bool(data)

    def receive(self, to_head: bool = False) -> Answer:
        """One answer; `to_head`: of a request whose answer has no body whatever its length says."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                raise Unanswered(f"the connection ended with {self._buffer[:200]!r}")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers[name.decode("ascii").lower()] = value.strip().decode("latin-1")
        if to_head or status in (204, 304) or status < 200:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Answer(status, headers, self._chunks())
        length = int(headers["content-length"]) if "content-length" in headers else None
        while length is None or len(self._buffer) < length:
            if not self._more():
                if length is None:
                    break
                raise Unanswered("the connection ended within a body")
        size = len(self._buffer) if length is None else length
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return Answer(status, headers, body)

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                if not self._more():
                    raise Unanswered("the connection ended within a chunk's size")
            size, _, self._buffer = self._buffer.partition(b"\r\n")
            count = int(size.partition(b";")[0], 16)
            while len(self._buffer) < count + 2:
                if not self._more():
                    raise Unanswered("the connection ended within a chunk")
            body, self._buffer = body + self._buffer[:count], self._buffer[count + 2:]
            if count == 0:
                return body

    def rest(self) -> bytes:
        """What comes until the peer ends the connection."""
        while self._more():
            pass
        rest, self._buffer = self._buffer, b""
        return rest


def wait_for(condition, what: str, seconds: float = 60.0):
    """Asks until the condition holds; fails naming `what` when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"within {seconds:g} s not: {what}")
        time.sleep(0.01)


def heads(count: int, line: bytes = b"GET /healthz HTTP/1.1", fields: bytes = b"") -> List[bytes]:
    return [line + b"\r\nHost: localhost\r\n" + fields + b"\r\n"] * count
