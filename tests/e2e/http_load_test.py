"""Clients that are many, slow, greedy or gone: the programs' memory stays bounded, and nobody else is disturbed.

Each test measures resident memory before and while it does its worst, and has other connections ask all the time: they must
go on being answered (there is no bound on how fast). Figures are printed.
"""

import resource
import select
import socket
import struct
import threading
import unittest
from contextlib import contextmanager
from typing import Dict, Iterator, List, Tuple

from harness import StackCase, metric
from http_raw import Address, RawClient, Unanswered, wait_for

IDLE = 10_000
MIB = 1 << 20
HOST = b"Host: localhost\r\n"
PUT = (b"PUT /v1/words/b HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 7\r\n\r\n" b'{"n":1}')


def rss_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no resident memory: it has ended")


def answered(clients: List[RawClient]) -> List[RawClient]:
    """Those to whom something has been sent, or who have been closed."""
    poll = select.poll()
    by_fd = {client.socket.fileno(): client for client in clients}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _events in poll.poll(0)]


class Prober(threading.Thread):
    """Asks over one connection, again and again, and counts the answers."""

    def __init__(self, address: Address, request: bytes, status: int):
        super().__init__(daemon=True)
        self.client = RawClient(address)
        self.request, self.status = request, status
        self.answered = 0
        self.failure = ""
        self._ends = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            while not self._ends.wait(0.002):
                self.client.send(self.request)
                answer = self.client.receive()
                if answer.status != self.status:
                    self.failure = f"answered {answer}"
                    return
                self.answered += 1
        except OSError as error:
            self.failure = repr(error)

    def check(self, more: int = 5) -> None:
        """`more` requests are answered from now on."""
        goal = self.answered + more
        wait_for(lambda: self.failure or self.answered >= goal, "another connection is answered")
        if self.failure:
            raise AssertionError(f"another connection was disturbed: {self.failure}")

    def end(self) -> None:
        self._ends.set()
        self.join()
        self.client.close()


class Load(StackCase):
    REPLICAS = 1
    SETTINGS = f"""[replica]
        max_connections = {IDLE + 500}
        idle_timeout = "10m"
        head_timeout = "2s"
        unsent_limit = "64MiB"
    """

    @classmethod
    def prepare(cls) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        needed = IDLE + 1500
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))  # only root may raise the hard one
        with cls.stack.session() as session:
            session.execute("CREATE TABLE words (w VARCHAR(50) COLLATE utf8mb4_bin PRIMARY KEY, n INT, t MEDIUMTEXT);"
                            "INSERT INTO words VALUES ('a', 1, ''), ('b', 0, ''), ('large', 2, REPEAT('x', 30000))")
        cls.stack.start()
        cls.replica_pid = cls.stack.replicas[0].pid
        cls.writer_pid = cls.stack.writer.pid
        cls.replica: Address = str(cls.stack.folder / "replica.0.sock")
        cls.replica_tcp: Address = ("127.0.0.1", cls.stack.data_port)
        cls.writer: Address = ("127.0.0.1", cls.stack.writer_port)

    @contextmanager
    def undisturbed(self, to_writer: bytes = PUT) -> Iterator[Dict[str, Prober]]:
        probers = {
            "replica": Prober(self.replica, b"GET /v1/words/a?fields=n HTTP/1.1\r\n" + HOST + b"\r\n", 200),
            "replica over TCP": Prober(self.replica_tcp, b"GET /v1/words/a HTTP/1.1\r\n" + HOST + b"\r\n", 200),
            "writer": Prober(self.writer, to_writer, 200),
        }
        try:
            yield probers
            for prober in probers.values():
                prober.check()
        finally:
            for prober in probers.values():
                prober.end()

    def connections(self) -> float:
        with self.stack.to_admin(0) as admin:
            return metric(admin, "ringside_replica_connections")

    def grown(self, what: str, pid: int, before: int, most: int) -> None:
        growth = rss_bytes(pid) - before
        print(f"{what}: resident memory {before / MIB:.1f} MiB, grown by {growth / MIB:.1f} MiB")
        self.assertLess(growth, most, what)

    def test_ten_thousand_idle_connections(self) -> None:
        clients: List[RawClient] = []
        before = rss_bytes(self.replica_pid)
        try:
            with self.undisturbed() as probers:
                for i in range(IDLE):
                    clients.append(RawClient(self.replica))
                    if i % 10 == 0:  # some have asked before they fell silent
                        clients[-1].send(b"GET /v1/words/large HTTP/1.1\r\n" + HOST + b"\r\n")
                        self.assertEqual(clients[-1].receive().status, 200)
                wait_for(lambda: self.connections() >= IDLE, f"{IDLE} connections are open")
                for prober in probers.values():
                    prober.check()
                self.grown(f"{IDLE} idle connections", self.replica_pid, before, 2048 * IDLE)
                for client in clients[::97]:
                    client.send(b"GET /v1/words/a HTTP/1.1\r\n" + HOST + b"\r\n")
                    self.assertEqual(client.receive().status, 200, "an idle one wakes up")
        finally:
            for client in clients:
                client.close()
        wait_for(lambda: self.connections() < 10, "their ends are noticed")

    def test_slow_heads(self) -> None:
        count = 1000
        before = rss_bytes(self.replica_pid)
        with self.undisturbed() as probers:
            clients = [RawClient(self.replica) for _ in range(count)]
            for step in (b"GET /v1/words/a HTTP/1.1\r\n", HOST[:7], HOST[7:], b"X: ", b"y" * 1000, b"z" * 5000):
                for client in clients:
                    client.send(step)
                for prober in probers.values():
                    prober.check(2)
            self.grown(f"{count} unfinished heads", self.replica_pid, before, 24 * 1024 * count)
            for client in clients:
                self.assertEqual(client.receive().status, 408)
                self.assertEqual(client.rest(), b"")
                client.close()

    def test_heads_beyond_every_limit(self) -> None:
        before = {pid: rss_bytes(pid) for pid in (self.replica_pid, self.writer_pid)}
        large = b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 100_000 + b"\r\n\r\n"
        many = b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 10_000 + b"\r\n"
        with self.undisturbed():
            for address in (self.replica, self.writer):
                for data in (large, many):
                    clients = [RawClient(address) for _ in range(100)]
                    for client in clients:
                        client.send(data)
                    for client in clients:
                        self.assertEqual(client.receive().status, 431)
                        client.close()
        for pid, bytes_before in before.items():
            self.grown("400 heads of 60 to 100 kB", pid, bytes_before, 24 * MIB)

    def test_readers_that_do_not_read(self) -> None:
        """300 clients ask for 60 MB each and take nothing of it."""
        before = rss_bytes(self.replica_pid)
        request = b"GET /v1/words/large HTTP/1.1\r\n" + HOST + b"\r\n"
        with self.undisturbed() as probers:
            clients = [RawClient(self.replica) for _ in range(300)]
            for client in clients:
                client.socket.setblocking(False)
            for _ in range(40):
                for client in clients:
                    try:
                        client.socket.send(request * 50)
                    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                        pass  # it is not read any more, which is the point; or has been let go
                for prober in probers.values():
                    prober.check(1)
            self.grown("300 clients that take no answer", self.replica_pid, before, 160 * MIB)
            with self.stack.to_admin(0) as admin:
                closed = metric(admin, "ringside_replica_connections_timed_out_total", cause="stalled")
            print(f"let go for taking nothing: {closed:.0f}")
            self.assertGreater(closed, 0)
            for client in clients:
                client.close()

    def test_resets(self) -> None:
        requests: Tuple[Tuple[Address, bytes], ...] = (
            (self.replica_tcp, b"GET /v1/words/large HTTP/1.1\r\n" + HOST + b"\r\n"),
            (self.replica_tcp, b"GET /v1/words/a HTTP/1.1\r\nHo"),
            (self.replica_tcp, b"GET /v1/words/a?minVersion=99999999 HTTP/1.1\r\n" + HOST + b"\r\n"),
            (self.writer, b"PUT /v1/words/c HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
             b"Content-Length: 7\r\n\r\n{\"n\":3}"),
            (self.writer, b"PUT /v1/words/d HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
             b"Content-Length: 7\r\n\r\n{\"n\""),
        )
        with self.undisturbed() as probers:
            for _ in range(200):
                for address, data in requests:
                    client = RawClient(address)
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.send(data)
                    client.close()  # by RST
            for prober in probers.values():
                prober.check()
        wait_for(lambda: self.connections() < 10, "their ends are noticed")
        with self.stack.session() as session:
            # A whole command of a client that has gone is carried out, half of one is not.
            wait_for(lambda: session.value("SELECT n FROM words WHERE w = 'c'") == "3", "the command is carried out")
            self.assertEqual(session.value("SELECT COUNT(*) FROM words WHERE w = 'd'"), "0")

    def test_more_connections_than_the_writer_takes(self) -> None:
        before = rss_bytes(self.writer_pid)
        clients: List[RawClient] = []
        with self.undisturbed() as probers:
            clients.extend(RawClient(self.writer) for _ in range(1200))
            asked = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
            statuses: Dict[int, int] = {}
            for client in clients:
                client.send(asked)
                try:
                    status = client.receive().status
                except Unanswered:
                    status = 0  # beyond those that are told
                statuses[status] = statuses.get(status, 0) + 1
            print(f"1200 connections to the writer beside the test's own, by status: {statuses}")
            self.assertEqual(set(statuses) - {0}, {200, 503})
            self.assertGreater(statuses[200], 1000)
            self.assertLessEqual(statuses[200], 1024)
            for prober in probers.values():
                prober.check()
            self.grown("1024 connections to the writer", self.writer_pid, before, 1024 * 32 * 1024)
            for client in clients:
                client.close()

            def taken_again() -> bool:
                with RawClient(self.writer) as client:
                    client.send(asked)
                    try:
                        return client.receive().status == 200
                    except Unanswered:
                        return False
            wait_for(taken_again, "connections are taken again")

    def test_unfinished_bodies(self) -> None:
        """700 clients announce 1 MiB each and send half of it: the bodies' common limit holds."""
        before = rss_bytes(self.writer_pid)
        head = (b"PUT /v1/words/e HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
                b"Content-Length: 1048576\r\n\r\n")
        half = b"{" + b" " * (MIB // 2)
        statuses: Dict[int, int] = {}
        with self.undisturbed(b"GET /v1/words/a HTTP/1.1\r\n" + HOST + b"\r\n") as probers:  # a body might find no room
            clients = [RawClient(self.writer) for _ in range(700)]
            for client in clients:
                client.send(head + half)
            wait_for(lambda: answered(clients), "some are refused")
            for client in answered(clients):
                status = client.receive().status
                statuses[status] = statuses.get(status, 0) + 1
            for prober in probers.values():
                prober.check()
            print(f"700 unfinished bodies of 512 KiB: refused {statuses}")
            self.assertEqual(set(statuses), {503})
            self.grown("700 unfinished bodies", self.writer_pid, before, 640 * MIB)
            for client in clients:
                client.close()
            wait_for(lambda: self._body_bytes() == 0, "the room is given back")

    def _body_bytes(self) -> int:
        with self.stack.to_writer() as connection:
            return int(connection.request("GET", "/status").json()["commands"]["body_bytes"])


if __name__ == "__main__":
    unittest.main()
