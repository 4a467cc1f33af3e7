"""Kills by the dozen, or by the hundred: writer and replicas are ended by SIGKILL at every kind of moment of their lives
while SQL sessions, commands and readers go on as fast as they can.

The moments, drawn by a seeded script: anywhere; while starting; while a large transaction lies in its spill file; while a
table is loaded anew after DDL and its name switched; while a new epoch is loaded and put in force; while a replica joins.

At no time: a sum that differs from the total, two versions in one answer, a version that goes back on a connection, a
minVersion read older than asked for. In the end: no command is lost or was done twice, every row of every table equals
SELECT, and no file of a dead epoch is left. RINGSIDE_KILLS is the number of kills, RINGSIDE_KILLS_SEED repeats the script.
"""

import os
import random
import sys
import threading
import time
import unittest
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Callable, Dict, List, Optional

import rows as expected_rows
from harness import ConnectionLost, SqlError, StackCase, metric, parse, wait_until
from worker import Worker

SEED = int(os.environ.get("RINGSIDE_KILLS_SEED", str(random.SystemRandom().randrange(1 << 32))))
ACCOUNTS, BALANCE = 48, 1000
SIDES = 12
BULK = 4000
SHIFTY = 4000
SAMPLE = ",".join(str(1 + i * (BULK // 40)) for i in range(40))
COMMANDERS = 2
# What must never be in a log, whatever was killed when.
FORBIDDEN = ("contradict", "behind the binlog", "corrupt", "assertion", "terminate called", "another history",
             "sequence went back", "quarantine")


class Kills(StackCase):
    REPLICAS = 2
    KILLS = int(os.environ.get("RINGSIDE_KILLS", "40"))
    SETTINGS = ("[ring]\nmax_size = \"2GiB\"\n"
                "[writer]\nversion_wait = \"5s\"\nheartbeat = \"200ms\"\nwatchdog = \"2s\"\ntransaction_buffer = \"64KiB\"\n")

    @classmethod
    def prepare(cls) -> None:
        print(f"RINGSIDE_KILLS_SEED={SEED} RINGSIDE_KILLS={cls.KILLS}", flush=True)
        cls.sql = cls.stack.session()
        cls.addClassCleanup(cls.sql.close)
        number = "id INT UNSIGNED NOT NULL PRIMARY KEY"
        numbers = cls.stack.database.numbers
        cls.sql.execute(f"""
            CREATE TABLE accounts ({number}, balance DECIMAL(12,2) NOT NULL);
            INSERT INTO accounts SELECT seq, {BALANCE} FROM {numbers(ACCOUNTS)};
            CREATE TABLE side_a ({number}, balance INT NOT NULL);
            CREATE TABLE side_b ({number}, balance INT NOT NULL);
            INSERT INTO side_a SELECT seq, {BALANCE} FROM {numbers(SIDES)};
            INSERT INTO side_b SELECT seq, {BALANCE} FROM {numbers(SIDES)};
            CREATE TABLE bulk ({number}, n INT NOT NULL, pad VARCHAR(200) NOT NULL);
            INSERT INTO bulk SELECT seq, 0, REPEAT('b', seq % 100) FROM {numbers(BULK)};
            CREATE TABLE shifty ({number}, n INT NOT NULL, m INT NOT NULL);
            INSERT INTO shifty SELECT seq, 0, 0 FROM {numbers(SHIFTY)};
            CREATE TABLE tickets ({number}, token VARCHAR(40) NOT NULL);
            CREATE TABLE twice (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, token VARCHAR(40) NOT NULL)""")
        cls.stack.start()

    def setUp(self) -> None:
        self.stopping = threading.Event()
        self.errors: List = []
        self.lock = threading.Lock()
        self.side_sums: Dict[str, Dict[int, int]] = {"side_a": {}, "side_b": {}}
        self.kills: Counter = Counter()
        self.seen: Counter = Counter()
        self.sure: List[str] = []      # tokens whose command was told to have succeeded
        self.refused: List[str] = []   # that nothing was changed
        self.bulk_number = 0
        self.shift_number = 0

    # --- the load

    def move_money(self, worker: Worker) -> None:
        with self.stack.session() as session:
            while worker.goes_on():
                a, b = worker.rng.sample(range(1, ACCOUNTS + 1), 2)
                amount = Decimal(worker.rng.randrange(1, 10000)).scaleb(-2)
                signed = {a: -amount, b: amount}
                session.transaction([f"UPDATE accounts SET balance = balance + {signed[i]} WHERE id = {i}"
                                     for i in sorted(signed)])
                worker.done += 1
                worker.rest(0.002)

    def move_between_tables(self, worker: Worker) -> None:
        with self.stack.session() as session:
            while worker.goes_on():
                i, j = worker.rng.randrange(1, SIDES + 1), worker.rng.randrange(1, SIDES + 1)
                amount = worker.rng.randrange(-50, 51)
                session.transaction([f"UPDATE side_a SET balance = balance - {amount} WHERE id = {i}",
                                     f"UPDATE side_b SET balance = balance + {amount} WHERE id = {j}"])
                worker.done += 1
                worker.rest(0.005)

    def command(self, worker: Worker) -> None:
        """Each token is sent once, into a table that would take it twice; each ticket again and again until it is known
        to be there, under a key of its own."""
        mine = int(worker.name[-1])
        number = 0
        with self.stack.to_writer() as writer:
            while worker.goes_on():
                number += 1
                token = f"{worker.name}-{number}"
                self.command_once(worker, writer, token)
                while worker.goes_on() and not self.command_again(worker, writer, number * COMMANDERS + mine, token):
                    worker.rest()
                worker.done += 1

    def command_once(self, worker: Worker, writer, token: str) -> None:
        try:
            response = writer.request("POST", "/v1/twice", {"token": token})
        except ConnectionLost:
            return worker.rest()  # killed in the middle of it: either is right
        if response.status == 503:
            self.refused.append(token)
            return worker.rest()
        if response.status == 504:
            return worker.rest()
        self.assertIn(response.status, (200, 201), response)
        self.sure.append(token)
        document = response.json()
        if document["version"] is not None:
            self.read_own_write(worker, f"/v1/twice/{document['key']}", document["version"], token)

    def command_again(self, worker: Worker, writer, key: int, token: str) -> bool:
        try:
            response = writer.request("POST", "/v1/tickets", {"id": key, "token": token})
        except ConnectionLost:
            return False
        if response.status == 409:
            self.assertTrue(response.json()["type"].endswith("duplicate-key"), response)
        else:
            self.assertIn(response.status, (200, 201, 503, 504), response)
        return response.status in (200, 201, 409)

    def read_own_write(self, worker: Worker, target: str, version: int, token: str) -> None:
        try:
            with self.stack.to_replica(worker.rng.randrange(self.REPLICAS)) as replica:
                response = replica.request("GET", f"{target}?minVersion={version}&wait=1s")
        except ConnectionLost:
            return  # killed, or joining
        if response.status == 503:
            return  # the writer that would bring the version has been killed
        self.assertEqual(response.status, 200, f"asked for version {version}: {response}")
        self.assertGreaterEqual(response.version, version, response)
        self.assertEqual(response.json()["token"], token, response)
        self.seen["own writes"] += 1

    def watch(self, worker: Worker) -> None:
        index = int(worker.name[-1])
        checks = [(f"/v1/{table}?fields={field}&keys={keys}", check) for table, field, keys, check in (
            ("accounts", "balance", ",".join(map(str, range(1, ACCOUNTS + 1))), self.check_accounts),
            ("side_a", "balance", ",".join(map(str, range(1, SIDES + 1))), self.check_side),
            ("side_b", "balance", ",".join(map(str, range(1, SIDES + 1))), self.check_side),
            ("bulk", "n", SAMPLE, self.check_bulk), ("shifty", "n,m", SAMPLE, self.check_shifty))]
        while worker.goes_on():
            last = 0
            with self.stack.to_replica(index) as connection:
                while worker.goes_on():
                    target, check = checks[worker.rng.randrange(len(checks))]
                    try:
                        response = connection.request("GET", target)
                    except ConnectionLost:
                        worker.rest()
                        break
                    self.assertIn(response.status, (200, 503), response)
                    if response.version is not None:
                        self.assertGreaterEqual(response.version, last, f"the version went back: {response}")
                        last = response.version
                    if response.status == 200:
                        check(target.partition("?")[0][4:], response)
                    worker.done += 1

    def check_accounts(self, _table: str, response) -> None:
        total = sum(Decimal(row["balance"]) for row in parse(response.body)["data"])
        self.assertEqual(total, ACCOUNTS * BALANCE, response)
        self.seen["sums"] += 1

    def check_side(self, table: str, response) -> None:
        total = sum(int(row["balance"]) for row in response.json()["data"])
        with self.lock:
            known = self.side_sums[table].setdefault(response.version, total)
        self.assertEqual(total, known, f"{table} has two sums at version {response.version}")

    def check_bulk(self, _table: str, response) -> None:
        numbers = {row["n"] for row in response.json()["data"]}
        self.assertEqual(len(numbers), 1, f"part of a large transaction: {response}")
        self.seen["bulk"] += 1

    def check_shifty(self, _table: str, response) -> None:
        rows = response.json()["data"]
        self.assertEqual(len({row["n"] for row in rows}), 1, response)
        self.assertTrue(all(row["n"] == row["m"] for row in rows), response)
        self.seen["shifty"] += 1

    # --- the moments

    def kill(self, victim: str) -> None:
        """`victim`: "writer", "replica0", …; it must be alive, for nothing here ends by itself."""
        process = self.stack.writer if victim == "writer" else self.stack.replicas[int(victim[-1])]
        self.assertTrue(process.running(), f"{victim} has ended by itself\n{process.tail()}")
        process.kill()
        self.kills[victim.rstrip("0123456789")] += 1

    def start(self, victim: str) -> None:
        if victim == "writer":
            self.stack.start_writer(ready=False)
        else:
            self.stack.start_replica(int(victim[-1]), ready=False)

    def some_time(self, rng: random.Random, most_ms: int) -> None:
        self.stopping.wait(rng.random() ** 2 * most_ms / 1000)  # rather early than late: starting is short

    def victims(self, rng: random.Random) -> List[str]:
        replica = f"replica{rng.randrange(self.REPLICAS)}"
        return rng.choice((["writer"], [replica], ["writer", replica], ["writer", "replica0", "replica1"]))

    def anywhere(self, rng: random.Random) -> None:
        victims = self.victims(rng)
        self.some_time(rng, 100)
        for victim in victims:
            self.kill(victim)
        for victim in rng.sample(victims, len(victims)):  # whoever comes first
            self.start(victim)

    def while_starting(self, rng: random.Random) -> None:
        victim = rng.choice(("writer", "writer", "replica0", "replica1"))
        for _ in range(rng.randrange(2, 5)):
            self.kill(victim)
            self.start(victim)
            self.some_time(rng, 400)
        self.kill(victim)
        self.start(victim)

    def while_spilling(self, rng: random.Random) -> None:
        """When the writer has its spill file open: the transaction is in it, and not in the ring."""
        self.await_ready()
        for _ in range(100):
            self.bulk_number += 1
            statement = threading.Thread(target=self.bulk.execute, args=(f"UPDATE bulk SET n = {self.bulk_number}",))
            statement.start()
            version = 0
            try:
                while not self.has_spill_file() and not (version and self.writer_version() >= version):
                    if not version and not statement.is_alive():
                        version = self.stack.database.version(self.bulk)
                if not version or self.has_spill_file():
                    break
            finally:
                statement.join()
        else:
            raise AssertionError("no transaction was ever seen in its spill file")
        self.seen["spill files"] += 1
        victims = rng.choice((["writer"], ["writer", "replica0"]))
        for victim in victims:
            self.kill(victim)
        for victim in victims:
            self.start(victim)

    def has_spill_file(self) -> bool:
        for fd in Path(f"/proc/{self.stack.writer.pid}/fd").iterdir():
            try:
                name = os.readlink(fd)
            except FileNotFoundError:
                continue  # closed since
            if name.startswith(str(self.stack.folder)) and name.endswith("(deleted)"):
                return True
        return False

    def writer_version(self) -> int:
        with self.stack.to_writer() as writer:
            return writer.request("GET", "/status").json()["capture"]["version"]

    def while_loading_a_table(self, rng: random.Random) -> None:
        self.await_ready()
        self.shift_number += 1
        number = self.shift_number
        # The table has another definition after each of these, and both columns another number.
        self.sql.execute(f"ALTER TABLE shifty MODIFY m {'BIGINT' if number % 2 else 'INT'} NOT NULL")
        if rng.random() < 0.5:
            self.sql.execute(f"UPDATE shifty SET n = {number}, m = {number}")
        self.some_time(rng, 80)
        victims = self.victims(rng)
        for victim in victims:
            self.kill(victim)
        for victim in victims:
            self.start(victim)

    def while_replacing_the_epoch(self, rng: random.Random) -> None:
        """The source says that it is another: the next writer makes a new ring, and is killed meanwhile, or after it, and
        so are replicas on their way from the one to the other."""
        self.sql.execute("DELETE FROM ringside.history")
        self.kill("writer")
        self.start("writer")
        self.some_time(rng, 400)
        victims = self.victims(rng)
        for victim in victims:
            self.kill(victim)
        for victim in victims:
            self.start(victim)
        self.seen["epochs"] += 1

    # --- all of it

    def await_ready(self) -> None:
        self.stack.await_ready(self.stack.writer, self.stack.writer_port)
        for index, process in self.stack.replicas.items():
            self.stack.await_ready(process, self.stack.admin_port + index)

    def await_work(self, workers: List[Worker]) -> None:
        self.await_ready()
        goals = [(w, w.done + 3) for w in workers]
        wait_until(lambda: self.errors or all(w.done >= goal for w, goal in goals), "every worker got on", 60.0)
        self.raise_errors()

    def raise_errors(self) -> None:
        if self.errors:
            name, error = self.errors[0]
            raise AssertionError(f"{name}: {error}") from error

    def test_kills(self):
        self.bulk = self.stack.session()
        self.addCleanup(self.bulk.close)
        workers = [Worker(self, "mover", self.move_money, SEED), Worker(self, "sides", self.move_between_tables, SEED)]
        workers += [Worker(self, f"command{i}", self.command, SEED) for i in range(COMMANDERS)]
        workers += [Worker(self, f"watch{i}", self.watch, SEED) for i in range(self.REPLICAS)]
        for worker in workers:
            worker.start()
        rng = random.Random(SEED)
        moments = [self.anywhere, self.while_starting, self.while_spilling, self.while_loading_a_table,
                   self.while_replacing_the_epoch]
        order: List[Callable] = []
        began = time.monotonic()
        try:
            while sum(self.kills.values()) < self.KILLS:
                if not order:  # all of them, again and again, and most often those that cost least
                    order = moments + [self.anywhere, self.while_starting]
                    rng.shuffle(order)
                moment = order.pop()
                print(f"{time.monotonic() - began:7.2f} s, {sum(self.kills.values())} kills: {moment.__name__}", flush=True)
                moment(rng)
                if rng.random() < 0.5:
                    self.await_work(workers)
                self.raise_errors()
            self.await_work(workers)
        finally:
            self.stopping.set()
            for worker in workers:
                worker.join(60)
        self.raise_errors()
        self.assertFalse([w.name for w in workers if w.is_alive()])
        print(dict(self.kills), dict(self.seen), {w.name: w.done for w in workers},
              f"{time.monotonic() - began:.1f} s", flush=True)
        self.check_sides()
        self.check_commands()
        self.check_tables()
        self.check_files()
        self.check_logs()

    def check_sides(self) -> None:
        both = self.side_sums["side_a"].keys() & self.side_sums["side_b"].keys()
        for version in both:
            self.assertEqual(self.side_sums["side_a"][version] + self.side_sums["side_b"][version], 2 * SIDES * BALANCE,
                             f"at version {version}")
        self.assertGreater(len(both), self.KILLS // 10, "versions at which both tables were read")
        for what in ("sums", "bulk", "shifty", "own writes"):
            self.assertGreater(self.seen[what], self.KILLS // 4, what)

    def check_commands(self) -> None:
        count = Counter(row[0] for row in self.sql.query("SELECT token FROM twice"))
        self.assertEqual([t for t, times in count.items() if times > 1], [], "done twice")
        self.assertEqual([t for t in self.sure if count[t] != 1], [], "told to be done, and lost")
        self.assertEqual([t for t in self.refused if count[t] != 0], [], "told to have changed nothing")
        self.assertGreater(len(self.sure), self.KILLS // 2)
        # Every ticket that was sent until it was known to be there is there, but for each commander's last one.
        tickets = Counter(row[0].rpartition("-")[0] for row in self.sql.query("SELECT token FROM tickets"))
        numbers = {row[0] for row in self.sql.query("SELECT token FROM tickets")}
        for name, there in tickets.items():
            last = max(int(n.rpartition("-")[2]) for n in numbers if n.startswith(name + "-"))
            self.assertEqual(there, last, f"of {name}'s tickets")

    def check_tables(self) -> None:
        self.await_ready()
        self.stack.catch_up(self.sql)
        total = 0
        for name, in self.sql.query("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA=DATABASE()"):
            table = expected_rows.describe(self.sql, name)
            for index in range(self.REPLICAS):
                self.await_served(index, name)
                with self.stack.to_replica(index) as replica:
                    total += expected_rows.compare(self.sql, replica, table)
        print(f"{total} rows compared", flush=True)
        for index in range(self.REPLICAS):
            with self.stack.to_admin(index) as admin:
                self.assertEqual(metric(admin, "ringside_replica_corruptions_total"), 0)

    def await_served(self, index: int, name: str) -> None:
        """A table whose load was under way when its writer was killed is loaded by the next one."""
        def served() -> Optional[bool]:
            with self.stack.to_replica(index) as replica:
                return expected_rows.served_rows(replica, name) is not None
        wait_until(served, f"replica {index} serves {name}")

    def check_files(self) -> None:
        with self.stack.to_writer() as writer:
            ring = writer.request("GET", "/status").json()["ring"]
        files = {path.name for path in self.stack.ring_path.iterdir()}
        self.assertEqual(files, {"current", "writer.lock", "epoch-" + ring["epoch"]})
        epoch = self.stack.ring_path / ("epoch-" + ring["epoch"])
        self.assertEqual(os.readlink(self.stack.ring_path / "current"), epoch.name)
        chunks = [path for path in epoch.iterdir() if path.name.startswith("chunk.")]
        self.assertEqual({path.name for path in epoch.iterdir()} - {path.name for path in chunks},
                         {"header", "catalogue", "readers"})
        self.assertEqual(sum(path.stat().st_size for path in chunks), ring["chunk_bytes"], "chunks that nobody counts")
        self.assertEqual(len(ring["readers"]), self.REPLICAS, "readers that were killed are not counted any more")
        self.assertFalse(self.has_spill_file())

    def check_logs(self) -> None:
        for name in ("writer", "replica0", "replica1"):
            for line in (self.stack.folder / f"{name}.log").read_text(encoding="utf-8").splitlines():
                for word in FORBIDDEN:
                    self.assertNotIn(word, line.lower(), name)


class MysqlKills(Kills):
    SERVER = "mysql"
    KILLS = int(os.environ.get("RINGSIDE_KILLS", "12"))


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
