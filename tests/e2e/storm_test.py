"""The demo's shop, money that moves, commands and plain SQL at once, while writer and replicas are killed and started.

At no time: a sum that differs from the total, a minVersion read older than asked for, a version that goes back on one
connection. In the end: every row of every served table equals SELECT. The seed is printed; RINGSIDE_STORM_SEED repeats
it, RINGSIDE_STORM_ROUNDS makes it longer.
"""

import os
import random
import sys
import threading
import time
import unittest
from decimal import Decimal
from pathlib import Path
from typing import Dict, List, Set

import rows as expected_rows
from harness import ConnectionLost, Session, StackCase, metric, parse, wait_until
from rows import describe
from worker import Worker

import catalogue  # the demo's, found by harness
import live
import load

PRODUCTS = 1500
ACCOUNTS = 64
SIDE_ACCOUNTS = 16
START_BALANCE = 1000
ROUNDS = int(os.environ.get("RINGSIDE_STORM_ROUNDS", "12"))
SEED = int(os.environ.get("RINGSIDE_STORM_SEED", str(random.SystemRandom().randrange(1 << 32))))
OPERATIONS_A_ROUND = 150  # of every worker that can work at all, before the next blow


class Storm(StackCase):
    REPLICAS = 2
    SETTINGS = "[writer]\nversion_wait = \"5s\"\nheartbeat = \"200ms\"\nwatchdog = \"2s\"\n"

    @classmethod
    def prepare(cls) -> None:
        print(f"RINGSIDE_STORM_SEED={SEED}", flush=True)
        cls.sql = cls.stack.session()
        cls.addClassCleanup(cls.sql.close)
        products = [catalogue.product_from(s, {}) for s in catalogue.seeded_stanzas(PRODUCTS)]
        load.load(cls.sql, products, f"seeded {PRODUCTS} 1", cls.stack.folder, load.Progress())
        cls.sql.execute((Path(__file__).parent / "storm_schema.sql").read_text(encoding="utf-8"))
        for table, count in (("accounts", ACCOUNTS), ("accounts_a", SIDE_ACCOUNTS), ("accounts_b", SIDE_ACCOUNTS)):
            cls.sql.execute(f"INSERT INTO {table} (id, balance) VALUES " +
                            ", ".join(f"({i}, {START_BALANCE})" for i in range(1, count + 1)))
        cls.sql.execute("INSERT INTO marks VALUES (1, 0), (2, 0)")
        cls.stack.start()

    def setUp(self) -> None:
        self.stopping = threading.Event()
        self.errors: List = []
        self.side_sums: Dict[str, Dict[int, Decimal]] = {"accounts_a": {}, "accounts_b": {}}
        self.sums_seen = 0
        self.own_writes_seen = 0
        self.gone_products: Set[str] = set()
        self.lock = threading.Lock()

    # --- what the workers do ----------------------------------------------------------------------------------------

    def move_money(self, worker: Worker) -> None:
        rng = worker.rng
        with self.stack.session() as session:
            while worker.goes_on():
                a, b = rng.sample(range(1, ACCOUNTS + 1), 2)
                amount = Decimal(rng.randrange(1, 10000)).scaleb(-2)
                first, second = sorted((a, b))  # always in the same order: no deadlocks
                signed = {a: -amount, b: amount}
                statements = [f"UPDATE accounts SET balance = balance + {signed[i]}, note = '{worker.name} {worker.done}' "
                              f"WHERE id = {i}" for i in (first, second)]
                kind = rng.random()
                if kind < 0.1:
                    session.execute("BEGIN; " + "; ".join(statements) + "; ROLLBACK")
                elif kind < 0.2:
                    session.execute(f"BEGIN; {statements[0]}; SAVEPOINT s; UPDATE accounts SET balance = 0 "
                                    f"WHERE id = {second}; ROLLBACK TO SAVEPOINT s; {statements[1]}; COMMIT")
                elif kind < 0.3:
                    # All of them in one large transaction.
                    session.execute("UPDATE accounts SET note = 'all' ORDER BY id")
                else:
                    session.transaction(statements)
                worker.done += 1

    def move_between_tables(self, worker: Worker) -> None:
        with self.stack.session() as session:
            while worker.goes_on():
                i, j = worker.rng.randrange(1, SIDE_ACCOUNTS + 1), worker.rng.randrange(1, SIDE_ACCOUNTS + 1)
                amount = worker.rng.randrange(-500, 501)
                session.transaction([f"UPDATE accounts_a SET balance = balance - {amount} WHERE id = {i}",
                                     f"UPDATE accounts_b SET balance = balance + {amount} WHERE id = {j}"])
                worker.done += 1
                if worker.done % 20 == 0:
                    # Now and then the sides rest, so that readers find both at one version.
                    self.stopping.wait(0.02)

    def run_the_shop(self, worker: Worker) -> None:
        with self.stack.session() as session:
            shop = live.Shop(session)
            names = sorted(shop.products)
            changes = live.seeded_changes(shop, SEED)
            fresh = iter([catalogue.product_from(s, {}) for s in catalogue.seeded_stanzas(400, seed=SEED)])
            while worker.goes_on():
                kind = worker.rng.random()
                if kind < 0.05 and len(names) > 100:
                    name = names.pop(worker.rng.randrange(len(names)))
                    statements = shop.remove(name)
                    self.gone_products.add(name)
                elif kind < 0.15:
                    product = next(fresh, None)
                    if product is None:
                        continue
                    statements = shop.replay(product)
                    self.gone_products.discard(product.name)
                else:
                    statements = next(changes)
                session.transaction(statements)
                worker.done += 1

    def command(self, worker: Worker) -> None:
        """Counts its own row up by commands, and reads it back from some replica at the command's version."""
        mark = int(worker.name[-1])
        sure = attempted = 0
        writer = self.stack.to_writer()
        try:
            while worker.goes_on():
                attempted += 1
                try:
                    response = writer.request("PATCH", f"/v1/marks/{mark}", {"n": attempted})
                except ConnectionLost:
                    worker.rest()
                    continue
                document = response.json()
                if response.status != 200:
                    # Being restarted, or the outcome unknown, which is an answer of its own.
                    self.assertTrue(response.status == 503 or "outcome-unknown" in document["type"], response)
                    worker.rest()
                    continue
                sure = attempted
                if document["version"] is not None:
                    self.read_own_write(worker, mark, document["version"], sure, attempted)
                worker.done += 1
        finally:
            writer.close()

    def read_own_write(self, worker: Worker, mark: int, version: int, sure: int, attempted: int) -> None:
        index = worker.rng.randrange(self.REPLICAS)
        try:
            with self.stack.to_replica(index) as replica:
                response = replica.request("GET", f"/v1/marks/{mark}?minVersion={version}&wait=1s")
        except ConnectionLost:
            return
        if response.status == 503:
            return  # joining, or the writer that would bring the version is down
        self.assertEqual(response.status, 200, response)
        self.assertGreaterEqual(response.version, version, response)
        self.assertGreaterEqual(response.json()["n"], sure, f"asked for version {version}: {response}")
        self.assertLessEqual(response.json()["n"], attempted, response)
        with self.lock:
            self.own_writes_seen += 1

    def watch(self, worker: Worker) -> None:
        """Reads sums over one connection after the other, as long as each lasts."""
        index = int(worker.name[-1])
        targets = [("accounts", ACCOUNTS), ("accounts_a", SIDE_ACCOUNTS), ("accounts_b", SIDE_ACCOUNTS)]
        while worker.goes_on():
            last = 0
            with self.stack.to_replica(index) as connection:
                while worker.goes_on():
                    for table, count in targets:
                        target = f"/v1/{table}?fields=balance&" + "&".join(f"key={i}" for i in range(1, count + 1))
                        try:
                            response = connection.request("GET", target)
                        except ConnectionLost:
                            response = None
                            break
                        if response.version is not None:
                            self.assertGreaterEqual(response.version, last, f"the version went back: {response}")
                            last = response.version
                        if response.status == 503:
                            response = None
                            break
                        self.assertEqual(response.status, 200, response)
                        self.check_sum(table, count, response)
                    if response is None:
                        worker.rest()
                        break
                    worker.done += 1

    def check_sum(self, table: str, count: int, response) -> None:
        total = sum(Decimal(row["balance"]) for row in parse(response.body)["data"])
        if table == "accounts":
            self.assertEqual(total, count * START_BALANCE, f"at version {response.version}")
            self.sums_seen += 1
            return
        with self.lock:
            known = self.side_sums[table].setdefault(response.version, total)
        # Two replicas, or one asked twice: a version is a version.
        self.assertEqual(total, known, f"{table} has two sums at version {response.version}")

    # --- the storm --------------------------------------------------------------------------------------------------

    def blow(self, rng: random.Random) -> str:
        """One restart, of something, somehow."""
        stack = self.stack
        kind = rng.choice(("writer -9", "writer -9", "writer TERM", "replica -9", "replica -9", "replica TERM", "both -9"))
        if kind.startswith("writer"):
            if kind.endswith("-9"):
                stack.writer.kill()
            else:
                self.assertEqual(stack.writer.terminate(), 0, "the writer's exit code after SIGTERM")
            stack.start_writer()
        elif kind.startswith("replica"):
            index = rng.randrange(self.REPLICAS)
            if kind.endswith("-9"):
                stack.replicas[index].kill()
            else:
                self.assertEqual(stack.replicas[index].terminate(), 0, "the replica's exit code after SIGTERM")
            stack.start_replica(index)
        else:
            stack.writer.kill()
            stack.replicas[0].kill()
            stack.start_writer()
            stack.start_replica(0)
        return kind

    def test_storm(self):
        epoch = self.stack.epoch()
        workers = [Worker(self, name, work, SEED) for name, work in (
            ("mover1", self.move_money), ("mover2", self.move_money), ("sides", self.move_between_tables),
            ("shop", self.run_the_shop), ("command1", self.command), ("command2", self.command),
            ("watch0", self.watch), ("watch1", self.watch))]
        for worker in workers:
            worker.start()
        rng = random.Random(SEED)
        try:
            for number in range(ROUNDS):
                self.await_work(workers)
                began = time.monotonic()
                kind = self.blow(rng)
                print(f"round {number}: {kind}, ready again after {time.monotonic() - began:.2f} s", flush=True)
            self.await_work(workers)
        finally:
            self.stopping.set()
            for worker in workers:
                worker.join(60)
        self.raise_errors()
        self.assertFalse([w.name for w in workers if w.is_alive()])
        print({w.name: w.done for w in workers}, flush=True)
        # Nothing committed was lost and nothing was read from MySQL a second time: the ring is the same.
        self.assertEqual(self.stack.epoch(), epoch)
        for index in range(self.REPLICAS):
            with self.stack.to_admin(index) as connection:
                self.assertEqual(metric(connection, "ringside_replica_corruptions_total"), 0)
        self.check_sides()
        self.check_tables()

    def await_work(self, workers: List[Worker]) -> None:
        goals = [(w, w.done + OPERATIONS_A_ROUND // (3 if w.name.startswith("command") else 1)) for w in workers]
        wait_until(lambda: self.errors or all(w.done >= goal for w, goal in goals),
                   "every worker got on", 60.0)
        self.raise_errors()

    def raise_errors(self) -> None:
        if self.errors:
            name, error = self.errors[0]
            raise AssertionError(f"{name}: {error}") from error

    def check_sides(self) -> None:
        both = self.side_sums["accounts_a"].keys() & self.side_sums["accounts_b"].keys()
        for version in both:
            self.assertEqual(self.side_sums["accounts_a"][version] + self.side_sums["accounts_b"][version],
                             2 * SIDE_ACCOUNTS * START_BALANCE, f"accounts_a and accounts_b at version {version}")
        self.assertGreater(len(both), 20, "versions at which both tables were read")
        self.assertGreater(self.sums_seen, 100)
        self.assertGreater(self.own_writes_seen, 100, "reads at the version of a command")

    def check_tables(self) -> None:
        session: Session = self.sql
        self.stack.catch_up(session)
        total = 0
        for name, in session.query("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA=DATABASE()"):
            table = describe(session, name)
            gone = sorted(self.gone_products) if name == "slugs" else []
            for index in range(self.REPLICAS):
                with self.stack.to_replica(index) as connection:
                    total += expected_rows.compare(session, connection, table, gone)
        print(f"{total} rows compared", flush=True)
        self.assertGreater(total, self.REPLICAS * PRODUCTS)


class MysqlStorm(Storm):
    SERVER = "mysql"


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
