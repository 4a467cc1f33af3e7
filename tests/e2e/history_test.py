"""The source comes back with another history, or breaks the one it has: restored from a copy, crashed without its last
transactions, its binlog reset or purged, a second replication domain, a sequence that goes back.

Each case is noticed and named. Where a new snapshot is the answer, the replicas go on serving the old ring, marked as
stale, until the new one is there; while that is so, and while they change over, clients read all the time: no answer
is refused or mixes the histories, and no connection sees a version go back. Where an operator has to act, the writer
ends with what is to be done, and goes on once it is done.
"""

import shutil
import signal
import sys
import threading
import unittest
from contextlib import contextmanager
from typing import List, Optional

import rows as expected_rows
from harness import ConnectionLost, Session, SqlError, StackCase, metric, wait_until

ITEMS = 60
KEYS = ",".join(str(i) for i in range(1, ITEMS + 1))
ALL = f"/v1/items?fields=n&keys={KEYS}"


class Watch(threading.Thread):
    """Reads all rows again and again, over one connection that is kept and over fresh ones, from one replica. Every
    transaction of these tests gives all rows the same number, so an answer with two numbers is of no one version."""

    def __init__(self, case: "History", index: int):
        super().__init__(name=f"watch{index}", daemon=True)
        self._case = case
        self._index = index
        self._ended = threading.Event()
        self.problems: List[str] = []
        self.seen: List[int] = []      # the rows' number, each change of it
        self.kept_lost = 0             # kept connections that the replica closed
        self.answers = 0

    def run(self) -> None:
        kept, last = self._case.stack.to_replica(self._index), 0
        while not self._ended.is_set() and not self.problems:
            try:
                answer = kept.request("GET", ALL)
                if answer.version is None or answer.version < last:
                    self.problems.append(f"the version went back from {last}: {answer}")
                last = answer.version or 0
                self._check(answer)
            except ConnectionLost:
                # Closed, because it has seen a version that is not there any more. A fresh one must do.
                self.kept_lost += 1
                kept, last = self._case.stack.to_replica(self._index), 0
            try:
                with self._case.stack.to_replica(self._index) as fresh:
                    self._check(fresh.request("GET", ALL))
            except ConnectionLost as error:
                self.problems.append(f"a fresh connection was refused: {error}")
        kept.close()

    def _check(self, answer) -> None:
        if answer.status != 200:
            self.problems.append(f"{answer}")
            return
        numbers = {row["n"] for row in answer.json()["data"]}
        if len(numbers) != 1:
            self.problems.append(f"{sorted(numbers)} in one answer at version {answer.version}")
        number = numbers.pop()
        if not self.seen or self.seen[-1] != number:
            self.seen.append(number)
        self.answers += 1

    def end(self) -> None:
        self._ended.set()
        self.join(60)


class History(StackCase):
    REPLICAS = 2
    SAVES_BY_A_CRASH = False
    SETTINGS = ("[writer]\nheartbeat = \"200ms\"\nwatchdog = \"2s\"\nversion_wait = \"10s\"\n"
                "[replica]\nmax_staleness = \"1s\"\n")

    @classmethod
    def prepare(cls) -> None:
        cls.sql: Session = cls.stack.session()
        cls.sql.execute("CREATE TABLE items (id INT NOT NULL PRIMARY KEY, n INT NOT NULL); "
                        f"INSERT INTO items SELECT seq, 0 FROM {cls.stack.database.numbers(ITEMS)}; "
                        "CREATE TABLE marks (id INT NOT NULL PRIMARY KEY, n INT NOT NULL); INSERT INTO marks VALUES (1, 0)")
        cls.number = 0
        cls.stack.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.sql.close()

    def setUp(self) -> None:
        if not self.stack.writer.running():
            self.stack.start_writer()
        self.stack.catch_up(self.sql)
        self.epoch = self.stack.epoch()
        self.history = self.replica_status(0)["history"]
        self.log_before = self.stack.writer.log.stat().st_size

    # --- what the cases are made of

    def reconnect(self) -> None:
        self.sql.close()
        type(self).sql = self.stack.session()

    def write(self, times: int = 1, session: Optional[Session] = None) -> int:
        """As many transactions, each of which gives all rows a number never used before; the last one."""
        for _ in range(times):
            type(self).number += 1
            (session or self.sql).execute(f"UPDATE items SET n = {self.number}")
        return self.number

    def position(self) -> str:
        return self.stack.database.position(self.sql)

    def version(self) -> int:
        return self.stack.database.version(self.sql)

    def writer_status(self) -> dict:
        with self.stack.to_writer() as writer:
            return writer.request("GET", "/status").json()

    def writer_listens(self) -> bool:
        try:
            return bool(self.writer_status())
        except ConnectionLost:
            return False

    def replica_status(self, index: int) -> dict:
        with self.stack.to_admin(index) as admin:
            return admin.request("GET", "/status").json()

    def ready(self, index: int):
        with self.stack.to_admin(index) as admin:
            answer = admin.request("GET", "/readyz")
            return answer.status == 200, answer.json().get("reason", "")

    def log(self) -> str:
        """What the writer has logged since the test began."""
        return self.stack.writer.log.read_bytes()[self.log_before:].decode("utf-8", "replace")

    @contextmanager
    def writer_held(self):
        """The writer does nothing meanwhile, so that it cannot see what lies between two states of the server."""
        self.stack.writer.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.stack.writer.signal(signal.SIGCONT)

    def save(self) -> None:
        """A copy of the server as it is now."""
        self.sql.close()
        self.stack.database.stop(crash=self.SAVES_BY_A_CRASH)
        shutil.copytree(self.stack.folder / "mysql", self.stack.folder / "copy")
        self.stack.database.start()
        self.reconnect()
        wait_until(lambda: self.writer_status()["capture"]["state"] == "streaming", "the stream is back")

    def restore(self, by_another: bool = False) -> None:
        """The copy takes the server's place, as after a crash: nothing is shut down in order."""
        self.sql.close()
        self.stack.database.stop(crash=True)
        shutil.rmtree(self.stack.folder / "mysql")
        (self.stack.folder / "copy").rename(self.stack.folder / "mysql")
        if by_another:
            self.stack.database.become_another()
        self.stack.database.start()
        self.reconnect()

    @contextmanager
    def watched(self):
        watches = [Watch(self, index) for index in range(self.REPLICAS)]
        for watch in watches:
            watch.start()
        try:
            yield watches
        finally:
            for watch in watches:
                watch.end()
        for watch in watches:
            self.assertEqual(watch.problems, [], watch.name)

    @contextmanager
    def snapshot_held(self):
        """No snapshot can read the table until this ends."""
        with self.stack.session() as gate:
            gate.execute("LOCK TABLES items WRITE")
            yield
            gate.execute("UNLOCK TABLES")

    def expect_marked(self, old: int, why: str) -> None:
        """Writer and replicas say what is the matter, and the old rows are served all the same."""
        wait_until(lambda: self.writer_status()["capture"]["state"] == "replacing", "the writer has noticed")
        wait_until(lambda: "loading a snapshot" in self.writer_status()["capture"]["reason"], "and loads a new ring")
        capture = self.writer_status()["capture"]
        self.assertRegex(capture["reason"], why)
        with self.stack.to_writer() as writer:
            unready = self.expect(writer.request("GET", "/readyz"), 503)
            self.assertRegex(unready.json()["detail"], why)
            self.assertEqual(metric(writer, "ringside_writer_capture_state", state="replacing"), 1)
        self.assertRegex(self.log(), why)
        for index in range(self.REPLICAS):
            wait_until(lambda index=index: self.replica_status(index)["stale"], "what is served is marked as stale")
            status = self.replica_status(index)
            self.assertEqual(status["epoch"], self.epoch)
            self.assertEqual(status["source"]["capture"], "replacing")
            self.assertIn("another history", status["stale_reason"])
            wait_until(lambda index=index: not self.ready(index)[0], "replica.max_staleness")
            self.assertIn("capture is replacing", self.ready(index)[1])

            def marked(index=index) -> bool:
                with self.stack.to_replica(index) as replica:
                    answer = self.expect(replica.request("GET", "/v1/items/7"), 200)
                self.assertEqual(answer.json(), {"id": 7, "n": old})
                return "ringside-stale" in answer.headers
            wait_until(marked, "every answer says how stale it is")
            with self.stack.to_replica(index) as replica:
                missing = self.expect(replica.request("GET", "/v1/items/99999"), 404)
                self.assertGreaterEqual(int(missing.headers["ringside-stale"]), 0)

    def expect_new_ring(self, lost: bool) -> None:
        """`lost`: the history has a new name too, and not only the ring."""
        wait_until(lambda: self.writer_status()["capture"]["state"] == "streaming" and
                   self.stack.epoch() != self.epoch, "a new ring")
        self.write()
        self.stack.catch_up(self.sql)
        for index in range(self.REPLICAS):
            wait_until(lambda index=index: self.ready(index)[0], "the replica is ready again")
            status = self.replica_status(index)
            self.assertEqual((status["stale"], status["stale_reason"]), (False, None))
            self.assertNotEqual(status["epoch"], self.epoch)
            (self.assertNotEqual if lost else self.assertEqual)(status["history"], self.history)
            with self.stack.to_replica(index) as replica:
                wait_until(lambda: "ringside-stale" not in replica.request("GET", "/v1/items/7").headers, "no mark")
                expected_rows.compare(self.sql, replica, expected_rows.describe(self.sql, "items"))
            self.assertEqual(status["corruptions"], 0)
        self.expect_one_epoch()
        self.expect_commands()

    def expect_one_epoch(self) -> None:
        epochs = sorted(p.name for p in self.stack.ring_path.iterdir() if p.name.startswith("epoch-"))
        self.assertEqual(epochs, ["epoch-" + self.stack.epoch()])

    def expect_commands(self) -> None:
        """A command gets its version in the new history, and every replica shows it there."""
        type(self).number += 1
        with self.stack.to_writer() as writer:
            document = self.expect(writer.request("PATCH", "/v1/marks/1", {"n": self.number}), 200).json()
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as replica:
                answer = replica.request("GET", f"/v1/marks/1?minVersion={document['version']}&wait=10s")
                self.assertEqual(self.expect(answer, 200).json()["n"], self.number)

    # --- another history under the same GTIDs

    def test_a_restored_server_that_wrote_more_than_was_lost(self):
        """By GTIDs alone the two cannot be told apart: the server has the ring's last one, and more."""
        self.save()
        old = self.write(4)
        lost = self.stack.catch_up(self.sql)
        with self.watched() as watches:
            with self.writer_held():
                self.restore()
                while self.version() <= lost + 2:
                    new = self.write()
                gate = self.snapshot_held()
                gate.__enter__()
            self.expect_marked(old, "is not the one that the ring holds|has another history")
            gate.__exit__(None, None, None)
            self.expect_new_ring(lost=True)
            self.assertTrue(all(self.replica_status(i)["version"] > lost for i in range(self.REPLICAS)))
        for watch in watches:
            self.assertIn(old, watch.seen)
            self.assertLess(watch.seen.index(old), len(watch.seen) - 1, "the new ring was seen")
            self.assertNotIn(old, watch.seen[watch.seen.index(old) + 1:], "what is lost does not come back")
        self.assertIn(new, range(old, self.number + 1))

    def test_a_crash_that_took_the_last_transactions_and_another_server_in_its_place(self):
        """sync_binlog=0 and a power loss; the server that goes on has another id. It says nothing of its own accord."""
        self.save()
        old = self.write(6)
        lost = self.position()
        lost_version = self.stack.catch_up(self.sql)
        kept = [self.stack.to_replica(index) for index in range(self.REPLICAS)]
        for connection in kept:
            self.addCleanup(connection.close)
            self.assertEqual(self.expect(connection.request("GET", f"/v1/items/7?minGtid={lost}"), 200).json()["n"], old)
        with self.watched() as watches:
            with self.writer_held():
                self.stack.database.options(["--sync-binlog=0"])
                self.restore(by_another=True)
                gate = self.snapshot_held()
                gate.__enter__()
            self.expect_marked(old, "has lost transactions")
            # A writer that dies on the way to the new ring leaves the next one no wiser than it was.
            self.stack.writer.kill()
            self.stack.start_writer(ready=False)
            wait_until(self.writer_listens, "the next writer listens")
            self.expect_marked(old, "has lost transactions|the source's history is")
            gate.__exit__(None, None, None)
            self.expect_new_ring(lost=True)
        # Each of them has seen a version that is not there any more: closed, unless the new history had got there.
        for connection in kept:
            try:
                answer = connection.request("GET", "/v1/items/7")
                self.assertGreaterEqual(answer.version, lost_version)
            except ConnectionLost:
                pass
        for watch in watches:
            self.assertGreaterEqual(watch.kept_lost, 1, "connections that had seen the lost versions were closed")
        while self.version() <= lost_version:
            self.write()
        self.stack.catch_up(self.sql)
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as replica:
                self.expect_refused(replica, lost)
                self.expect(replica.request("GET", f"/v1/items/7?minGtid={self.position()}"), 200)

    def expect_refused(self, replica, lost: str) -> None:
        """As soon as the new history has its number, a lost GTID is known to be lost."""
        self.assertTrue(self.position().startswith("0-2-"))
        self.expect(replica.request("GET", f"/v1/items/7?minGtid={lost}"), 409, "history-changed")

    # --- the binlog is gone

    def test_reset_master_while_the_writer_follows(self):
        old = self.write(3)
        self.stack.catch_up(self.sql)
        with self.watched():
            with self.writer_held():
                self.sql.execute(self.stack.database.RESET_BINLOG_SQL)  # MySQL would wait for the lock's end
                gate = self.snapshot_held()
                gate.__enter__()
            self.expect_marked(old, "has lost transactions|sequence went back|binlog")
            gate.__exit__(None, None, None)
            self.expect_new_ring(lost=True)

    def test_reset_master_while_the_writer_is_down(self):
        """And then more transactions than there were before."""
        self.write(3)
        before = self.stack.catch_up(self.sql)
        self.assertEqual(self.stack.writer.terminate(), 0)
        self.sql.execute(self.stack.database.RESET_BINLOG_SQL)
        while self.version() <= before + 3:
            self.write()
        with self.watched():
            self.stack.start_writer()
            self.expect_new_ring(lost=True)
        self.assertRegex(self.log(), "is not the one that the ring holds|has another history")

    def test_a_purged_binlog(self):
        """No history is lost, only the way to it."""
        old = self.write(3)
        self.stack.catch_up(self.sql)
        with self.watched() as watches:
            with self.writer_held():
                self.sql.close()
                self.stack.database.restart(crash=True)
                self.reconnect()
                self.write(2)
                self.sql.execute("FLUSH BINARY LOGS")
                self.write(2)
                self.sql.execute("FLUSH BINARY LOGS")
                self.sql.execute(f"PURGE BINARY LOGS TO '{self.sql.query('SHOW BINARY LOGS')[-1][0]}'")
                gate = self.snapshot_held()
                gate.__enter__()
            self.expect_marked(old, "purged")
            gate.__exit__(None, None, None)
            self.expect_new_ring(lost=False)
        for watch in watches:
            self.assertEqual(watch.seen, sorted(watch.seen))
            self.assertEqual(watch.kept_lost, 0, "no version went back: no connection has to end")

    # --- what an operator has to see to

    def expect_writer_ends(self, *named: str) -> None:
        self.assertEqual(self.stack.writer.wait(60), 1)
        for text in named:
            self.assertIn(text, self.log())

    def expect_old_rows(self, old: int) -> None:
        for index in range(self.REPLICAS):
            wait_until(lambda index=index: not self.ready(index)[0], "replica.max_staleness")
            self.assertIn("the writer is gone", self.ready(index)[1])
            status = self.replica_status(index)
            self.assertTrue(status["stale"])
            with self.stack.to_replica(index) as replica:
                answer = self.expect(replica.request("GET", "/v1/items/7"), 200)
                self.assertEqual(answer.json()["n"], old)
                wait_until(lambda: "ringside-stale" in replica.request("GET", "/v1/items/7").headers, "a mark")

    def mend(self, text: str) -> None:
        """Runs what the writer's last words say."""
        for line in text.split("\\n"):
            statement = line.strip()
            if statement.startswith("run: "):
                self.sql.execute(statement[len("run: "):])

    def test_a_session_in_another_domain(self):
        old = self.write()
        self.stack.catch_up(self.sql)
        with self.watched():
            with self.stack.session() as other:
                other.execute("SET SESSION gtid_domain_id = 1")
                self.write(1, other)
            self.expect_writer_ends("domain 1", "DELETE_DOMAIN_ID=(1)")
            self.expect_old_rows(old)
            # Started again it says the same, at once.
            self.stack.start_writer(ready=False)
            self.expect_writer_ends("DELETE_DOMAIN_ID=(1)")

            def mended() -> bool:
                last = self.log().rpartition("the source does not allow exact capture")[2]
                try:
                    self.mend(last)
                except SqlError:  # the server still uses an older file: run all again a moment later, as it says
                    return False
                return True
            wait_until(mended, "the domain is dropped")
            self.stack.start_writer()
            self.expect_new_ring(lost=True)

    def test_strict_mode_switched_off_and_a_sequence_that_goes_back(self):
        self.write(8)
        old = self.number
        before = self.stack.catch_up(self.sql)
        with self.watched():
            self.sql.execute("SET GLOBAL gtid_strict_mode = OFF")
            self.sql.execute(f"SET SESSION gtid_seq_no = {before - 5}")
            self.write()
            self.expect_writer_ends(f"0-{self.sql.value('SELECT @@server_id')}-{before - 5}", "went back",
                                    "SET GLOBAL gtid_strict_mode = 'ON'")
            self.expect_old_rows(old)
            self.mend(self.log())
            self.write()
            self.stack.start_writer()
            self.expect_new_ring(lost=True)

    def test_a_sequence_that_went_back_unseen_and_a_restarted_server(self):
        """The server counts on from where it was put back to: numbers come twice in its binlog."""
        self.write(8)
        before = self.stack.catch_up(self.sql)
        self.assertEqual(self.stack.writer.terminate(), 0)
        self.sql.execute("SET GLOBAL gtid_strict_mode = OFF")
        self.sql.execute(f"SET SESSION gtid_seq_no = {before - 5}")
        self.write()
        self.sql.close()
        self.stack.database.restart()  # strict again, by its options
        self.reconnect()
        with self.watched():
            self.stack.start_writer()
            self.expect_new_ring(lost=True)
            self.write(10)
            self.stack.catch_up(self.sql)
            epoch = self.stack.epoch()
            # And the new ring can be gone on with.
            self.assertEqual(self.stack.writer.terminate(), 0)
            self.write(2)
            self.stack.start_writer()
            self.stack.catch_up(self.sql)
            self.assertEqual(self.stack.epoch(), epoch)


class MysqlHistory(History):
    SERVER = "mysql"
    SAVES_BY_A_CRASH = True  # its clean shutdown takes 8 s while a stream is open
    test_a_session_in_another_domain = None  # only MariaDB has them
    test_strict_mode_switched_off_and_a_sequence_that_goes_back = None  # a set has no order
    test_a_sequence_that_went_back_unseen_and_a_restarted_server = None

    def expect_refused(self, replica, lost: str) -> None:
        """Transactions of another server may come at any time: that these never do is not known."""
        self.assertEqual(len({part[:36] for part in self.position().split(",")}), 2)
        self.expect(replica.request("GET", f"/v1/items/7?minGtid={lost}&wait=10ms"), 503, "version-not-reached")


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
