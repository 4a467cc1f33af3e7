"""The database is restarted, killed and stopped under load: what writer and replicas say, that reads go on, that no command
is lost or done twice, and that all is well afterwards without anybody's help.

RINGSIDE_STOPPED_SECONDS: how long the database stands still (3, a few watchdogs' length).
"""

import os
import signal
import sys
import time
import unittest

from faults import FaultsCase

STOPPED_SECONDS = float(os.environ.get("RINGSIDE_STOPPED_SECONDS", "3"))


class DatabaseFails(FaultsCase):
    def broken(self, load, away) -> None:
        """What holds whatever is wrong with the database: stale, said to be stale, and served on."""
        self.await_writer("capture is reconnecting")
        self.assertEqual(self.writer_status()["capture"]["state"], "reconnecting")
        for index in range(self.REPLICAS):
            load.advance_reads(index)
        self.await_replicas("what it serves is")
        for index in range(self.REPLICAS):
            self.assertIn("capture is reconnecting, the writer is alive", self.replica_reason(index))
            status = self.replica_status(index)
            self.assertEqual(status["source"]["capture"], "reconnecting")
            load.advance_reads(index)
        away()

    def test_restarted(self):
        load = self.start_load()
        writer, replica = self.mark("writer"), self.mark("replica0")
        epoch = self.stack.epoch()
        self.stack.database.stop()

        def refused() -> None:
            # A server that cannot be reached refuses commands at once, and says why.
            load.advance("refused")
            with self.stack.to_writer() as connection:
                problem = self.expect(connection.request("POST", "/v1/facts", {"token": "refused"}), 503,
                                      "database-unavailable").json()
                self.assertIn("nothing was changed", problem["detail"])
            self.await_writer(self.stack.database.socket)  # its next attempt may be 5 s away
        self.broken(load, refused)
        self.await_line("writer", writer, "the source cannot be followed", "connecting to the database server")
        self.await_line("writer", writer, "a command session cannot connect to the database; trying again")
        self.stack.database.start()
        self.finish(load)
        self.await_line("writer", writer, "following the binlog")
        self.await_line("writer", writer, "a command session is connected again")
        # A replica has nothing to do with it, and nothing to say.
        self.assertEqual(self.lines("replica0", replica, " "), [])
        self.assertEqual(self.stack.epoch(), epoch)

    def test_killed(self):
        load = self.start_load()
        writer = self.mark("writer")
        epoch = self.stack.epoch()
        self.stack.database.stop(crash=True)
        self.await_line("writer", writer, "the source cannot be followed", "2013")
        self.broken(load, lambda: load.advance("refused"))
        self.stack.database.start()
        self.finish(load)
        self.assertEqual(self.stack.epoch(), epoch)

    def test_stopped_for_a_while(self):
        load = self.start_load()
        writer = self.mark("writer")
        epoch = self.stack.epoch()
        process = self.stack.database.process
        process.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            self.await_line("writer", writer, "the source cannot be followed", "(writer.watchdog)")
            self.broken(load, lambda: None)
            while time.monotonic() < began + STOPPED_SECONDS:
                for index in range(self.REPLICAS):
                    load.advance_reads(index)
        finally:
            process.signal(signal.SIGCONT)
        self.finish(load)
        self.assertEqual(self.stack.epoch(), epoch)
        with self.stack.to_writer() as connection:
            metrics = connection.request("GET", "/metrics").body.decode("utf-8")
        self.assertIn('ringside_writer_reconnects_total{reason="half-dead connection"}', metrics)


class MysqlDatabaseFails(DatabaseFails):
    SERVER = "mysql"


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
