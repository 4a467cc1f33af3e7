"""What sessions and administrators of MySQL can do beside its settings while a writer follows: override them for a session,
tag their GTIDs, change them for all. Whatever is done, a table is exact or it is refused with the reason."""

import sys
import threading
import unittest

import rows as expected_rows
from harness import Session, StackCase, metric, wait_until

TABLES = ("images", "statements", "documents", "packed")
MICROSECOND = 1e-6


class MysqlSessions(StackCase):
    SERVER = "mysql"
    REPLICAS = 2
    SETTINGS = ("[writer]\nheartbeat = \"200ms\"\nwatchdog = \"3s\"\ntransaction_buffer = \"64KiB\"\n"
                "[replica]\nmax_staleness = \"1s\"\n")

    @classmethod
    def prepare(cls) -> None:
        cls.sql: Session = cls.stack.session()
        cls.addClassCleanup(cls.sql.close)
        numbers = cls.stack.database.numbers
        for name in TABLES:
            cls.sql.execute(f"CREATE TABLE {name} (id INT NOT NULL PRIMARY KEY, n INT NOT NULL, doc JSON); INSERT INTO {name} "
                            f"SELECT seq, 0, JSON_OBJECT('n', seq, 'text', REPEAT('x', 200)) FROM {numbers(20)}")
        cls.stack.start()

    def setUp(self) -> None:
        if not self.stack.writer.running():
            self.stack.start_writer()
        self.stack.catch_up(self.sql)
        self.epoch = self.stack.epoch()
        self.log_before = self.stack.writer.log.stat().st_size

    def log(self) -> str:
        return self.stack.writer.log.read_bytes()[self.log_before:].decode("utf-8", "replace")

    def await_log(self, *texts: str) -> None:
        for text in texts:
            wait_until(lambda text=text: text in self.log(), f"the writer logs {text!r}, and not\n{self.log()}")

    def compare(self, name: str) -> None:
        """Every row on every replica, as soon as the table is served."""
        table = expected_rows.describe(self.sql, name)
        version = self.stack.catch_up(self.sql)
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as replica:
                wait_until(lambda: replica.request("GET", f"/v1/{name}/1?minVersion={version}").status == 200,
                           f"replica {index} serves {name}")
                expected_rows.compare(self.sql, replica, table)

    def in_a_session(self, setting: str, *statements: str) -> None:
        with self.stack.session() as session:
            session.execute(f"SET SESSION {setting}; " + "; ".join(statements))

    def has_ended(self, *texts: str) -> None:
        """The writer, with what mends it; replicas go on, marked as stale."""
        self.assertEqual(self.stack.writer.wait(60), 1)
        self.await_log(*texts)
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as replica:
                self.expect(replica.request("GET", "/v1/packed/1"), 200)
                wait_until(lambda: "ringside-stale" in replica.request("GET", "/v1/packed/1").headers, "a mark")

    def mend(self) -> None:
        """Runs what the writer's last words say."""
        for line in self.log().rpartition("the source does not allow exact capture")[2].split("\\n"):
            if line.strip().startswith("run: "):
                self.sql.execute(line.strip()[len("run: "):])

    # --- one session

    def test_an_image_that_leaves_columns_out(self):
        """Read again once; when it comes again, refused until somebody has changed the table or started the writer."""
        self.in_a_session("binlog_row_image = MINIMAL", "UPDATE images SET n = 1 WHERE id = 1")
        self.await_log("a table is not served from this version on", "the image leaves columns out: binlog_row_image",
                       "loaded tables anew")
        self.compare("images")
        self.in_a_session("binlog_row_image = MINIMAL", "UPDATE images SET n = 2 WHERE id = 1")
        self.compare("packed")
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as replica:
                refused = self.expect(replica.request("GET", "/v1/images/1"), 503, "table-quarantined").json()
                self.assertIn("binlog_row_image", refused["detail"])
        self.sql.execute("ALTER TABLE images COMMENT 'changed'")
        self.compare("images")
        self.assertEqual(self.stack.epoch(), self.epoch)

    def test_statements_in_the_place_of_rows(self):
        self.in_a_session("binlog_format = STATEMENT", "UPDATE statements SET n = n + 1", "DELETE FROM statements WHERE id = 20")
        self.await_log("a statement changed rows that the binlog does not show; being loaded anew", "loaded tables anew")
        for name in TABLES:
            self.compare(name)
        self.assertEqual(self.stack.epoch(), self.epoch)

    def test_documents_of_which_only_a_part_is_sent(self):
        self.in_a_session("binlog_row_value_options = PARTIAL_JSON", "UPDATE documents SET doc = JSON_SET(doc, '$.n', 77)")
        self.await_log("PARTIAL_UPDATE_ROWS", "loaded tables anew")
        for name in TABLES:
            self.compare(name)
        self.assertEqual(self.stack.epoch(), self.epoch)

    def test_compressed_transactions_are_nothing_special(self):
        """Of one row, of several tables, and one that is larger than its buffer, and so is spilled."""
        with self.stack.to_writer() as writer:
            spilled = metric(writer, "ringside_writer_spilled_bytes_total")
            self.in_a_session("binlog_transaction_compression = ON", "UPDATE packed SET n = 1 WHERE id = 1",
                              "BEGIN", "UPDATE packed SET n = 2", "UPDATE documents SET n = 2", "COMMIT",
                              "INSERT INTO packed SELECT seq + 100, seq, JSON_OBJECT('text', REPEAT('y', 300)) "
                              f"FROM {self.stack.database.numbers(3000)}")
            for name in ("packed", "documents"):
                self.compare(name)
            self.assertGreater(metric(writer, "ringside_writer_spilled_bytes_total"), spilled + 3000 * 300)
        self.assertNotIn("warning", self.log())

    def test_tagged_gtids(self):
        """They count, are waited for by name, and the stream is resumed behind them."""
        with self.stack.session() as tagged:
            tagged.execute("SET SESSION gtid_next = 'AUTOMATIC:blue'; UPDATE packed SET n = 10 WHERE id = 2")
            uuid = tagged.value("SELECT @@GLOBAL.server_uuid")
            with self.stack.to_replica(0) as replica:
                answer = self.expect(replica.request("GET", f"/v1/packed/2?minGtid={uuid}:blue:1&wait=10s"), 200)
                self.assertEqual(answer.json()["n"], 10)
                self.assertEqual(answer.version, self.stack.database.version(self.sql))
                self.expect(replica.request("GET", f"/v1/packed/2?minGtid={uuid}:blue:2&wait=10ms"), 503, "version-not-reached")
                self.expect(replica.request("GET", f"/v1/packed/2?minGtid={uuid}:red:1&wait=10ms"), 503, "version-not-reached")
                answers = []
                waits = threading.Thread(target=lambda: answers.append(
                    replica.request("GET", f"/v1/packed/2?minGtid={uuid}:blue:2&wait=10s")))
                waits.start()
                tagged.execute("UPDATE packed SET n = 11 WHERE id = 2")
                waits.join()
                self.assertEqual(self.expect(answers[0], 200).json()["n"], 11)
            # Resumed by another stream, and by another writer.
            self.stack.database.kill_stream(self.sql)
            tagged.execute("UPDATE packed SET n = 12 WHERE id = 2")
            self.compare("packed")
            self.stack.writer.kill()
            tagged.execute("UPDATE packed SET n = 13 WHERE id = 2")
            self.stack.start_writer()
            self.compare("packed")
            for index in range(self.REPLICAS):
                with self.stack.to_replica(index) as replica:
                    document = replica.request("GET", "/version").json()
                self.assertEqual(document["gtid"], self.stack.database.position(self.sql))
                self.assertIn(":blue:1-4", document["gtid"])
        self.assertEqual(self.stack.epoch(), self.epoch)

    def test_the_times_of_commits_are_exact(self):
        with self.stack.to_writer() as writer:
            self.assertEqual(metric(writer, "ringside_writer_commit_time_resolution_seconds"), MICROSECOND)
            for n in range(30):
                self.expect(writer.request("PATCH", "/v1/packed/3", {"n": n}), 200)
        self.stack.catch_up(self.sql)
        name = "ringside_replica_commit_to_visible_seconds"
        for index in range(self.REPLICAS):
            with self.stack.to_admin(index) as admin:
                self.assertEqual(metric(admin, "ringside_replica_commit_time_resolution_seconds"), MICROSECOND)
                count = metric(admin, name + "_count")
                self.assertGreaterEqual(count, 30)
                # MariaDB's whole seconds would fill the buckets up to 1 evenly, and this one with a tenth of them.
                self.assertGreater(metric(admin, name + "_bucket", le="0.1"), count / 2)
                self.assertGreater(metric(admin, name + "_sum"), 0)
                committed = metric(admin, "ringside_replica_commit_timestamp_seconds")
                self.assertNotEqual(committed, int(committed), "to the microsecond")

    # --- all of them

    def test_images_for_all_are_looked_at_with_the_next_connection(self):
        self.sql.execute("SET GLOBAL binlog_row_image = MINIMAL")
        self.stack.database.kill_stream(self.sql)
        self.has_ended("binlog_row_image is MINIMAL", "SET GLOBAL binlog_row_image = 'FULL'")
        self.mend()
        self.sql.execute("UPDATE packed SET n = 5 WHERE id = 5")  # a session of before: its images are whole
        self.stack.start_writer()
        self.compare("packed")
        self.assertEqual(self.stack.epoch(), self.epoch)

    def test_transactions_without_a_gtid(self):
        """They have no version: what they changed is another history, also when GTIDs are on again."""
        self.sql.execute("SET GLOBAL gtid_mode = ON_PERMISSIVE; SET GLOBAL gtid_mode = OFF_PERMISSIVE; "
                         "UPDATE packed SET n = 6 WHERE id = 6")
        self.has_ended("gtid_mode")
        self.stack.start_writer(ready=False)
        self.has_ended("gtid_mode is OFF_PERMISSIVE", "SET GLOBAL gtid_mode = ON_PERMISSIVE", "SET GLOBAL gtid_mode = ON;")
        self.mend()
        self.stack.start_writer()
        self.compare("packed")
        self.assertNotEqual(self.stack.epoch(), self.epoch)
        self.sql.execute("UPDATE packed SET n = 7 WHERE id = 6")
        self.compare("packed")


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
