"""Restarts without a refused connection, with the real programs under load: clients of every kind ask while a replica is
replaced again and again by deploy/restart_replica.py, and no request may fail.

A connection that ends after an answer with `Connection: close` has told its client; anything else that ends without an
answer (refused, reset, closed in front of a request) is a failure. RINGSIDE_ROLLING_RESTARTS: how many, by default 30.
"""

import fcntl
import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import unittest
from typing import Callable, List

from harness import ROOT, Connection, ConnectionLost, Response, Stack, StackCase, wait_until

RESTARTS = int(os.environ.get("RINGSIDE_ROLLING_RESTARTS", "30"))
ROWS = 500
STOPS = 8
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
PIPELINED = 8
MIGRATES = "RINGSIDE_ROLLING_IN_NAMESPACE"


class Load:
    """Clients that ask until they are told to stop, and remember what failed."""

    def __init__(self, stack: Stack, index: int):
        self._stack = stack
        self._tcp = ("127.0.0.1", stack.data_port)
        self._unix = str(stack.folder / f"replica.{index}.sock")
        self._stop = threading.Event()
        self._end_of_changes = threading.Event()
        self._threads: List[threading.Thread] = []
        self._writers: List[threading.Thread] = []
        self.failures: List[str] = []
        self.answers = {}

    def start(self, kinds: List[str]) -> None:
        for number, kind in enumerate(kinds):
            name, _, where = kind.partition(" over ")
            address = self._unix if where == "unix" else self._tcp
            client: Callable[[str, object], None] = getattr(self, name)
            thread = threading.Thread(target=self._run, args=(f"{kind} {number}", client, address), daemon=True)
            (self._writers if name == "writing" else self._threads).append(thread)
            thread.start()

    def stop(self) -> None:
        # The changes end last: somebody waits for the next one.
        for event, threads in ((self._stop, self._threads), (self._end_of_changes, self._writers)):
            event.set()
            for thread in threads:
                thread.join(60.0)
                if thread.is_alive():
                    self.failures.append("a client hangs")

    def _run(self, name: str, client: Callable, address) -> None:
        self.answers[name] = 0
        try:
            client(name, address)
        except (ConnectionLost, OSError, AssertionError) as error:
            self.failures.append(f"{name} after {self.answers[name]} answers: {error}")

    def _check(self, name: str, response: Response, number: int) -> None:
        assert response.status == 200, f"{response}"
        assert response.json()["id"] == number, f"{response}"
        self.answers[name] += 1

    def keeping(self, name: str, address) -> None:
        """Keeps its connection while it may, and sees no version go back on it."""
        version = 0
        with Connection(address) as connection:
            for number in itertools.cycle(range(1, ROWS + 1)):
                if self._stop.is_set():
                    return
                version = version if connection.is_open else 0
                response = connection.request("GET", f"/v1/items/{number}")
                self._check(name, response, number)
                assert response.version >= version, f"{response.version} behind {version}"
                version = response.version

    def connecting(self, name: str, address) -> None:
        """A new connection for each request."""
        for number in itertools.cycle(range(1, ROWS + 1)):
            if self._stop.is_set():
                return
            with Connection(address) as connection:
                self._check(name, connection.request("GET", f"/v1/items/{number}"), number)

    def pausing(self, name: str, address) -> None:
        """Keeps its connection, and is idle for most of the time, though less than replica.drain_grace."""
        with Connection(address) as connection:
            while not self._stop.wait(0.05):
                self._check(name, connection.request("GET", "/v1/items/7"), 7)

    def pipelining(self, name: str, address) -> None:
        """Several requests in one piece. Those behind an answer with `Connection: close` are asked again."""
        numbers = itertools.cycle(range(1, ROWS + 1))
        pending: List[int] = []
        connection = Connection(address)
        while not self._stop.is_set():
            pending += [next(numbers) for _ in range(PIPELINED - len(pending))]
            sent = b"".join(f"GET /v1/items/{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for number in pending)
            for _ in range(PIPELINED):
                self._check(name, connection.exchange(sent), pending.pop(0))
                sent = b""
                if not connection.is_open:
                    break
        connection.close()

    def waiting(self, name: str, address) -> None:
        """Asks for the version after the one that it knows."""
        with Connection(address) as connection:
            version = 0
            while not self._stop.is_set():
                response = connection.request("GET", f"/v1/items/3?minVersion={version + 1}&wait=10s")
                self._check(name, response, 3)
                assert response.version > version, f"{response.version} is not behind {version}"
                version = response.version

    def writing(self, name: str, _address) -> None:
        """Not a client: the changes that the waiting ones wait for."""
        with self._stack.session() as sql:
            while not self._end_of_changes.wait(0.01):
                sql.execute("UPDATE items SET n = n + 1 WHERE id = 3")
                self.answers[name] += 1


class RollingCase(StackCase):
    SETTINGS = "[replica]\ndrain_grace = \"400ms\"\n"

    @classmethod
    def prepare(cls) -> None:
        with cls.stack.session() as sql:
            sql.execute("CREATE TABLE items (id INT NOT NULL PRIMARY KEY, n INT NOT NULL); "
                        f"INSERT INTO items SELECT seq, 0 FROM seq_1_to_{ROWS}")
        cls.stack.start()

    def tell(self, load: Load) -> None:
        print(f"{self.id()}: " + ", ".join(f"{name}: {count}" for name, count in sorted(load.answers.items())))
        self.assertEqual(load.failures, [])
        for name, count in load.answers.items():
            self.assertGreater(count, 0, name)


class Rolling(RollingCase):
    REPLICAS = 1

    def restart(self, *more: str, code: int = 0, config: str = "") -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, str(ROOT / "deploy" / "restart_replica.py"), "--config", config or str(self.stack.config),
             "--index", "0", "--program", os.environ["RINGSIDE_REPLICA"], "--log",
             str(self.stack.folder / "successor.log"), *more],
            capture_output=True, text=True, timeout=300, check=False)
        log = self.stack.folder / "successor.log"
        self.assertEqual(done.returncode, code, done.stderr + done.stdout + (log.read_text() if log.exists() else ""))
        return done

    def serving_pid(self) -> int:
        with self.stack.to_admin(0) as admin:
            return admin.request("GET", "/status").json()["pid"]

    def end_successor(self) -> None:
        """The last successor is no child of this process: ends it, and waits until it has."""
        pid = self.serving_pid()
        if pid != self.stack.replicas[0].pid:
            os.kill(pid, 15)
            wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the successor has ended")

    def test_1_no_request_fails(self):
        load = Load(self.stack, 0)
        load.start(["writing", "keeping over tcp", "keeping over unix", "connecting over tcp", "connecting over tcp",
                    "connecting over unix", "pausing over tcp", "pausing over unix", "pipelining over tcp",
                    "pipelining over unix", "waiting over tcp", "waiting over unix"])
        try:
            pids = {self.serving_pid()}
            for _ in range(RESTARTS):
                self.restart()
                pids.add(self.serving_pid())
                if load.failures:
                    break
        finally:
            load.stop()
        self.tell(load)
        self.assertEqual(len(pids), RESTARTS + 1)
        self.assertFalse(self.stack.replicas[0].running())
        self.assertEqual(self.stack.replicas[0].wait(), 0)

    def test_2_a_successor_that_fails_changes_nothing(self):
        before = self.serving_pid()
        load = Load(self.stack, 0)
        load.start(["connecting over tcp", "keeping over unix"])
        try:
            broken = self.stack.folder / "broken.toml"
            broken.write_text(self.stack.config.read_text().replace("drain_grace", "drain_graces"))
            self.assertIn(f"process {before} serves on", self.restart(code=1, config=str(broken)).stderr)
            # It joins, and then cannot listen where it should: the other one has not stopped by then.
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                taken.listen()
                broken.write_text(self.stack.config.read_text().replace(
                    f'listen = "127.0.0.1:{self.stack.data_port}"', f'listen = "127.0.0.1:{taken.getsockname()[1]}"'))
                self.assertIn(f"process {before} serves on", self.restart(code=1, config=str(broken)).stderr)
            self.assertEqual(self.serving_pid(), before)
        finally:
            load.stop()
        self.tell(load)

    def test_3_an_index_has_one_replica(self):
        second = self.stack.start_replica(1, ready=False)
        second.kill()
        process = self.stack._spawn("double", [os.environ["RINGSIDE_REPLICA"], "--config", str(self.stack.config),
                                               "--index", "0"])
        self.assertEqual(process.wait(60.0), 1)
        self.assertIn("--take-over", process.tail())

    def test_4_other_addresses_and_none_before(self):
        moved = self.stack.folder / "moved.toml"
        moved.write_text(self.stack.config.read_text().replace("replica.{index}.sock", "moved.{index}.sock"))
        self.restart(config=str(moved))
        with Connection(str(self.stack.folder / "moved.0.sock")) as connection:
            self.assertEqual(connection.request("GET", "/v1/items/1").status, 200)
        self.assertFalse((self.stack.folder / "replica.0.sock").exists())
        self.end_successor()
        self.assertFalse((self.stack.folder / "moved.0.sock").exists())
        self.assertIn("none ran before", self.restart().stdout)
        self.end_successor()

    def test_5_who_is_in_the_queue_is_answered(self):
        replica = self.stack.replicas[0]
        if not replica.running():
            replica = self.stack.start_replica(0)
        replica.signal(signal.SIGSTOP)
        request = b"GET /v1/items/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        clients = []
        for number in range(200):
            unix = number % 2 == 1
            peer = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
            peer.settimeout(60.0)
            peer.connect(str(self.stack.folder / "replica.0.sock") if unix else ("127.0.0.1", self.stack.data_port))
            peer.sendall(request)
            clients.append(peer)
        replica.signal(signal.SIGTERM)
        replica.signal(signal.SIGCONT)
        for peer in clients:
            with peer:
                self.assertTrue(peer.recv(100).startswith(b"HTTP/1.1 200 "))
        self.assertEqual(replica.wait(60.0), 0)

    def test_6_stale_data_are_no_reason_to_leave_nobody_serving(self):
        if not self.stack.replicas[0].running():
            self.stack.start_replica(0)
        strict = self.stack.folder / "strict.toml"
        strict.write_text(self.stack.config.read_text().replace("[replica]\n", "[replica]\nmax_staleness = \"100ms\"\n"))
        self.assertEqual(self.stack.writer.terminate(), 0)
        before = self.serving_pid()
        done = self.restart("--ready-timeout", "30", config=str(strict))
        self.assertIn("not ready: what it serves is", done.stdout)
        self.assertNotEqual(self.serving_pid(), before)
        with self.stack.to_replica(0) as connection:
            self.assertEqual(connection.request("GET", "/v1/items/1").status, 200)
        self.end_successor()


def alone_in_a_namespace() -> None:
    """The network namespace is fresh: its loopback is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


class StopAmongOthers(unittest.TestCase):
    """A replica that ends for good hands over to nobody: it empties its queue, and net.ipv4.tcp_migrate_req=1 leads those
    who arrive between its last look and its close to another replica on the port. In a network namespace of its own."""

    def test_none_is_lost_with_tcp_migrate_req(self):
        if not os.path.exists("/proc/sys/net/ipv4/tcp_migrate_req"):
            self.skipTest("this kernel has no net.ipv4.tcp_migrate_req (Linux 5.14)")
        root = [] if os.geteuid() == 0 else ["--map-root-user"]
        unshare = ["unshare", "--net", *root]
        if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("no network namespace may be made here: unshare --net is refused")
        done = subprocess.run([*unshare, sys.executable, __file__, "InNamespace"], env={**os.environ, MIGRATES: "1"},
                              capture_output=True, text=True, timeout=250, check=False)
        print(done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if MIGRATES in os.environ:

    class InNamespace(RollingCase):
        """Run by the test above."""

        REPLICAS = 2

        @classmethod
        def setUpClass(cls) -> None:
            alone_in_a_namespace()
            super().setUpClass()

        def stops(self, migrates: str) -> Load:
            with open("/proc/sys/net/ipv4/tcp_migrate_req", "w", encoding="ascii") as setting:
                setting.write(migrates)
            load = Load(self.stack, 0)
            load.start(["connecting over tcp"] * 6)
            try:
                for _ in range(STOPS):
                    self.assertEqual(self.stack.replicas[1].terminate(), 0)
                    self.stack.start_replica(1)
            finally:
                load.stop()
            return load

        def test_stops(self):
            without = self.stops("0")
            print(f"without tcp_migrate_req: {len(without.failures)} of {sum(without.answers.values())} requests failed in "
                  f"{STOPS} stops")
            self.tell(self.stops("1"))


if __name__ == "__main__":
    unittest.main()
