"""The table of what both servers make of a request's bytes, by RFC 9110 and 9112: accepted, or refused with which status,
and whether the connection ends. http_strict_test.py puts every line to a replica and to a writer, in one piece and byte
by byte; the RFC sections say where a line comes from.
"""

from typing import List, NamedTuple, Optional, Tuple

Statuses = Tuple[int, ...]


class Expected(NamedTuple):
    statuses: Statuses  # of all answers, in order; 1xx among them
    closes: bool        # the connection ends behind the last, and nothing else comes


class Case(NamedTuple):
    name: str
    data: bytes
    replica: Expected
    writer: Expected
    cuts: bool = True                 # False: too long to be worth sending byte by byte
    to_head: bool = False             # the answers have no bodies
    problem: Optional[str] = None     # the type that the last answer must have


def ok(*statuses: int) -> Expected:
    return Expected(statuses or (200,), False)


def end(*statuses: int) -> Expected:
    return Expected(statuses, True)


MALFORMED = "malformed-request"


def get(*fields: bytes, target: bytes = b"/healthz", method: bytes = b"GET", version: bytes = b"HTTP/1.1",
        host: bytes = b"Host: localhost\r\n", rest: bytes = b"") -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + host + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + rest


def put(*fields: bytes, rest: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    """A command: its body is `rest`, framed by the fields."""
    return get(b"Content-Type: application/json", *fields, method=b"PUT", target=b"/v1/words/strict", version=version,
               rest=rest)


JSON = b'{"n":1}'
PROBE = get(target=b"/probe")


def _both(name: str, data: bytes, expected: Expected, **more) -> Case:
    return Case(name, data, expected, expected, **more)


def _refused(name: str, data: bytes, status: int = 400, **more) -> Case:
    return _both(name, data, end(status), problem=MALFORMED, **more)


def _request_lines() -> List[Case]:
    line = b"\r\nHost: localhost\r\n\r\n"
    cases = [
        # RFC 9112 3: one space between the parts, nothing before or behind.
        _refused("two spaces before the target", b"GET  /healthz HTTP/1.1" + line),
        _refused("two spaces before the version", b"GET /healthz  HTTP/1.1" + line),
        _refused("a tab for a space", b"GET\t/healthz HTTP/1.1" + line),
        _refused("a form feed for a space", b"GET\x0c/healthz HTTP/1.1" + line),
        _refused("a space behind the version", b"GET /healthz HTTP/1.1 " + line),
        _refused("a space before the method", b" GET /healthz HTTP/1.1" + line),
        _refused("a space within the target", b"GET /heal thz HTTP/1.1" + line),
        _refused("no target", b"GET HTTP/1.1" + line),
        _refused("no version: HTTP/0.9", b"GET /healthz\r\n"),
        _refused("no version, and headers", b"GET /healthz" + line),
        _refused("a method that is no token", b"G(T /healthz HTTP/1.1" + line),
        _refused("NUL in the method", b"GE\0T /healthz HTTP/1.1" + line),
        _refused("a client that speaks TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        # RFC 9112 2.3: HTTP-version is case-sensitive and has one digit on each side.
        _refused("http in lower case", b"GET /healthz http/1.1" + line),
        _refused("HTTP/1.10", b"GET /healthz HTTP/1.10" + line),
        _refused("HTTP/1.01", b"GET /healthz HTTP/1.01" + line),
        _refused("HTTP/01.1", b"GET /healthz HTTP/01.1" + line, 505),  # its first digit is another major version
        _refused("HTTP/1", b"GET /healthz HTTP/1" + line),
        _refused("HTTP/1,1", b"GET /healthz HTTP/1,1" + line),
        _refused("HTTP /1.1", b"GET /healthz HTTP /1.1" + line),
        _refused("HTTP/2.0", b"GET /healthz HTTP/2.0" + line, 505),
        _refused("HTTP/0.9 by name", b"GET /healthz HTTP/0.9" + line, 505),
        _refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        # RFC 9110 2.5: a higher minor version is answered as the highest that is known.
        _both("HTTP/1.2", b"GET /healthz HTTP/1.2" + line, ok()),
        _both("HTTP/1.0", b"GET /healthz HTTP/1.0" + line, end(200)),
        # RFC 9110 9.1: unknown methods are 501; and case counts.
        _both("an unknown method", get(method=b"BREW"), ok(501), problem="method-not-implemented"),
        _both("a method of every character", get(method=b"!#$%&'*+-.^_`|~a0"), ok(501)),
        _both("get in lower case", get(method=b"get"), ok(501)),
        _both("TRACE", get(method=b"TRACE"), ok(501)),
        _both("POST where there is nothing to post", get(method=b"POST"), ok(405), problem="method-not-allowed"),
        _both("HEAD", get(method=b"HEAD"), ok(200), to_head=True),
        _both("HEAD that is refused", get(b"A : b", method=b"HEAD"), end(400), to_head=True),
    ]
    return cases


def _targets() -> List[Case]:
    evil = b"Host: evil.example\r\n"
    cases = [
        _both("percent-encoded letters", get(target=b"/%68ealth%7A"), ok(404)),  # names of pages are compared as sent
        _refused("% at the target's end", get(target=b"/healthz%")),
        _refused("% and one digit", get(target=b"/healthz%4")),
        _refused("% and no hexadecimal digits", get(target=b"/healthz%zz")),
        _refused("% and one hexadecimal digit", get(target=b"/healthz%4g")),
        _refused("% wrongly encoded in the query", get(target=b"/healthz?a=%")),
        _refused("%u, as some write it", get(target=b"/%u0041")),
        # Percent-encoded bytes that are no UTF-8: well-formed HTTP, and no name or key.
        *[_both(f"{raw!r} as a table", get(target=b"/v1/" + raw + b"/1"), ok(400))
          for raw in (b"%ff", b"%c3", b"%c0%af", b"%ed%a0%80", b"%f4%90%80%80", b"%80")],
        *[_both(f"{raw!r} as a key", get(target=b"/v1/words/" + raw), ok(400))
          for raw in (b"%ff", b"%c3", b"%c0%af", b"%ed%a0%80", b"%f4%90%80%80", b"a%80")],
        _both("no UTF-8 as a key of the query", get(target=b"/v1/words?key=%ff"), ok(400)),
        _both("no UTF-8 as a parameter", get(target=b"/v1/words/a?%ff=1"), ok(400)),
        _both("a dot segment", get(target=b"/v1/words/.."), ok(400)),
        _both("an encoded dot segment", get(target=b"/v1/words/%2E%2e"), ok(400)),
        # RFC 9112 3.2.2: absolute-form, whose authority counts instead of Host's.
        _both("absolute-form", get(target=b"http://localhost/healthz"), ok()),
        _both("absolute-form in capitals", get(target=b"HTTP://LOCALHOST:80/healthz"), ok()),
        _both("absolute-form with another Host", get(target=b"http://localhost/healthz", host=evil), ok()),
        Case("absolute-form of another host", get(target=b"http://evil.example/healthz"), ok(), ok(421)),
        Case("another Host", get(host=evil), ok(), ok(421)),
        Case("absolute-form without a path", get(target=b"http://localhost"), ok(), ok(404)),
        _refused("absolute-form without Host", get(target=b"http://localhost/healthz", host=b"")),
        _refused("absolute-form without an authority", get(target=b"http:///healthz")),  # RFC 9110 4.2.1
        _refused("absolute-form with a user", get(target=b"http://a@localhost/healthz")),  # RFC 9110 4.2.4
        _refused("absolute-form of another scheme", get(target=b"ftp://localhost/healthz")),
        _refused("absolute-form with a bad port", get(target=b"http://localhost:8x/healthz")),
        # RFC 9112 3.2.3, 3.2.4: authority-form is CONNECT's, asterisk-form OPTIONS'.
        _refused("authority-form", get(target=b"localhost:80")),
        _refused("CONNECT", get(method=b"CONNECT", target=b"localhost:80"), 501),
        _refused("CONNECT of a path", get(method=b"CONNECT", target=b"/healthz")),
        _both("OPTIONS *", get(method=b"OPTIONS", target=b"*"), ok(204)),
        _both("OPTIONS of a page", get(method=b"OPTIONS"), ok(204)),
        _refused("GET *", get(target=b"*")),
        _refused("OPTIONS ** ", get(method=b"OPTIONS", target=b"**")),
        _refused("a target without a slash", get(target=b"healthz")),
        _refused("an empty path before a query", get(target=b"?a")),
        _refused("a fragment", get(target=b"/healthz#a")),  # RFC 9112 3.2.1: none is sent
        _refused("a long target", get(target=b"/" + b"a" * 9000), 414, cuts=False),
    ]
    for code in [*range(0x21), *b'"<>\\^`{|}', 0x7f, 0x80, 0xc3, 0xff]:
        if code in b" \r\n":
            continue  # they end the target, which has lines of its own
        cases.append(_refused(f"byte {code:#04x} in a path", get(target=b"/a" + bytes([code]) + b"b")))
    cases.append(_refused("NUL in a query", get(target=b"/healthz?\0")))
    return cases


def _fields() -> List[Case]:
    cases = [
        # RFC 9112 2.2: lines end in CRLF. A recipient may take a bare LF for one; these servers do not.
        _refused("LF behind the request line", b"GET /healthz HTTP/1.1\nHost: localhost\r\n\r\n"),
        _refused("LF behind a header", b"GET /healthz HTTP/1.1\r\nHost: localhost\n\r\n"),
        _refused("LF for the empty line", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\n"),
        _refused("LF everywhere", b"GET /healthz HTTP/1.1\nHost: localhost\n\n"),
        _refused("CR CR LF", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\r\n\r\n"),
        _refused("CR within a value", get(b"A: b\rC: d")),
        _refused("CR within a name", get(b"A\rB: c")),
        _refused("CR for the empty line", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\rX"),
        # RFC 9112 5.1: no space before the colon (MUST be 400); 5.2: no folding.
        _refused("a space before a colon", get(b"A : b")),
        _refused("a tab before a colon", get(b"A\t: b")),
        _refused("a space before Host's colon", b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n"),
        _refused("a folded line", get(b"A: b", b" c")),
        _refused("a line folded by a tab", get(b"A: b", b"\tc")),
        _refused("a folded Host", b"GET /healthz HTTP/1.1\r\nHost:\r\n localhost\r\n\r\n"),
        _refused("a space before the first header", b"GET /healthz HTTP/1.1\r\n Host: localhost\r\n\r\n"),
        _refused("a line of spaces", get(b"   ")),
        _refused("a header without a colon", get(b"A")),
        _refused("a header without a name", get(b": b")),
        _both("no blank behind the colon", get(b"A:b"), ok()),
        _both("blanks of both kinds around a value", get(b"A:\t b c\t \t"), ok()),
        _both("an empty value", get(b"A:"), ok()),
        _both("colons in a value", get(b"A::b:"), ok()),
        _both("bytes above 0x7f in a value", get(b"A: \x80\xc3\xa9\xff"), ok()),
        _both("a name of every character", get(b"!#$%&'*+-.^_`|~09AZaz: b"), ok()),
        _both("the same name twice", get(b"A: b", b"a: c"), ok()),
        _both("100 headers", get(*[b"A: b"] * 99), ok()),
        _refused("101 headers", get(*[b"A: b"] * 100), 431),
        _refused("10,000 headers", get(*[b"A: b"] * 10000), 431, cuts=False),
        _refused("a head of 100 kB", get(b"A: " + b"b" * 100_000), 431, cuts=False),
        _refused("a name of 100 kB", get(b"a" * 100_000 + b": b"), 431, cuts=False),
        # RFC 9112 3.2: one Host, which HTTP/1.1 must have and which must be valid.
        _refused("no Host", get(host=b"")),
        _refused("the same Host twice", get(b"Host: localhost")),
        _refused("two Hosts", get(b"host: evil.example")),
        _refused("a list of Hosts", get(host=b"Host: localhost, localhost\r\n")),
        _refused("a path in Host", get(host=b"Host: localhost/a\r\n")),
        _refused("a user in Host", get(host=b"Host: a@localhost\r\n")),
        _refused("a space in Host", get(host=b"Host: local host\r\n")),
        _refused("letters for a port", get(host=b"Host: localhost:http\r\n")),
        _refused("an open bracket", get(host=b"Host: [::1\r\n")),
        _refused("% wrongly encoded in Host", get(host=b"Host: a%zz\r\n")),
        Case("an empty Host", get(host=b"Host:\r\n"), ok(), ok(400)),
        Case("HTTP/1.0 without Host", get(host=b"", version=b"HTTP/1.0"), end(200), end(400)),
        _both("IPv6 in Host", get(host=b"Host: [::1]:8080\r\n"), ok()),
        # RFC 9112 9.3: keep-alive by version and Connection, a list of options of any case.
        _both("close", get(b"Connection: foo, CLOSE"), end(200)),
        _both("close in a second line", get(b"Connection: keep-alive", b"Connection: close"), end(200)),
        _both("closed is not close", get(b"Connection: closed, ,,"), ok()),
        _both("keep-alive by HTTP/1.0", get(b"Connection: Keep-Alive", version=b"HTTP/1.0"), ok()),
        # RFC 9112 2.2: an empty line before a request is passed over; these servers pass over four.
        _both("an empty line before", b"\r\n" + get(), ok()),
        _both("four empty lines before", b"\r\n" * 4 + get(), ok()),
        _both("an empty line between", get() + b"\r\n" + get(), ok(200, 200)),
        _refused("five empty lines before", b"\r\n" * 5 + get()),
        _refused("LF before", b"\n" + get()),
        _refused("CR before", b"\r" + get()),
        _both("three in one piece", get() + get(target=b"/nothing") + get(), ok(200, 404, 200)),
        _both("what follows the last is not looked at", get(b"Connection: close") + b"garbage\n" + get(), end(200)),
    ]
    for code in range(0x100):
        if code in b"\r\n\t" or 0x20 <= code < 0x7f or code >= 0x80:
            continue
        cases.append(_refused(f"byte {code:#04x} in a value", get(b"A: b" + bytes([code]) + b"c")))
    for char in b'\0\x01"(),/;<=>?@[\\]{} \x7f\x80\xc3\xff':
        cases.append(_refused(f"byte {char:#04x} in a name", get(b"A" + bytes([char]) + b"B: c")))
    return cases


# What follows a refused request must never be answered.
SMUGGLED = get(target=b"/v1/words/smuggled")


def _framing() -> List[Case]:
    cases = [
        # RFC 9112 6.3: a Content-Length is one number. RFC 9110 8.6 lets "5, 5" pass; these servers do not.
        *[_refused(f"Content-Length: {value!r}", put(b"Content-Length: " + value, rest=JSON + SMUGGLED))
          for value in (b"", b"7, 7", b"7,8", b"+7", b"-7", b"0x7", b"7 7", b"7.0", b"7e0", b"\"7\"", b"seven", b"7;",
                        b"18446744073709551623", b"99999999999999999999", b"\xb2")],
        _refused("Content-Length twice", put(b"Content-Length: 7", b"Content-Length: 7", rest=JSON + SMUGGLED)),
        _refused("two Content-Lengths", put(b"Content-Length: 7", b"content-length: 50", rest=JSON + SMUGGLED)),
        _refused("Content-Length twice on GET", get(b"Content-Length: 0", b"Content-Length: 0", rest=SMUGGLED)),
        _both("Content-Length: 0 on GET", get(b"Content-Length: 0"), ok()),
        # RFC 9112 6.1, 6.3, 11.2: request smuggling, both ways.
        _refused("CL.TE", put(b"Content-Length: 7", b"Transfer-Encoding: chunked", rest=b"0\r\n\r\n" + SMUGGLED)),
        _refused("TE.CL", put(b"Transfer-Encoding: chunked", b"Content-Length: 4", rest=b"5c\r\n" + SMUGGLED)),
        _refused("CL.TE on GET", get(b"Content-Length: 6", b"Transfer-Encoding: chunked", rest=b"0\r\n\r\nG")),
        _refused("CL.0", put(b"Content-Length: 7", b"Transfer-Encoding: identity", rest=JSON + SMUGGLED)),
        # 6.1: a coding that is unknown is 501; 6.3: where chunked is not the last, the end is unknown: 400.
        *[_refused(f"Transfer-Encoding: {value!r}", put(b"Transfer-Encoding: " + value, rest=b"0\r\n\r\n" + SMUGGLED))
          for value in (b"", b"identity", b"gzip", b"xchunked", b"chunkedx", b"chunked, gzip", b"chunked, chunked",
                        b"chunked;q=1", b"\"chunked\"", b"chunked chunked", b"chunked\x0b", b"\x0bchunked", b"chunked\0",
                        b", chunked", b"chunked,", b"ch\xc3\xbcnked", b"c\xe2\x84\xaahunked")],
        *[_refused(f"Transfer-Encoding: {value!r}", put(b"Transfer-Encoding: " + value, rest=b"0\r\n\r\n" + SMUGGLED), 501)
          for value in (b"gzip, chunked", b"deflate,chunked", b"identity, Chunked")],
        _refused("TE.TE", put(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", rest=b"0\r\n\r\n" + SMUGGLED)),
        _refused("TE.TE, the other way", put(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked",
                                             rest=b"0\r\n\r\n" + SMUGGLED), 501),
        _refused("Transfer-Encoding twice", put(b"Transfer-Encoding: chunked", b"Transfer-encoding: chunked",
                                                rest=b"0\r\n\r\n" + SMUGGLED)),
        *[_refused(f"hidden Transfer-Encoding: {line!r}", put(b"Content-Length: 7", line, rest=b"0\r\n\r\n" + SMUGGLED))
          for line in (b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked",
                       b"X: x\nTransfer-Encoding: chunked", b"X: x\rTransfer-Encoding: chunked",
                       b"Transfer-Encoding\n: chunked", b"Transfer-Encoding:\n chunked", b"\0Transfer-Encoding: chunked",
                       b"Transfer-Encoding\xa0: chunked", b"Transfer-Encoding")],
        # 6.1: HTTP/1.0 has no Transfer-Encoding.
        _refused("Transfer-Encoding by HTTP/1.0", put(b"Transfer-Encoding: chunked", version=b"HTTP/1.0",
                                                      rest=b"0\r\n\r\n" + SMUGGLED)),
        # A body where none is taken: refused, and never taken for a request.
        *[_both(f"a body on {method.decode()}",
                get(b"Content-Length: %d" % len(SMUGGLED), method=method, rest=SMUGGLED) + PROBE,
                end(413), to_head=method == b"HEAD") for method in (b"GET", b"HEAD", b"OPTIONS")],
        _both("a chunked body on GET", get(b"Transfer-Encoding: chunked", rest=b"5\r\nGET /\r\n0\r\n\r\n") + PROBE, end(413)),
        Case("a body on DELETE", get(b"Content-Length: 4", method=b"DELETE", target=b"/v1/words/strict", rest=b"GET "),
             end(405), end(413)),
        Case("a body of another type", get(b"Content-Type: text/plain", b"Content-Length: 7", method=b"PUT",
                                           target=b"/v1/words/strict", rest=JSON), end(405), end(415)),
        # RFC 9110 10.1.1.
        _both("Expect without a body", get(b"Expect: 100-continue"), ok()),
        _both("an unknown expectation", get(b"Expect: 200-ok"), end(417)),
        _both("an unknown expectation among others", get(b"Expect: 100-continue, tea"), end(417)),
        _both("an unknown expectation by HTTP/1.0", get(b"Expect: tea", version=b"HTTP/1.0"), end(200)),
        Case("Expect with a body", put(b"Expect: 100-Continue", b"Content-Length: 7", rest=JSON), end(405), ok(100, 200)),
        Case("Expect with a body by HTTP/1.0",
             put(b"Expect: 100-continue", b"Content-Length: 7", rest=JSON, version=b"HTTP/1.0"), end(405), end(200)),
        Case("Expect where it is refused", get(b"Expect: 100-continue", b"Content-Length: 7", method=b"PUT",
                                               target=b"/v1/words/strict", rest=JSON), end(405), end(415)),
        # Names that only look like others.
        Case("Transfer_Encoding is another header", put(b"Content-Length: 7", b"Transfer_Encoding: chunked", rest=JSON),
             end(405), ok()),
        Case("a length with zeros before", put(b"Content-Length: 0007", rest=JSON), end(405), ok()),
        Case("a length beyond the limit", put(b"Content-Length: 1048577", rest=JSON), end(405), end(413)),
        Case("a length of 18 digits", put(b"Content-Length: 999999999999999999", rest=JSON), end(405), end(413)),
    ]
    return cases


def _chunks() -> List[Case]:
    def chunked(name: str, body: bytes, writer: Expected, follows: bytes = b"") -> Case:
        # A replica never looks at a body: it refuses the request, and the connection with it.
        return Case(name, put(b"Transfer-Encoding: chunked", rest=body) + follows, end(405), writer)

    last = b"0\r\n\r\n"
    one = b"7\r\n" + JSON + b"\r\n"
    cases = [
        chunked("one chunk", one + last, ok()),
        chunked("seven chunks", b"".join(b"1\r\n" + JSON[i:i + 1] + b"\r\n" for i in range(7)) + last, ok()),
        chunked("zeros before a size", b"0000000000000007\r\n" + JSON + b"\r\n000" + b"\r\n\r\n", ok()),
        chunked("sizes in both cases", b"a\r\n   " + JSON + b"\r\nA\r\n          \r\n" + last, ok()),
        chunked("what follows is the next request", one + last, ok(200, 404), follows=get(target=b"/nothing")),
        chunked("extensions", b"7;a;b=c ; d = \"e\\\" \"\r\n" + JSON + b"\r\n0;f\r\n\r\n", ok()),
        chunked("a trailer", one + b"0\r\nDigest: x\r\nContent-Length: 3\r\nHost: evil\r\n\r\n", ok()),
        chunked("no JSON", b"7\r\n0\r\n\r\nGE\r\n" + last, ok(400)),
        chunked("more than the limit", b"100001\r\n", end(413)),
        chunked("a size of 2^64", b"10000000000000000\r\n", end(400)),
        chunked("a size of 2^64 - 1", b"ffffffffffffffff\r\n", end(413)),
        chunked("a size of 2^63", b"8000000000000000\r\n", end(413)),
        chunked("17 digits", b"00000000000000007\r\n" + JSON + b"\r\n" + last, end(400)),
    ]
    for body in (b"\r\n", b"x\r\n", b" 7\r\n", b"-7\r\n", b"+7\r\n", b"0x7\r\n", b"7 \r\n", b"7\t\r\n", b"7h\r\n", b"7.\r\n",
                 b"7,7\r\n", b"\"7\"\r\n", b"7\x0b\r\n", b"7\0\r\n", b"\xb2\r\n", b"7\r\r\n", b"7\rx", b"7;\r\n", b"7;a=\r\n",
                 b"7;=b\r\n", b"7;a b\r\n", b"7;a=\"b\r\n", b"7;a=\"\0\"\r\n", b"7;a=b c\r\n", b"7; a=(\r\n"):
        cases.append(chunked(f"malformed chunk {body!r}", body + JSON + b"\r\n" + last, end(400), follows=SMUGGLED))
    for body in (b"7\n" + JSON + b"\r\n" + last, b"7;a\n" + JSON + b"\r\n" + last, b"7\r\n" + JSON + b"\n" + last,
                 b"7\r\n" + JSON + last, b"7\r\n" + JSON + b"x\r\n" + last, b"6\r\n" + JSON + b"\r\n" + last,
                 one + b"0\n\r\n", one + b"0\r\n\n", one + b"0\r\n\rx", one + b"0\r\nA\r\n\r\n", one + b"0\r\nA : b\r\n\r\n",
                 one + b"0\r\nA: b\n\r\n", one + b"0\r\nA: b\r\n c\r\n\r\n", one + b"0\r\n A: b\r\n\r\n", one + b"0\r\nA: \0\r\n\r\n",
                 one + b"0\r\n: b\r\n\r\n"):
        cases.append(chunked(f"malformed body {body!r}", body, end(400), follows=SMUGGLED))
    cases.append(chunked("4 kB of extensions and one", b"7;" + b"a" * 4096 + b"\r\n" + JSON + b"\r\n" + last, end(400)))
    cases.append(chunked("a trailer of 8 kB and more", one + b"0\r\nA: " + b"b" * 8192 + b"\r\n\r\n", end(431)))
    return cases


CASES: List[Case] = [*_request_lines(), *_targets(), *_fields(), *_framing(), *_chunks()]
