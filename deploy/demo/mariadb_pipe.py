"""SQL by the plain client: one long-lived `mariadb` process, fed through a pipe.

No driver is needed this way, and what the demo and the tests send is what any other program's SQL would be.
Each batch of statements ends with a SELECT of a token; its row tells that the batch is done.

    session = Session(["--socket=/tmp/x.sock", "--user=root"], "shop")
    session.query("SELECT id, name FROM products LIMIT 2")   # [["1", "a"], ["2", "b"]]

Threads: one user per Session.   Errors: SqlError with the server's text; a Session whose process died stays dead.
"""

import os
import selectors
import subprocess
import time
from decimal import Decimal
from typing import List, Optional, Sequence

DEADLINE_SECONDS = 120.0
# Nothing comes after one of these, also not the token. 1053: the server shuts down, and says so before it closes;
# 2026: the end of a connection that is encrypted.
_LOST = (b"ERROR 2006", b"ERROR 2013", b"ERROR 2002", b"ERROR 1927", b"ERROR 1053", b"ERROR 2026")
_UNESCAPE = {ord("n"): b"\n", ord("t"): b"\t", ord("0"): b"\0", ord("\\"): b"\\"}


class SqlError(Exception):
    """A statement failed. `code` is the server's number, 0 when the client itself failed."""

    def __init__(self, text: str, code: int = 0):
        super().__init__(text)
        self.code = code


def quote(value) -> str:
    """`value` as an SQL literal (utf8mb4, backslash escapes on)."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, Decimal)):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (bytes, bytearray)):
        return "X'" + value.hex() + "'"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0").replace("\n", "\\n")
    return "'" + escaped.replace("\r", "\\r").replace("\x1a", "\\Z") + "'"


def _unescape(field: bytes) -> str:
    if b"\\" not in field:
        return field.decode("utf-8")
    out = bytearray()
    i = 0
    while i < len(field):
        if field[i] == 0x5C and i + 1 < len(field) and field[i + 1] in _UNESCAPE:
            out += _UNESCAPE[field[i + 1]]
            i += 2
        else:
            out.append(field[i])
            i += 1
    return out.decode("utf-8")


class Session:
    """One connection. `arguments` say where to: --socket, --host, --port, --user, --defaults-file (first)."""

    def __init__(self, arguments: Sequence[str], database: Optional[str] = None, program: str = "mariadb"):
        first = [a for a in arguments if a.startswith("--defaults-file")] or ["--no-defaults"]
        rest = [a for a in arguments if not a.startswith("--defaults-file")]
        command = [program, *first, *rest, "--batch", "--skip-column-names", "--unbuffered", "--quick", "--force",
                   "--binary-mode", "--skip-reconnect", "--local-infile=1", "--default-character-set=utf8mb4"]
        if database:
            command.append(database)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE)
        assert self._process.stdin and self._process.stdout and self._process.stderr
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            os.set_blocking(stream.fileno(), False)
        self._token = 0
        self._alive = True

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_unused) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        return self._alive and self._process.poll() is None

    def execute(self, sql: str, deadline_s: float = DEADLINE_SECONDS) -> None:
        """Runs one or several statements; raises at the first error told, having sent them all."""
        self.query(sql, deadline_s)

    def query(self, sql: str, deadline_s: float = DEADLINE_SECONDS) -> List[List[str]]:
        """The rows of all result sets. NULL arrives as the text NULL: select HEX(...) or COALESCE to tell it."""
        if not self.alive:
            raise SqlError("this session's client process has ended")
        self._token += 1
        token = f"-- done {os.getpid()} {id(self)} {self._token} --"
        text = sql.rstrip().rstrip(";") + f";\nSELECT '{token}';\n"
        out, errors = self._exchange(text.encode("utf-8"), (token + "\n").encode("ascii"), deadline_s)
        if errors:
            raise self._error(errors)
        return [[_unescape(field) for field in line.split(b"\t")] for line in out.split(b"\n")[:-1]]

    def transaction(self, statements: Sequence[str], deadline_s: float = DEADLINE_SECONDS) -> None:
        """All of them or none: rolled back, and the error raised, when one fails."""
        try:
            self.execute("BEGIN;\n" + ";\n".join(statements), deadline_s)
        except SqlError:
            if self.alive:
                self.execute("ROLLBACK", deadline_s)
            raise
        self.execute("COMMIT", deadline_s)

    def value(self, sql: str) -> str:
        """The first column of the first row."""
        rows = self.query(sql)
        if not rows:
            raise SqlError(f"no row: {sql}")
        return rows[0][0]

    def close(self) -> None:
        """Ends the client process. Never raises; a second call does nothing."""
        self._alive = False
        process = self._process
        if process.stdin and not process.stdin.closed:
            try:
                process.stdin.close()
            except OSError:
                pass  # the process is gone already
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()

    def _exchange(self, pending: bytes, end: bytes, deadline_s: float):
        process = self._process
        out, errors = bytearray(), bytearray()
        view = memoryview(pending)
        deadline = time.monotonic() + deadline_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            selector.register(process.stdin, selectors.EVENT_WRITE)
            while not (out.endswith(end) and (len(out) == len(end) or out[-len(end) - 1] == 0x0A)):
                left = deadline - time.monotonic()
                if left <= 0:
                    self.close()
                    raise SqlError(f"no answer within {deadline_s} s")
                for key, _ in selector.select(left):
                    if key.fileobj is process.stdin:
                        view = self._write(view, selector)
                    else:
                        self._read(key.fileobj, out if key.fileobj is process.stdout else errors, errors)
                if any(mark in errors for mark in _LOST):
                    self.close()
                    raise self._error(bytes(errors))
        # The client writes an error before it sends the next statement, so what belongs to this batch is there.
        while True:
            more = process.stderr.read()
            if not more:
                break
            errors += more
        return bytes(out[:-len(end)]), bytes(errors)

    def _write(self, view: memoryview, selector) -> memoryview:
        try:
            view = view[os.write(self._process.stdin.fileno(), view[:65536]):]
        except BlockingIOError:
            return view
        except BrokenPipeError:
            view = view[len(view):]
        if not view:
            selector.unregister(self._process.stdin)
        return view

    def _read(self, stream, into: bytearray, errors: bytearray) -> None:
        data = stream.read(1 << 20)
        if data:
            into += data
        elif data == b"" and stream is self._process.stdout:
            rest = self._process.stderr.read() or b""
            self.close()
            raise self._error(bytes(errors + rest) or b"the client ended without a word")

    @staticmethod
    def _error(text: bytes) -> SqlError:
        # The client prints the statement as well; the first error is the cause of those after it.
        lines = text.decode("utf-8", "replace").strip().splitlines()
        first = next((line for line in lines if line.startswith("ERROR ")), " ".join(lines))
        parts = first.split()
        code = int(parts[1]) if len(parts) > 1 and parts[0] == "ERROR" and parts[1].isdigit() else 0
        return SqlError(first, code)
