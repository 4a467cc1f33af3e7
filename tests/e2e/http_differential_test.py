"""Which requests nginx, HAProxy and Node accept, and ours.

Valid requests are drawn from RFC 9110's and 9112's grammar, odd but legal: what all three peers accept, a replica and a
writer have to accept. Then such requests are spoilt, a byte or a piece at a time: what all three refuse, ours refuse. Where
ours refuse what all three accept, it is for one of the reasons in ON_PURPOSE, each with its section.

"Accepted" says that the bytes were taken for a request, whatever it is then answered: ours say 404, 405, 413 or 415 to much
of it. RINGSIDE_HTTP_SEED repeats a run, RINGSIDE_HTTP_REQUESTS makes it longer.
"""

import os
import random
import unittest
from collections import Counter
from typing import Dict, List, Optional

from harness import StackCase, choose
from http_peers import Peers
from http_raw import Address, Answer, RawClient, Unanswered

SEED = int(os.environ.get("RINGSIDE_HTTP_SEED") or 20261123)
COUNT = int(os.environ.get("RINGSIDE_HTTP_REQUESTS") or 500)
TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
PLAIN = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~"
REFUSALS = {400, 408, 411, 414, 417, 421, 431, 494, 501, 505}

# A part of our refusal's detail, and why it is right to refuse what others accept.
ON_PURPOSE: Dict[str, str] = {
    "LF alone": "9112 2.2: a recipient MAY take a bare LF for a line's end; two readers then see different lines",
    "CR is not followed by LF": "9112 2.2: a bare CR is invalid, or to be replaced; here it is invalid",
    "control character": "9110 5.5: invalid or dangerous; a recipient may reject or replace, and here it rejects",
    "begins with a space": "9112 2.2, 5.2: folding is obsolete; a server MUST reject or replace, and here it rejects",
    "no colon": "9112 5: a field line has one",
    "character that no name may have": "9110 5.1: names are tokens",
    "within or behind a header's name": "9112 5.1: MUST be 400",
    "percent-encoded": "9112 3.2: invalid request targets SHOULD be 400",
    "without two hexadecimal digits": "3986 2.1: '%' is followed by two",
    "neither a path nor an http URL": "9112 3.2: the four forms; only http and https are served here",
    "target * is for OPTIONS": "9112 3.2.4",
    "method and one space": "9112 3: one space; method a token",
    "HTTP/1.1 and CRLF": "9112 2.3, 3: DIGIT . DIGIT, nothing behind",
    "no HTTP version": "9112 3",
    "only HTTP/1.1 and HTTP/1.0": "9110 2.5",
    "Host is not valid": "9112 3.2: MUST be 400",
    "host is not valid": "9112 3.2.2",
    "more than one Host": "9112 3.2: MUST be 400",
    "Host is missing": "9112 3.2: MUST be 400",
    "more than one Content-Length": "9112 6.3: a list of identical lengths MAY be taken for one; here it is not",
    "Content-Length is not a number": "9112 6.3: MUST be 400",
    "contradict each other": "9112 6.1: a server MAY reject, and what has both is likely an attack (11.2)",
    "Transfer-Encoding": "9112 6.1, 6.3",
    "transfer coding": "9112 6.1, 6.3",
    "empty lines stand before": "9112 2.2: at least one is passed over, here four",
    "expectation": "9110 10.1.1: MAY be 417",
    "more than 100 header fields": "9110 5.4: a server's own limit",
    "Ringside-Min": "a field of ours, which may stand once",
    "CONNECT": "9110 9.3.6: an origin server need not have it",
    "chunk": "9112 7.1: sizes, extensions and line ends by the grammar",
    "trailer": "9112 7.1.2: trailer lines are field lines",
}


class Maker:
    """Valid requests, from the seed."""

    def __init__(self, lots: random.Random):
        self.lots = lots

    def token(self, most: int = 12) -> bytes:
        return bytes(self.lots.choice(TOKEN) for _ in range(self.lots.randint(1, most)))

    def case(self, text: bytes) -> bytes:
        return bytes(self.lots.choice((c, c ^ 0x20)) if chr(c).isalpha() else c for c in text)

    def ows(self) -> bytes:
        # A tab now and then only: nginx takes it for a part of the value, and refuses a Host that has one.
        return self.lots.choice((b"\t", b" \t ")) if self.lots.randrange(30) == 0 else self.lots.choice((b"", b" ", b"  "))

    def value(self) -> bytes:
        kind = self.lots.randrange(4)
        if kind == 0:
            return b""
        visible = bytes(self.lots.randrange(0x21, 0x7f) for _ in range(self.lots.randint(1, 30)))
        if kind == 1:
            return visible
        if kind == 2:
            return visible + self.lots.choice((b" ", b"\t", b" \t ")) + visible
        return visible + bytes(self.lots.randrange(0x80, 0x100) for _ in range(self.lots.randint(1, 6)))

    def piece(self, characters: bytes, most: int) -> bytes:
        out = b""
        for _ in range(self.lots.randint(0, most)):
            out += b"%%%02x" % self.lots.randrange(0x21, 0x100) if self.lots.randrange(5) == 0 else bytes(
                (self.lots.choice(characters),))
        return self.case(out) if self.lots.randrange(2) else out

    def target(self, host: bytes) -> bytes:
        path = b"/" + self.piece(PLAIN + b"!$&'()*+,;=:@/", 20)
        while b"/../" in path + b"/" or path.startswith(b"//"):
            path = b"/" + self.piece(PLAIN, 20)  # what climbs out of the root is refused by some
        if self.lots.randrange(3) == 0:
            path += b"?" + self.piece(PLAIN + b"!$&'()*+,;=:@/?", 20)
        if self.lots.randrange(20) == 0:
            path += b"?" + self.piece(PLAIN, 3000)
        if self.lots.randrange(5) == 0:
            # Of another authority than Host's now and then only: HAProxy refuses that.
            authority = host if self.lots.randrange(8) else b"localhost:8080"
            return self.case(b"http") + b"://" + authority + path
        return path

    def fields(self) -> List[bytes]:
        lines = []
        for _ in range(self.lots.choice((0, 1, 2, 5, 20, 60))):
            # Not by chance a name that means something, least of all to one of the five only.
            lines.append(b"q" + self.token() + b":" + self.ows() + self.value() + self.ows())
        if self.lots.randrange(2):
            option = self.lots.choice((b"keep-alive", b"close", b"keep-alive, foo", b"foo , close"))
            lines.append(self.case(b"connection") + b":" + self.ows() + self.case(option) + self.ows())
        if self.lots.randrange(4) == 0:
            lines.append(self.case(b"accept") + b":" + self.ows() + b"*/*;q=0.1, application/json")
        return lines

    def chunks(self) -> bytes:
        out = b""
        for _ in range(self.lots.randint(0, 4)):
            data = bytes(self.lots.randrange(256) for _ in range(self.lots.randint(1, 40)))
            out += self.case(b"%x" % len(data)).rjust(self.lots.choice((1, 1, 4)), b"0") + self.extension() + b"\r\n" + data + b"\r\n"
        out += b"0" * self.lots.randint(1, 3) + self.extension() + b"\r\n"
        for _ in range(self.lots.choice((0, 0, 1, 3))):
            out += b"q" + self.token() + b": " + self.value() + b"\r\n"
        return out + b"\r\n"

    def extension(self) -> bytes:
        out = b""
        for _ in range(self.lots.choice((0, 0, 0, 1, 2))):
            out += b";" + bytes(self.lots.choice(PLAIN) for _ in range(3))
            out += self.lots.choice((b"", b"=" + bytes((self.lots.choice(PLAIN),)), b'="a b"'))
        return out

    def request(self) -> bytes:
        method = self.lots.choice((b"GET", b"GET", b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS"))
        lines = self.fields()
        body = b""
        if method in (b"PUT", b"POST"):
            kind = self.lots.randrange(3)
            if kind == 0:
                body = self.chunks()
                lines.append(self.case(b"transfer-encoding") + b":" + self.ows() + self.case(b"chunked") + self.ows())
            else:
                body = bytes(self.lots.randrange(256) for _ in range(self.lots.choice((0, 1, 50))))
                lines.append(self.case(b"content-length") + b":" + self.ows() + b"%d" % len(body) + self.ows())
        host = self.lots.choice((b"localhost", b"127.0.0.1:80", b"LocalHost:1", b"[::1]:80"))
        lines.append(self.case(b"host") + b":" + self.ows() + host + self.ows())
        self.lots.shuffle(lines)
        empty = self.lots.choice((b"", b"", b"", b"\r\n"))
        version = b"HTTP/1.0" if not body.endswith(b"\r\n\r\n") and self.lots.randrange(6) == 0 else b"HTTP/1.1"
        target = self.target(host)
        if body and method == b"PUT":  # where the writer reads it
            target = b"/v1/words/drawn"
            lines.append(b"Content-Type: application/json")
        return empty + method + b" " + target + b" " + version + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body

    def spoilt(self, request: bytes) -> bytes:
        at = self.lots.randrange(len(request))
        odd = self.lots.choice((b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\r\n", b"\r\n ", b"\x0b", b"\x7f", b"\xa0", b"%", b"#", b"\\",
                                b",", b"chunked", b"0x", b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked",
                                b"\r\nHost: b", b"HTTP/1.1", bytes((self.lots.randrange(256),))))
        kind = self.lots.randrange(3)
        if kind == 0:
            return request[:at] + odd + request[at:]
        if kind == 1:
            return request[:at] + odd + request[at + len(odd):]
        return request[:at] + request[at + self.lots.randint(1, 3):]


class Differential(StackCase):
    REPLICAS = 1

    @classmethod
    def prepare(cls) -> None:
        with cls.stack.session() as session:
            session.execute("CREATE TABLE words (w VARCHAR(50) COLLATE utf8mb4_bin PRIMARY KEY, n INT)")
        cls.stack.start()
        ports: set = set()
        numbers = [choose(str(random.randrange(15000, 29000)), ports) for _ in range(3)]
        cls.peers = Peers(cls.stack.folder, numbers)
        cls.addClassCleanup(cls.peers.close)
        cls.ours: Dict[str, Address] = {"replica": ("127.0.0.1", cls.stack.data_port),
                                        "writer": ("127.0.0.1", cls.stack.writer_port)}

    @staticmethod
    def _ask(address: Address, request: bytes) -> Optional[Answer]:
        """The first final answer; None when none came before the end."""
        with RawClient(address) as client:
            client.send(request)
            client.finish_sending()
            is_head = request.lstrip(b"\r\n").startswith(b"HEAD ")
            try:
                answer = client.receive(is_head)
                while answer.status < 200:
                    answer = client.receive(is_head)
                return answer
            except (Unanswered, ValueError, IndexError):
                return None

    @staticmethod
    def _accepted(answer: Optional[Answer]) -> bool:
        """Of a peer."""
        return answer is not None and answer.status not in REFUSALS

    @staticmethod
    def _malformed(answer: Optional[Answer]) -> bool:
        """Of ours: refused for its bytes. Without a body (HEAD) the status has to say it."""
        if answer is None:
            return True
        if answer.problem:
            return answer.problem == "malformed-request"
        return answer.status in (400, 414, 417, 431, 501, 505) and answer.closes

    @classmethod
    def _refused(cls, answer: Optional[Answer], request: bytes) -> bool:
        """Malformed, or refused unread for having a body where none is taken, and the connection ended with it."""
        announces_body = b"content-length" in request.lower() or b"transfer-encoding" in request.lower()
        return cls._malformed(answer) or (answer.status >= 400 and answer.closes and announces_body)

    def _all(self, request: bytes) -> Dict[str, bool]:
        return {name: self._accepted(self._ask(address, request)) for name, address in self.peers.addresses.items()}

    def test_valid_requests(self) -> None:
        print(f"RINGSIDE_HTTP_SEED={SEED}")
        maker = Maker(random.Random(SEED))
        seen: Counter = Counter()
        for _ in range(COUNT):
            request = maker.request()
            peers = self._all(request)
            seen[tuple(name for name, accepts in peers.items() if not accepts)] += 1
            for name, address in self.ours.items():
                answer = self._ask(address, request)
                if all(peers.values()):
                    self.assertFalse(self._malformed(answer), f"{name} refuses {request!r}: {answer}")
        print("valid requests, by who refuses them:", dict(seen))
        self.assertGreater(seen[()], COUNT // 2, "most of what is drawn is taken by all three, or it proves little")

    def test_spoilt_requests(self) -> None:
        print(f"RINGSIDE_HTTP_SEED={SEED}")
        maker = Maker(random.Random(SEED + 1))
        refused_by_all = 0
        reasons: Counter = Counter()
        for _ in range(COUNT):
            request = maker.spoilt(maker.request())
            peers = self._all(request)
            for name, address in self.ours.items():
                answer = self._ask(address, request)
                if not any(peers.values()):
                    refused_by_all += 1
                    self.assertTrue(self._refused(answer, request), f"{name} accepts {request!r}, which nobody else does: {answer}")
                elif all(peers.values()) and answer is not None and self._malformed(answer) and answer.detail:
                    reason = [part for part in ON_PURPOSE if part in answer.detail]
                    self.assertTrue(reason, f"{name} refuses {request!r}, which all others take: {answer}")
                    reasons[reason[0]] += 1
        print("refused by all:", refused_by_all, "; by ours alone, on purpose:", dict(reasons))
        self.assertGreater(refused_by_all, COUNT // 20)


if __name__ == "__main__":
    unittest.main()
