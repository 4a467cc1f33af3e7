"""What docs/consistency.md says happens when something fails, with the real programs: a server that falls silent, a
replica that is stopped too long. (A full ring: growth_test.py. Another history: history_test.py. Kills: kills_test.py, storm_test.py.)"""

import signal
import sys
import unittest

import rows as expected_rows
from harness import Connection, ConnectionLost, StackCase, metric, wait_until

BLOB_BYTES = 100_000


class FailuresCase(StackCase):
    """What the classes below share. Each has a stack of its own: most of these end with a ring that nothing else should stand on."""

    REPLICAS = 2

    @classmethod
    def prepare(cls) -> None:
        cls.sql = cls.stack.session()
        cls.sql.execute("CREATE TABLE items (id INT NOT NULL PRIMARY KEY, n INT NOT NULL, body MEDIUMBLOB NULL); "
                        "INSERT INTO items SELECT seq, 0, NULL FROM seq_1_to_100")
        cls.stack.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.sql.close()

    def reconnect(self) -> None:
        """A new session after the server has been restarted."""
        self.sql.close()
        type(self).sql = self.stack.session()

    def compare(self) -> None:
        self.stack.catch_up(self.sql)
        table = expected_rows.describe(self.sql, "items")
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as connection:
                expected_rows.compare(self.sql, connection, table)

    def capture_state(self) -> str:
        with self.stack.to_writer() as connection:
            return connection.request("GET", "/status").json()["capture"]["state"]

    def ready(self, connection: Connection) -> bool:
        with connection:
            return connection.request("GET", "/readyz").status == 200


class ServerIsSilent(FailuresCase):
    SETTINGS = "[writer]\nheartbeat = \"200ms\"\nwatchdog = \"1s\"\n[replica]\nmax_staleness = \"2s\"\n"

    def test_silence_is_noticed_and_shown_and_ends(self):
        process = self.stack.database.process
        process.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: self.capture_state() == "reconnecting", "the watchdog has ended the connection")
            for index in range(self.REPLICAS):
                wait_until(lambda index=index: not self.ready(self.stack.to_admin(index)), "a stale replica is not ready")
                with self.stack.to_replica(index) as replica:
                    self.assertIn(replica.request("GET", "/v1/items/1").status, (200, 503))
        finally:
            process.signal(signal.SIGCONT)
        wait_until(lambda: self.capture_state() == "streaming", "the stream is back")
        for index in range(self.REPLICAS):
            wait_until(lambda index=index: self.ready(self.stack.to_admin(index)), "the replica is ready again")
        self.sql.execute("UPDATE items SET n = 1")
        self.compare()


class ReplicaIsStopped(FailuresCase):
    SETTINGS = "[ring]\nreader_limit = \"1MiB\"\nreader_grace = \"300ms\"\n"

    def test_it_is_cut_off_and_joins_again(self):
        stopped = self.stack.replicas[1]
        before = self.stack.to_replica(1)
        self.addCleanup(before.close)
        version = self.expect(before.request("GET", "/v1/items/1"), 200).version
        stopped.signal(signal.SIGSTOP)
        try:
            def cut_off() -> bool:
                self.sql.execute(f"UPDATE items SET n = n + 1, body = REPEAT('y', {BLOB_BYTES}) WHERE id <= 10")
                with self.stack.to_writer() as writer:
                    return metric(writer, "ringside_writer_readers_evicted_total") >= 1
            wait_until(cut_off, "the stopped replica is cut off")
            # The other one is not held by it.
            with self.stack.to_replica(0) as other:
                now = int(self.sql.value("SELECT @@gtid_binlog_pos").rpartition("-")[2])
                self.expect(other.request("GET", f"/version?minVersion={now}&wait=10s"), 200)
        finally:
            stopped.signal(signal.SIGCONT)
        # It must not answer from what it had before, as if nothing had happened in the meantime.
        try:
            answer = before.request("GET", "/v1/items/1?fields=n")
            self.assertTrue(answer.status == 503 or answer.version > version, answer)
        except ConnectionLost:
            pass  # closing it is right too
        self.compare()
        with self.stack.to_admin(1) as admin:
            self.assertEqual(metric(admin, "ringside_replica_evictions_total"), 1)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
