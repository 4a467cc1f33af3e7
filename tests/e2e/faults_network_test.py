"""Between the writer and its database stands a proxy that cuts, stalls, slows down and refuses, under load: the binlog's
connection and those of the commands. What is said, that reads go on, that each command is done as often as its answer
says, and that all is well when the network is."""

import random
import shutil
import subprocess
import sys
import tempfile
import unittest

from faults import FAST, FaultsCase
from harness import choose, metric
from proxy import COMMIT, Proxy

BODY_BYTES = 400_000  # an event that takes many packets


class NetworkFails(FaultsCase):
    # The proxy is a thread of this process, beside the load: a watchdog that a busy machine does not set off.
    SETTINGS = FAST.replace('watchdog = "1s"', 'watchdog = "3s"')

    @classmethod
    def prepare(cls) -> None:
        cls.proxy = cls.make_proxy()
        cls.addClassCleanup(cls.proxy.close)
        config = cls.stack.config.read_text(encoding="utf-8")
        socket = f'socket = "{cls.stack.database.socket}"\n'
        assert socket in config
        cls.stack.config.write_text(config.replace(socket, cls.way()), encoding="utf-8")
        super().prepare()

    @classmethod
    def make_proxy(cls) -> Proxy:
        return Proxy(cls.stack.database.socket)

    @classmethod
    def way(cls) -> str:
        """To the proxy, as the configuration says it."""
        return f'host = "127.0.0.1"\nport = {cls.proxy.port}\n'

    def is_stream(self, pair) -> bool:
        return pair.is_stream

    def setUp(self) -> None:
        self.writer_mark = self.mark("writer")
        self.replica_mark = self.mark("replica0")
        self.epoch = self.stack.epoch()
        self.addCleanup(self.proxy.resume)
        self.addCleanup(self.proxy.accept)

    def finish(self, load) -> None:
        super().finish(load)
        # Nothing but the connections has suffered.
        self.assertEqual(self.stack.epoch(), self.epoch)
        self.assertEqual(self.lines("replica0", self.replica_mark, " "), [])

    def look_for_stream(self) -> None:
        """Before is_stream() is asked."""

    def reconnects(self, reason: str) -> float:
        with self.stack.to_writer() as writer:
            return metric(writer, "ringside_writer_reconnects_total", reason=reason)

    def change_large(self, number: int) -> None:
        with self.stack.session() as sql:
            sql.execute(f"UPDATE items SET n = {number}, body = REPEAT(CHAR(65 + {number} % 26), {BODY_BYTES}) WHERE id <= 2")

    def test_cut_in_the_middle_of_an_event(self):
        load = self.start_load()
        before = self.reconnects("lost connection")
        for after in (1, 1000, BODY_BYTES // 2, BODY_BYTES + 100):
            mark = self.mark("writer")
            self.look_for_stream()
            self.assertEqual(self.proxy.cut(self.is_stream, after=after), 1)
            self.change_large(after)
            self.await_line("writer", mark, "the source cannot be followed", "reading the binlog")
            self.await_line("writer", mark, "following the binlog")
        self.assertGreaterEqual(self.reconnects("lost connection"), before + 4)
        self.finish(load)

    def test_everything_cut_again_and_again(self):
        load = self.start_load()
        for _ in range(3):
            self.proxy.cut()
            load.advance("commands", by=5)
        self.finish(load)

    def test_refused(self):
        load = self.start_load()
        self.proxy.refuse()
        self.await_line("writer", self.writer_mark, "the source cannot be followed", f"127.0.0.1:{self.proxy.port}")
        self.await_writer("capture is reconnecting: connecting to the database server at 127.0.0.1")
        self.await_replicas("capture is reconnecting, the writer is alive")
        load.advance("refused")
        for index in range(self.REPLICAS):
            load.advance_reads(index)
        self.proxy.accept()
        self.finish(load)

    def test_stalled_in_both_directions(self):
        """As when a router drops everything: no word, not even that there is none."""
        load = self.start_load()
        before = self.reconnects("half-dead connection")
        self.proxy.stall()
        self.await_line("writer", self.writer_mark, "the source cannot be followed", "(writer.watchdog)")
        self.assertEqual(self.reconnects("half-dead connection"), before + 1)
        self.await_writer("capture is reconnecting")
        self.await_replicas("what it serves is")
        # Its next attempt gets no answer either, and ends in time.
        self.await_line("writer", self.writer_mark, "the source cannot be followed", "connecting to the database server")
        for index in range(self.REPLICAS):
            load.advance_reads(index)
        self.proxy.resume()
        self.finish(load)

    def test_stalled_towards_the_writer_only(self):
        """The database hears the commands and executes them; their answers, and the binlog, do not come through."""
        load = self.start_load()
        self.proxy.stall(up=False)
        self.await_line("writer", self.writer_mark, "the source cannot be followed", "(writer.watchdog)")
        self.await_replicas("what it serves is")
        self.proxy.cut()  # and now it is known that they never will
        self.proxy.resume()
        self.await_line("writer", self.writer_mark, "following the binlog")
        self.finish(load)

    def test_stalled_towards_the_database_only(self):
        """The binlog needs no word of the writer's: it goes on, and so do reads; commands wait."""
        load = self.start_load()
        self.proxy.stall(down=False)
        load.advance("changes", "reads", by=50)
        self.assertEqual(self.writer_reason(), "")
        self.proxy.cut(Proxy.is_session)  # what has not left the writer has not happened
        self.proxy.resume()
        self.finish(load)

    def test_trickling(self):
        """A line so slow that an event takes longer than the watchdog: late is not dead."""
        load = self.start_load()
        before = self.reconnects("half-dead connection")
        self.proxy.trickle(2000)
        self.change_large(7)
        with self.stack.session() as sql:
            self.stack.catch_up(sql)
        self.assertEqual(self.reconnects("half-dead connection"), before)
        self.proxy.resume()
        self.finish(load)

    def test_lost_in_commit(self):
        """A COMMIT that did not get there, and one whose answer did not come back: both are settled, and rightly."""
        with self.stack.to_writer() as writer, self.stack.session() as sql:
            for number, (when, rows) in enumerate((("before", 0), ("after", 1)) * 3):
                mark, token = self.mark("writer"), f"commit-{number}"
                trapped = self.proxy.trapped
                self.proxy.trap(COMMIT, when)
                response = writer.request("POST", "/v1/facts", {"token": token})
                self.assertEqual(self.proxy.trapped, trapped + 1)
                self.await_line("writer", mark, "the connection was lost in COMMIT; looking for the command's outcome")
                if rows:
                    self.assertIn(response.status, (200, 201), response)
                    self.assertTrue(response.json()["success"], response)
                else:
                    self.assertIn("nothing was changed", self.expect(response, 503, "database-unavailable").json()["detail"])
                self.assertEqual(sql.value(f"SELECT COUNT(*) FROM facts WHERE token = '{token}'"), str(rows))
        self.compare()


class MysqlNetworkFails(NetworkFails):
    """By a unix socket; silence is the next class's."""

    SERVER = "mysql"
    test_stalled_in_both_directions = None
    test_refused = None
    test_stalled_towards_the_writer_only = None
    test_stalled_towards_the_database_only = None
    test_trickling = None

    @classmethod
    def make_proxy(cls) -> Proxy:
        return Proxy(cls.stack.database.socket, str(cls.stack.folder / "proxy.sock"))

    @classmethod
    def way(cls) -> str:
        return f'socket = "{cls.stack.folder}/proxy.sock"\n'


class MysqlNetworkWithTlsFails(NetworkFails):
    """By TCP with TLS, the server's certificate verified: the proxy sees nothing of what it cuts."""

    SERVER = "mysql"
    PORT = choose(str(random.randrange(29000, 31000)), set())
    test_refused = None
    test_stalled_towards_the_writer_only = None
    test_stalled_towards_the_database_only = None
    test_trickling = None
    test_everything_cut_again_and_again = None
    test_lost_in_commit = None  # what cannot be read cannot be trapped

    @classmethod
    def setUpClass(cls) -> None:
        """The certificates that the server makes for itself name no host."""
        folder = tempfile.mkdtemp(prefix="ringside-e2e-", dir="/tmp")
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.certificate, key = f"{folder}/certificate.pem", f"{folder}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", key, "-out", cls.certificate], check=True, capture_output=True)
        cls.DATABASE_OPTIONS = ["--skip-networking=OFF", "--bind-address=127.0.0.1", f"--port={cls.PORT}",
                                f"--ssl-cert={cls.certificate}", f"--ssl-key={key}", f"--ssl-ca={cls.certificate}"]
        super().setUpClass()

    @classmethod
    def make_proxy(cls) -> Proxy:
        return Proxy(("127.0.0.1", cls.PORT))

    @classmethod
    def way(cls) -> str:
        return super().way() + f'tls = true\ntls_ca = "{cls.certificate}"\n'

    def look_for_stream(self) -> None:
        with self.stack.session() as sql:
            hosts = sql.query("SELECT HOST FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog%' ORDER BY ID")
        self.stream_port = int(hosts[-1][0].rpartition(":")[2])

    def is_stream(self, pair) -> bool:
        return pair.port == self.stream_port


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
