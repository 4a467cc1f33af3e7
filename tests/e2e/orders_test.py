"""Start and stop in every order, and what has to be mended before a start: each program waits for what comes by itself, ends
with the reason and the way out where somebody has to do something, and never holds up the others."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import unittest

from faults import FaultsCase
from harness import SqlError, wait_until

NO_SUCH_THREAD = 1094
PARTS = ("database", "writer", "replicas")


class Orders(FaultsCase):
    """One database; each test begins with everything stopped and no ring."""

    ORDERS = tuple(itertools.permutations(PARTS))

    @classmethod
    def prepare(cls) -> None:
        cls.create_tables()

    def setUp(self) -> None:
        self.stop_all()
        shutil.rmtree(self.stack.ring_path, ignore_errors=True)
        self.config = self.stack.config.read_text(encoding="utf-8")
        self.addCleanup(self.stack.config.write_text, self.config, encoding="utf-8")

    def stop_all(self) -> None:
        for process in (self.stack.writer, *self.stack.replicas.values()):
            if process and process.running():
                process.kill()

    def start_replicas(self) -> None:
        for index in range(self.REPLICAS):
            self.stack.start_replica(index, ready=False)

    def change(self, n: int) -> None:
        with self.stack.session() as sql:
            sql.execute(f"UPDATE items SET n = {n}")

    def ends_with(self, process, mark: int, *texts: str) -> None:
        """It ends by itself, exit code 1, and its last line says why and what to do."""
        self.assertEqual(process.wait(), 1)
        line = self.await_line(process.name, mark, "cannot go on")
        rest = (self.stack.folder / f"{process.name}.log").read_text(encoding="utf-8")[-4000:]
        for text in texts:
            self.assertIn(text, line + "\n" + rest.partition(line)[2])

    def test_every_order(self):
        """Each order of starting; then stopped in that order, the others going on; exit codes 0."""
        self.stack.database.stop()
        for n, order in enumerate(self.ORDERS):
            with self.subTest(order=order):
                for part in order:
                    {"database": self.stack.database.start, "replicas": self.start_replicas,
                     "writer": lambda: self.stack.start_writer(ready=False)}[part]()
                self.await_all_ready()
                self.change(n)
                self.compare()
                for part in order:
                    if part == "database":
                        self.stack.database.stop()
                        self.assertEqual(self.stack.database.process.wait(), 0)
                        if self.stack.writer.running():
                            self.await_writer("capture is reconnecting")
                    elif part == "writer":
                        self.assertEqual(self.stack.writer.terminate(), 0)
                    else:
                        for process in self.stack.replicas.values():
                            self.assertEqual(process.terminate(), 0)
                    for index, process in self.stack.replicas.items():
                        if process.running():
                            with self.stack.to_replica(index) as replica:
                                row = self.expect(replica.request("GET", "/v1/items/1?fields=n"), 200)
                                self.assertEqual(row.json()["n"], n)
        self.stack.database.start()

    def test_replicas_long_before_writer_and_database(self):
        self.stack.database.stop()
        mark, writer = self.mark("replica0"), self.mark("writer")
        self.start_replicas()
        self.await_line("replica0", mark, "waiting for the ring", "is its writer running?")
        self.await_replicas(f"there is no ring {self.stack.ring_path} yet: is its writer running?")
        for index, process in self.stack.replicas.items():
            self.assertEqual(self.replica_status(index)["state"], "waiting")
            with self.stack.to_admin(index) as admin:
                self.assertEqual(admin.request("GET", "/healthz").status, 200)
            self.assertTrue(process.running())
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", self.stack.data_port), 5).close()
        # The writer is there and the database is not: still no ring, and for the same reason.
        self.stack.start_writer(ready=False)
        self.await_line("writer", writer, "the source cannot be followed", self.stack.database.socket)
        self.await_writer("connecting to the database server")
        with self.stack.to_writer() as connection:
            self.expect(connection.request("POST", "/v1/facts", {"token": "early"}), 503)
        self.await_replicas("there is no ring")
        self.assertEqual(len(self.lines("replica0", mark, "waiting for the ring")), 1)
        self.stack.database.start()
        self.await_all_ready()
        self.compare()

    def test_no_ring_directory_yet(self):
        """It is not made: what is meant is a tmpfs, and one that is mounted over it later would hide the ring."""
        directory = self.stack.folder / "later"
        self.stack.config.write_text(self.config.replace("[ring]\n", f'[ring]\ndirectory = "{directory}"\n'), encoding="utf-8")
        writer, replica = self.mark("writer"), self.mark("replica0")
        self.start_replicas()
        self.stack.start_writer(ready=False)
        self.await_line("writer", writer, "the source cannot be followed", str(directory), "No such file or directory",
                        "mount a tmpfs at ring.directory")
        self.await_writer(f"cannot create the directory {directory}")
        self.await_line("replica0", replica, "waiting for the ring", str(directory))
        self.await_replicas("there is no ring")
        self.assertFalse(directory.exists())
        directory.mkdir()
        self.await_all_ready()
        self.compare()
        self.stop_all()
        shutil.rmtree(directory)

    def test_the_ring_is_removed_while_all_run(self):
        """Nobody should; nobody is hurt: replicas serve what they have mapped, and the writer's restart makes it anew."""
        self.stack.start()
        shutil.rmtree(self.stack.ring_path)
        self.change(77)
        self.compare()
        replica = self.mark("replica0")
        self.stack.writer.kill()
        self.stack.start_writer()
        self.await_all_ready()
        self.await_line("replica0", replica, "replica is ready")
        self.change(78)
        self.compare()

    def test_the_database_is_made_late(self):
        name = "made_later"
        self.stack.config.write_text(self.config.replace(f'database = "{self.stack.DATABASE}"', f'database = "{name}"'),
                                     encoding="utf-8")
        mark = self.mark("writer")
        self.start_replicas()
        self.ends_with(self.stack.start_writer(ready=False), mark, "the source does not allow exact capture",
                       f"database {name} is missing", f"CREATE DATABASE `{name}`", f"GRANT SELECT ON `{name}`.*")
        self.await_replicas("there is no ring")
        with self.stack.database.session() as sql:
            sql.execute(f"CREATE DATABASE `{name}`; GRANT {self.stack.database.PRIVILEGES} ON `{name}`.* TO 'ringside'@'localhost'; "
                        f"CREATE TABLE `{name}`.t (id INT PRIMARY KEY); INSERT INTO `{name}`.t VALUES (1)")
        self.stack.start_writer()
        self.await_all_ready()
        with self.stack.to_replica(0) as replica:
            self.expect(replica.request("GET", "/v1/t/1"), 200)

    def test_a_wrong_password_mended(self):
        """Somebody has to do something: the writer ends and says so, also out of a running state. Replicas go on."""
        self.stack.start()
        epoch = self.stack.epoch()
        mark = self.mark("writer")
        with self.stack.database.session() as sql:
            self.stack.database.set_password(sql, "another")
            for thread in self.stack.database.threads(sql, "USER = 'ringside'"):
                try:
                    sql.execute(f"KILL {thread}")
                except SqlError as error:
                    self.assertEqual(error.code, NO_SUCH_THREAD)  # it has ended by itself
            self.ends_with(self.stack.writer, mark, "connecting to the database server", "1045", "user 'ringside'")
            self.await_replicas("the writer is gone")
            for index in range(self.REPLICAS):
                with self.stack.to_replica(index) as replica:
                    self.expect(replica.request("GET", "/v1/items/1"), 200)
            mark = self.mark("writer")
            self.ends_with(self.stack.start_writer(ready=False), mark, "1045")
            secret = self.stack.PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
            self.stack.database.set_password(sql, secret)
        self.stack.start_writer()
        self.await_all_ready()
        self.assertEqual(self.stack.epoch(), epoch)
        self.change(5)
        self.compare()

    def test_ports_taken_and_freed(self):
        def taken(port: int) -> socket.socket:
            holder = socket.socket()
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", port))
            holder.listen(1)
            return holder

        mark = self.mark("writer")
        with taken(self.stack.writer_port):
            self.ends_with(self.stack.start_writer(ready=False), mark, "writer.listen: cannot listen on",
                           str(self.stack.writer_port), "Address already in use")
        self.stack.start_writer()
        mark = self.mark("replica0")
        with taken(self.stack.admin_port):
            self.ends_with(self.stack.start_replica(0, ready=False), mark, "replica.admin_port + index", "Address already in use")
        mark = self.mark("replica0")
        with taken(self.stack.data_port):
            self.ends_with(self.stack.start_replica(0, ready=False), mark, "replica.listen", "Address already in use")
        self.start_replicas()
        self.await_all_ready()
        self.compare()

    def test_a_second_writer_is_refused(self):
        self.stack.start()
        other = self.stack.folder / "other.toml"
        other.write_text(self.config.replace(f":{self.stack.writer_port}", ":0"), encoding="utf-8")
        done = subprocess.run([os.environ["RINGSIDE_WRITER"], "--config", str(other)], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(f"another writer (pid {self.stack.writer.pid}) holds the ring", done.stderr)
        self.compare()

    def test_stopped_replicas_hold_up_nobody(self):
        """SIGSTOP to all but one, then the writer: each goes on when it may, from where it was."""
        self.stack.start()
        self.stack.replicas[1].signal(signal.SIGSTOP)
        try:
            self.change(91)
            with self.stack.session() as sql, self.stack.to_replica(0) as replica:
                wait_until(lambda: replica.request("GET", "/v1/items/1?fields=n").json()["n"] == 91, "the other one goes on")
                self.assertEqual(sql.value("SELECT n FROM items WHERE id = 1"), "91")
            self.stack.writer.signal(signal.SIGSTOP)
            try:
                self.change(92)
                wait_until(lambda: "capture is streaming, the writer is alive" in self.replica_reason(0), "it gets old")
            finally:
                self.stack.writer.signal(signal.SIGCONT)
        finally:
            self.stack.replicas[1].signal(signal.SIGCONT)
        self.await_all_ready()
        self.compare()


class MysqlOrders(Orders):
    """Its clean shutdown takes 8 s while a stream is open, and ends that in order: two of the orders are enough."""

    SERVER = "mysql"
    ORDERS = (("replicas", "writer", "database"), PARTS)
    # No server has a part in these.
    test_no_ring_directory_yet = None
    test_the_ring_is_removed_while_all_run = None
    test_ports_taken_and_freed = None
    test_a_second_writer_is_refused = None
    test_stopped_replicas_hold_up_nobody = None


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
