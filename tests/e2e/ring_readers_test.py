"""Readers of the ring as processes: stopped, killed, one too many, in pid namespaces of their own. The real replicas, and in
the writer's place ring-traffic, which compacts a ring four fifths live at full speed and whose rows prove themselves.

RINGSIDE_STOPPED_SECONDS: how long a replica stands still at least (3).
"""

import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Dict, List, Optional

from harness import ROOT, Connection, ConnectionLost, Process, choose, metric, wait_until

STOPPED_SECONDS = float(os.environ.get("RINGSIDE_STOPPED_SECONDS", "3"))
KEYS = 1000
GRACE_MS, WAIT_MS = 2_000, 60_000  # a grace that a replica that runs meets on a busy machine, too
READER_SLOTS = 64
IN_FLIGHT = 200
OWN_PIDS = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def may_unshare() -> bool:
    return subprocess.run([*OWN_PIDS, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def _crc32c_table() -> List[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC32C = _crc32c_table()


def proof(key: int, generation: int) -> int:
    crc = 0xFFFFFFFF
    for byte in struct.pack("<QQ", key, generation):
        crc = crc >> 8 ^ CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def proven_row(key: int, generation: int) -> str:
    return f"{key}:{generation}:{proof(key, generation)}:" + chr(ord("a") + generation % 26) * (generation * 37 % 900)


class Traffic:
    """ring-traffic, and what it last said."""

    def __init__(self, ring: Path, prefix: Optional[List[str]] = None):
        self._process = subprocess.Popen(
            [*(prefix or []), os.environ["RINGSIDE_RING_TRAFFIC"], str(ring.parent), ring.name, str(KEYS), str(GRACE_MS),
             str(WAIT_MS)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.last: Dict[str, float] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                self.last = json.loads(line)

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> str:
        """Until it has ended; what it said to standard error."""
        assert self._process.stderr
        said = self._process.stderr.read()
        self._process.wait()
        return said

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe
            pipe.close()

    def until(self, condition, what: str) -> Dict[str, float]:
        def holds() -> Optional[Dict[str, float]]:
            if not self.running():
                raise AssertionError("ring-traffic has ended: " + self.wait())
            last = self.last
            return last if last and condition(last) else None
        return wait_until(holds, what)


class RingReaders(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ringside-e2e-", dir="/tmp"))
        self.ring = Path("/dev/shm") / f"ringside-e2e-{os.getpid()}-{random.getrandbits(32):08x}"
        self.processes: List[Process] = []
        self.traffics: List[Traffic] = []
        self.addCleanup(self.close)
        taken: set = set()
        start = random.randrange(15000, 29000, 10)
        self.admin_port = choose(f"{start + 1}x3", taken)
        self.config = self.folder / "ringside.toml"
        self.config.write_text(
            f'[mysql]\nsocket = "/nowhere"\nuser = "ringside"\npassword = "unused"\ndatabase = "test"\n'
            f'[ring]\nname = "{self.ring.name}"\n'
            f'[replica]\nlisten = "127.0.0.1:{choose(str(start), taken)}"\nadmin_port = {self.admin_port}\n'
            f'unix_socket = "{self.folder}/replica.{{index}}.sock"\n', encoding="utf-8")

    def close(self) -> None:
        for process in self.processes:
            if process.running():
                process.signal(signal.SIGCONT)
                process.kill()
        for traffic in self.traffics:
            traffic.kill()
        shutil.rmtree(self.ring, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_traffic(self, prefix: Optional[List[str]] = None) -> Traffic:
        traffic = Traffic(self.ring, prefix)
        self.traffics.append(traffic)
        return traffic

    def start_replica(self, index: int, prefix: Optional[List[str]] = None) -> Process:
        process = Process(f"replica{index}", [*(prefix or []), os.environ["RINGSIDE_REPLICA"], "--config",
                                              str(self.config), "--index", str(index)],
                          self.folder / f"replica{index}.log")
        self.processes.append(process)
        return process

    def admin(self, index: int) -> Connection:
        return Connection(("127.0.0.1", self.admin_port + index))

    def readiness(self, index: int):
        with self.admin(index) as connection:
            try:
                return connection.request("GET", "/readyz")
            except ConnectionLost:
                return None

    def await_ready(self, process: Process, index: int) -> None:
        def is_ready() -> bool:
            self.assertTrue(process.running(), process.tail())
            answer = self.readiness(index)
            return answer is not None and answer.status == 200
        wait_until(is_ready, f"replica {index} is ready\n{process.tail()}")

    def served(self, index: int) -> Connection:
        return Connection(str(self.folder / f"replica.{index}.sock"))

    def check(self, key: int, answer) -> int:
        """That it is this key's row, or that there is none; the version."""
        self.assertIn(answer.status, (200, 404), answer)
        if answer.status == 200:
            row = answer.json()
            self.assertEqual(int(row["id"]), key)
            generation = int(row["name"].split(":")[1])
            self.assertEqual(row["name"], proven_row(key, generation))
            self.assertLessEqual(generation, answer.version)
        return answer.version

    def read_some(self, index: int, count: int = 50) -> int:
        version = 0
        with self.served(index) as connection:
            for _ in range(count):
                key = random.randrange(KEYS)
                now = self.check(key, connection.request("GET", f"/v1/items/{key}"))
                self.assertGreaterEqual(now, version)
                version = now
        return version

    # --- stopped

    def ask_ahead(self, keys: List[int]) -> socket.socket:
        """Requests on one connection that nobody reads yet."""
        peer = socket.socket(socket.AF_UNIX)
        self.addCleanup(peer.close)
        peer.settimeout(30)
        peer.connect(str(self.folder / "replica.0.sock"))
        peer.sendall(b"".join(b"GET /v1/items/%d HTTP/1.1\r\nHost: x\r\n\r\n" % key for key in keys))
        return peer

    def test_a_stopped_replica_is_not_waited_for_and_sends_nothing_foreign(self):
        traffic, replica = self.start_traffic(), self.start_replica(0)
        self.await_ready(replica, 0)
        other = self.start_replica(1)
        self.await_ready(other, 1)
        self.read_some(0)
        keys = [random.randrange(KEYS) for _ in range(IN_FLIGHT)]
        kept = self.served(0)
        self.addCleanup(kept.close)
        self.check(1, kept.request("GET", "/v1/items/1"))

        replica.signal(signal.SIGSTOP)
        wait_until(lambda: " T " in Path(f"/proc/{replica.pid}/stat").read_text(encoding="utf-8"), "it is stopped")
        began = time.monotonic()
        at_stop = traffic.until(lambda last: True, "it writes")
        in_flight = self.ask_ahead(keys)
        evicted = traffic.until(lambda last: last["evicted"] >= 1, "the stopped replica is evicted")
        # The ring is written over several times, and no other reader is held up.
        traffic.until(lambda last: last["committed"] > evicted["committed"] + 3 * last["limit"], "the writer goes on")
        while time.monotonic() < began + STOPPED_SECONDS:
            time.sleep(0.05)  # the time for which it stands still
            self.read_some(1, 5)
        before_waking = traffic.last["version"]

        replica.signal(signal.SIGCONT)
        answered = self.answers(in_flight, keys)
        for key, answer in answered:
            if answer.status == 503:
                continue
            # From before, if all of it had been checked before it was stopped; else from after it has joined again.
            version = self.check(key, answer)
            self.assertTrue(version <= at_stop["version"] + 1000 or version >= evicted["version"],
                            f"{version}: stopped at {at_stop}, evicted at {evicted}")
        with self.assertRaises(ConnectionLost, msg="an open connection is closed: its version must not go back"):
            while True:
                answer = kept.request("GET", "/v1/items/1")
                self.assertIn(answer.status, (200, 503))
                if answer.status == 503:
                    self.assertEqual(answer.headers.get("connection"), "close")
                    raise ConnectionLost("as it should be")
                self.assertGreaterEqual(self.check(1, answer), before_waking)
                raise ConnectionLost("it has joined again, and lost nothing on the way")
        self.await_ready(replica, 0)
        self.assertGreaterEqual(self.read_some(0), before_waking)
        with self.admin(0) as admin:
            self.assertEqual(metric(admin, "ringside_replica_evictions_total"), 1)
            self.assertEqual(metric(admin, "ringside_replica_joins_total"), 2)
        with self.admin(1) as admin:
            self.assertEqual(metric(admin, "ringside_replica_evictions_total"), 0)
        self.assertEqual(traffic.last["evicted"], 1)
        print(f"stopped for {time.monotonic() - began:.1f} s: evicted after {evicted['longest_wait_ms']:.0f} ms of waiting, "
              f"{before_waking - at_stop['version']:.0f} transactions meanwhile, {len(answered)} of {len(keys)} answered")

    def answers(self, peer: socket.socket, keys: List[int]):
        """What was answered, with the key that it is for, until the connection was closed."""
        received = b""
        try:
            while received.count(b"HTTP/1.1 ") < len(keys) or not self.is_whole(received):
                more = peer.recv(1 << 16)
                if not more:
                    break
                received += more
        except ConnectionResetError:
            pass
        found = []
        for key in keys:
            head, gap, rest = received.partition(b"\r\n\r\n")
            if not gap:
                break
            headers = dict(line.lower().split(": ", 1) for line in head.decode("ascii").split("\r\n")[1:])
            size = int(headers.get("content-length", "0"))
            if len(rest) < size:
                break
            found.append((key, Answer(int(head.split()[1]), headers, rest[:size])))
            received = rest[size:]
        self.assertEqual(received, b"", "nothing but whole answers")
        return found

    @staticmethod
    def is_whole(received: bytes) -> bool:
        head, gap, rest = received[received.rfind(b"HTTP/1.1 "):].partition(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: (\d+)", head)
        return bool(gap) and len(rest) >= (int(size.group(1)) if size else 0)

    # --- dead, and too many

    def test_a_killed_replica_is_not_waited_for(self):
        traffic, replica = self.start_traffic(), self.start_replica(0)
        self.await_ready(replica, 0)
        traffic.until(lambda last: last["readers"] == 1, "it is a reader")
        replica.kill()
        at = traffic.until(lambda last: last["readers"] == 0, "it is none any more")
        traffic.until(lambda last: last["committed"] > at["committed"] + 2 * last["limit"], "the writer goes on")
        self.assertEqual(traffic.last["evicted"], 0, "the dead are not counted as evicted")
        again = self.start_replica(0)
        self.await_ready(again, 0)
        self.read_some(0)

    def test_one_reader_too_many_is_told_so_and_comes_in_when_one_goes(self):
        traffic = self.start_traffic()
        traffic.until(lambda last: True, "there is a ring")
        readers = [open(path, "r+b") for path in sorted((self.ring / "current" / "readers").glob("*[0-9]"))]
        for reader in readers:
            self.addCleanup(reader.close)
            fcntl.fcntl(reader, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        self.assertEqual(len(readers), READER_SLOTS)
        replica = self.start_replica(0)

        def is_refused() -> bool:
            answer = self.readiness(0)
            return answer is not None and answer.status == 503 and b"reader slots" in answer.body
        wait_until(is_refused, f"it is refused\n{replica.tail()}")
        self.assertIn(f"all {READER_SLOTS} reader slots", replica.tail())
        self.assertIn("stop a replica", replica.tail())
        readers[17].close()
        self.await_ready(replica, 0)
        self.read_some(0)

    # --- namespaces

    @unittest.skipUnless(may_unshare(), "SKIPPED: unshare --pid is not permitted here")
    def test_containers_share_a_ring_but_no_pids(self):
        traffic = self.start_traffic(OWN_PIDS)
        replicas = [self.start_replica(index, OWN_PIDS) for index in (0, 1)]
        for index, replica in enumerate(replicas):
            self.await_ready(replica, index)
        self.assertEqual(traffic.last["pid"], 1, "each is the first in its own")
        traffic.until(lambda last: last["readers"] == 2, "it has both readers, whose pids are the same, and its own")
        second = self.start_traffic(OWN_PIDS)
        self.assertRegex(second.wait(), r"pid 1\b", "a second writer is refused, and told who is the first")
        replicas[0].kill()
        at = traffic.until(lambda last: last["readers"] == 1, "the death of one is seen, of a pid that others have")
        traffic.until(lambda last: last["committed"] > at["committed"] + 2 * last["limit"], "the writer goes on")
        self.assertEqual(traffic.last["evicted"], 0)
        self.assertTrue(replicas[1].running())
        self.read_some(1)
        traffic.kill()
        self.traffics.remove(traffic)
        third = self.start_traffic(OWN_PIDS)
        version = third.until(lambda last: True, "the next writer continues, in yet another namespace")["version"]
        wait_until(lambda: self.read_some(1) >= version, "and is followed")

    def test_the_ring_knows_no_clock_that_jumps(self):
        """Liveness, grace and waits are measured by CLOCK_MONOTONIC: to set the time of day changes nothing."""
        of_day = re.compile(r"wall_ns|system_clock|CLOCK_REALTIME|gettimeofday|\btime\(nullptr\)|TIMER_ABSTIME")
        for file in sorted((ROOT / "shm").glob("*.[hc]*")):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                code = line.partition("//")[0]
                self.assertIsNone(of_day.search(code), f"{file.name}:{number}: {line}")


class Answer:
    def __init__(self, status: int, headers: Dict[str, str], body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def version(self) -> int:
        return int(self.headers["ringside-version"])

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


if __name__ == "__main__":
    unittest.main()
