"""A ring that fills, on a real database: what it says, who waits, and everything by which it goes on. Limits raised by SIGHUP,
rows deleted, a transaction larger than all room, one that changes every row, a queue that turns the ring over many times.
"""

import os
import re
import signal
import sys
import unittest
from typing import List

from faults import FAST, FaultsCase
from harness import ConnectionLost, metric, wait_until

RING = ("[ring]\nmax_size = \"16MiB\"\nsegment_size = \"256KiB\"\nchunk_size = \"1MiB\"\nmax_record_size = \"1MiB\"\n")
MIB = 1 << 20
BODY = 7_500  # 10,000 bytes in the ring: a BLOB is base64 there
QUEUE_TURNS = int(os.environ.get("RINGSIDE_QUEUE_TURNS", "10"))  # times the ring's size that go through it


class GrowthCase(FaultsCase):
    """Each class has a ring of its own; its tests go on where the one before has ended."""

    REPLICAS = 2
    SETTINGS = FAST + RING

    @classmethod
    def prepare(cls) -> None:
        cls.sql = cls.stack.session()
        cls.addClassCleanup(cls.sql.close)
        super().prepare()

    def setUp(self) -> None:
        self.writer_mark = self.mark("writer")

    def change(self, name: str, value: str) -> None:
        """A setting of [ring], in the file."""
        text = self.stack.config.read_text(encoding="utf-8")
        text = re.sub(rf"^{name} = .*\n", "", text, flags=re.MULTILINE)
        text = text.replace("[ring]\n", f"[ring]\n{name} = {value}\n")
        self.stack.config.write_text(text, encoding="utf-8")

    def hang_up(self) -> None:
        assert self.stack.writer
        self.stack.writer.signal(signal.SIGHUP)

    def writer_metric(self, name: str, **labels: str) -> float:
        with self.stack.to_writer() as connection:
            return metric(connection, name, **labels)

    def capture(self) -> dict:
        return self.writer_status()["capture"]

    def live_bytes(self) -> float:
        return self.writer_metric("ringside_writer_ring_live_bytes")

    def add_items(self, first: int, count: int, body: int = BODY) -> None:
        self.sql.execute(f"INSERT INTO items SELECT {first} + seq - 1, 0, REPEAT('x', {body}) FROM "
                         f"{self.stack.database.numbers(count)}")

    def fill(self, first: int, more: int) -> int:
        """Ten rows a transaction until capture pauses, and so many transactions more; the id after the last."""
        state: List[int] = [first]

        def add() -> None:
            self.add_items(state[0], 10)
            state[0] += 10
            self.assertLess(state[0] - first, 10_000, "100 MB of live rows went into the ring")

        def is_full() -> bool:
            add()
            return self.capture()["state"] == "full"
        wait_until(is_full, "capture pauses", 60.0)
        for _ in range(more):
            add()
        return state[0]

    def reasons(self) -> List[str]:
        return [reason for reason in ("readers", "max_size", "transaction_reserve", "space")
                if self.writer_metric("ringside_writer_ring_full", reason=reason) == 1]

    def join_again(self, index: int) -> None:
        """From the ring alone, as it is now."""
        self.stack.replicas[index].kill()
        self.stack.start_replica(index, ready=False)

        def serves() -> bool:
            self.assertTrue(self.stack.replicas[index].running(), "it ended by itself")
            try:
                with self.stack.to_replica(index) as replica:
                    return replica.request("GET", "/v1/items/1?fields=id").status == 200
            except ConnectionLost:
                return False
        wait_until(serves, f"replica {index} has joined")


class LiveRowsFillIt(GrowthCase):
    # Of the reserve an eighth more is opened each second: too little for what waits.
    SETTINGS = FAST + RING + "transaction_reserve = \"1MiB\"\n"

    def test_1_capture_pauses_and_names_the_setting(self):
        epoch = self.stack.epoch()
        type(self).next_id = self.fill(1001, more=40)
        reason = self.await_writer("capture is full: the ring is full")
        for text in ("ring.max_size", "SIGHUP"):
            self.assertIn(text, reason)
        self.assertEqual(self.reasons(), ["max_size"])
        self.assertEqual(self.capture()["full"], "max_size")
        # It has looked again several times meanwhile.
        wait_until(lambda: float(self.capture()["source_silent_seconds"]) > 0.7, "capture pauses on")
        self.assertEqual(len(self.lines("writer", self.writer_mark, "capture pauses")), 1)
        self.assertIn("setting=ring.max_size", self.await_line("writer", self.writer_mark, "capture pauses"))
        self.await_replicas("capture is full, the writer is alive")
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as replica:
                self.expect(replica.request("GET", "/v1/items/1001?fields=id"), 200)
        with self.stack.to_writer() as writer:
            self.assertTrue(self.expect(writer.request("PATCH", "/v1/items/1", {"n": -1}), 200).json()["success"])
        self.join_again(1)
        self.assertEqual(self.stack.epoch(), epoch)

    def test_2_a_file_that_is_wrong_changes_nothing(self):
        text = self.stack.config.read_text(encoding="utf-8")
        self.change("max_size", "\"64MB\"")
        self.hang_up()
        line = self.await_line("writer", self.writer_mark, "the configuration is not valid")
        self.assertRegex(line, rf"error .*{re.escape(str(self.stack.config))}:\d+: ring.max_size")
        self.stack.config.write_text(text, encoding="utf-8")
        self.assertEqual(self.capture()["full"], "max_size")

    def test_3_more_room_by_sighup(self):
        epoch = self.stack.epoch()
        self.change("max_size", "\"32MiB\"")
        self.change("chunk_size", "\"2MiB\"")
        self.hang_up()
        self.await_line("writer", self.writer_mark, "a setting changes", "setting=ring.max_size", "16MiB", "32MiB")
        self.await_line("writer", self.writer_mark, "needs a restart", "setting=ring.chunk_size", "1MiB", "2MiB")
        self.await_line("writer", self.writer_mark, "the ring has room again")
        self.await_all_ready()
        self.assertEqual(self.reasons(), [])
        self.assertEqual(self.writer_metric("ringside_writer_ring_full_total"), 1)
        self.assertEqual(self.writer_metric("ringside_writer_ring_limit_bytes"), 32 * MIB)
        self.compare()
        self.assertEqual(self.stack.epoch(), epoch)

    def test_4_rows_are_deleted(self):
        epoch = self.stack.epoch()
        self.change("transaction_reserve", "\"16MiB\"")
        self.hang_up()
        self.await_line("writer", self.writer_mark, "a setting changes", "setting=ring.transaction_reserve")
        self.fill(self.next_id, more=40)
        self.sql.execute("DELETE FROM items WHERE id > 1500")
        self.await_line("writer", self.writer_mark, "the ring has room again")
        self.await_all_ready()
        self.compare()
        self.assertEqual(self.stack.epoch(), epoch)
        self.assertEqual(len(self.lines("writer", self.writer_mark, "capture pauses")), 1)
        # What was above the limit meanwhile is given back.
        wait_until(lambda: self.writer_metric("ringside_writer_ring_used_bytes") <= 32 * MIB, "it is below its limit again")


class TooLargeATransaction(GrowthCase):
    SETTINGS = FAST + RING + "transaction_reserve = \"1MiB\"\n"

    def test_it_waits_or_the_ring_is_made_anew(self):
        self.add_items(1001, 900)
        self.compare()
        epoch = self.stack.epoch()
        self.sql.execute("UPDATE items SET n = n + 1")
        reason = self.await_writer("capture is full")
        self.assertIn("ring.transaction_reserve", reason)
        self.assertIn("ring.on_full", reason)
        self.assertEqual(self.reasons(), ["transaction_reserve"])
        self.assertEqual(self.stack.epoch(), epoch)
        with self.stack.to_replica(0) as replica:
            self.assertEqual(self.expect(replica.request("GET", "/v1/items/1001?fields=n"), 200).json()["n"], 0)
        self.change("on_full", "\"rebuild\"")
        self.hang_up()
        line = self.await_line("writer", self.writer_mark, "the ring has to be loaded anew")
        self.assertIn("ring.on_full is rebuild", line)
        self.await_all_ready()
        self.compare()
        self.assertNotEqual(self.stack.epoch(), epoch)
        self.assertEqual(self.writer_metric("ringside_writer_snapshots_total"), 2)
        self.assertEqual(len(self.lines("writer", self.writer_mark, "capture pauses")), 1)
        self.assertEqual(len(self.lines("writer", self.writer_mark, "has to be loaded anew")), 1)
        # The history is the same: versions go on, and from now on it does not even pause.
        epoch = self.stack.epoch()
        self.sql.execute("UPDATE items SET n = n + 1")
        wait_until(lambda: self.stack.epoch() != epoch, "the next one makes a new ring as well")
        self.await_all_ready()
        self.compare()
        self.assertEqual(len(self.lines("writer", self.writer_mark, "capture pauses")), 1)


class AStoppedReplicaHoldsTheRoom(GrowthCase):
    SETTINGS = FAST + RING + "reader_grace = \"3s\"\n"

    def test_it_is_named_and_cut_off(self):
        self.add_items(1001, 800)
        self.compare()
        stopped = self.stack.replicas[1]
        stopped.signal(signal.SIGSTOP)
        try:
            for _ in range(200):
                self.sql.execute("UPDATE items SET n = n + 1 WHERE id BETWEEN 1001 AND 1200")
                if self.capture()["full"]:
                    break
            shown = wait_until(lambda: (lambda c: c["reason"] if c["full"] == "readers" else "")(self.capture()),
                               "capture waits for the stopped replica")
            self.assertIn(f"the replica with pid {stopped.pid} ", shown)
            self.assertIn("ring.reader_wait", shown)
            self.await_line("writer", self.writer_mark, "evicted readers")
            self.await_line("writer", self.writer_mark, "the ring has room again")
            self.stack.replicas.pop(1)
            self.stack.catch_up(self.sql)  # the other one is not held by it
        finally:
            self.stack.replicas[1] = stopped
            stopped.signal(signal.SIGCONT)
        self.await_all_ready()
        self.compare()
        self.assertEqual(self.writer_metric("ringside_writer_readers_evicted_total"), 1)
        self.assertEqual(len(self.lines("writer", self.writer_mark, "capture pauses")), 1)
        self.assertEqual(self.reasons(), [])


class EveryRowChanges(GrowthCase):
    def test_of_a_ring_of_which_80_per_cent_live(self):
        first, count = 1001, 0
        while self.live_bytes() < 0.8 * 16 * MIB:
            self.add_items(first + count, 100)
            count += 100
            self.stack.catch_up(self.sql)
            version = self.stack.database.version(self.sql)
            wait_until(lambda version=version: self.capture()["version"] >= version, "the writer tells of it")
            self.assertLess(count, 10_000)
        epoch = self.stack.epoch()
        for _ in range(3):
            self.sql.execute("UPDATE items SET n = n + 1")
            self.compare()
        self.join_again(1)
        self.compare()
        self.assertEqual(self.stack.epoch(), epoch)
        self.assertEqual(self.lines("writer", self.writer_mark, "capture pauses"), [])
        self.assertEqual(self.writer_metric("ringside_writer_ring_full_total"), 0)
        wait_until(lambda: self.writer_metric("ringside_writer_ring_used_bytes") <= 16 * MIB, "the reserve is free again")
        wait_until(lambda: self.writer_metric("ringside_writer_ring_allocated_bytes") <= 20 * MIB,
                   "and given back, but for a few chunks")


class AQueueOverAColdBase(GrowthCase):
    """Fresh keys inserted and deleted. A control character is six bytes in a JSON text, so that little goes through the
    database for much in the ring."""

    SETTINGS = FAST + RING.replace("chunk_size = \"1MiB\"", "chunk_size = \"4MiB\"")
    TEXT = 2_000
    ROWS = 250  # a statement: 3 MB, which is no large transaction yet

    def test_it_neither_fills_the_ring_nor_comes_back(self):
        self.sql.execute("CREATE TABLE queue (id BIGINT NOT NULL PRIMARY KEY, body MEDIUMTEXT NOT NULL) ENGINE=InnoDB")
        self.add_items(1001, 800)  # half of the ring
        self.stack.catch_up(self.sql)
        epoch = self.stack.epoch()
        bytes_each = self.ROWS * self.TEXT * 6
        rounds = QUEUE_TURNS * 16 * MIB // bytes_each
        numbers = self.stack.database.numbers(self.ROWS)
        for n in range(rounds):
            first = n * self.ROWS + 1
            self.sql.execute(f"INSERT INTO queue SELECT {first} + seq - 1, REPEAT(CHAR(1), {self.TEXT}) FROM {numbers}; "
                             f"DELETE FROM queue WHERE id < {first + self.ROWS // 2}")
            if n % (rounds // 4) == rounds // 8:
                self.join_again(1)
        self.compare_queue()
        self.join_again(1)
        self.compare_queue()
        self.sql.execute("DELETE FROM queue")
        self.compare_queue()
        self.join_again(0)
        self.compare_queue()
        self.assertEqual(self.stack.epoch(), epoch)
        self.assertEqual(self.writer_metric("ringside_writer_ring_full_total"), 0)
        self.assertGreater(self.writer_metric("ringside_writer_ring_position_bytes"), QUEUE_TURNS * 16 * MIB * 0.99)
        self.assertLessEqual(self.writer_metric("ringside_writer_ring_used_bytes"), 16 * MIB)

    def compare_queue(self) -> None:
        """The tables of all tests, and which of the queue's rows there are: those alone that SELECT shows."""
        self.compare()
        newest = int(self.sql.value("SELECT COALESCE(MAX(id), 0) FROM queue") or 0)
        wanted = {row[0] for row in self.sql.query("SELECT id FROM queue")}
        self.assertLessEqual(len(wanted), self.ROWS)
        rows = int(self.sql.value("SELECT COUNT(*) FROM queue"))
        for index in range(self.REPLICAS):
            with self.stack.to_admin(index) as admin:
                tables = {table["name"]: table for table in admin.request("GET", "/status").json()["tables"]}
                self.assertEqual(int(tables["queue"]["rows"]), rows)
            with self.stack.to_replica(index) as replica:
                keys = range(max(1, newest - 499), newest + 1)
                if not newest:
                    continue
                answer = self.expect(replica.request("GET", f"/v1/queue?fields=id&keys={','.join(map(str, keys))}"), 200)
                found = {str(row["id"]) for row in answer.json()["data"] if row}
                self.assertEqual(found, wanted)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
