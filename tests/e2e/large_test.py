"""Transactions larger than their buffer, with the real programs: a hundred thousand rows and more become visible at one
version, whole, while point reads go on; they go through the spill file on their way into the ring."""

import threading
import unittest

import rows as expected_rows
from harness import StackCase, metric

ROWS = 120_000
KEYS = [1 + i * (ROWS // 60) for i in range(60)]  # from one end of the table to the other


class Large(StackCase):
    REPLICAS = 2
    SETTINGS = '[writer]\ntransaction_buffer = "1MiB"\n'

    @classmethod
    def prepare(cls) -> None:
        cls.sql = cls.stack.session()
        cls.sql.execute("CREATE TABLE big (id INT NOT NULL PRIMARY KEY, n INT NOT NULL, pad VARCHAR(40) NOT NULL); "
                        f"INSERT INTO big SELECT seq, 0, REPEAT('x', seq % 40) FROM {cls.stack.database.numbers(ROWS)}")
        cls.stack.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.sql.close()

    def write(self, statement: str) -> None:
        self.sql.execute(statement)

    def test_a_large_transaction_is_seen_whole_or_not_at_all(self):
        target = f"/v1/big?keys={','.join(map(str, KEYS))}&fields=n"
        ended = threading.Event()
        problems, seen = [], [set(), set()]

        def read(index: int) -> None:
            last = 0
            with self.stack.to_replica(index) as connection:
                while not ended.is_set():
                    answer = connection.request("GET", target)
                    numbers = {int(row["n"]) for row in answer.json()["data"]}
                    if answer.status != 200 or len(numbers) != 1:
                        problems.append(f"replica {index} answered {answer.status} with {sorted(numbers)} at {answer.version}")
                        return
                    if answer.version < last:
                        problems.append(f"replica {index} went back from {last} to {answer.version}")
                        return
                    last = answer.version
                    seen[index] |= numbers

        readers = [threading.Thread(target=read, args=(index,)) for index in range(self.REPLICAS)]
        for reader in readers:
            reader.start()
        try:
            for _ in range(3):
                self.write("UPDATE big SET n = n + 1")
            # Keys change as well: every row moves behind the others, and back.
            self.write(f"START TRANSACTION; UPDATE big SET id = id + {ROWS}, n = 4; "
                       f"UPDATE big SET id = id - {ROWS} ORDER BY id; COMMIT")
            self.stack.catch_up(self.sql)
        finally:
            ended.set()
            for reader in readers:
                reader.join()
        self.assertEqual(problems, [])
        for index in range(self.REPLICAS):
            # The first state, and what followed as far as a reader came by; the readers did read while rows changed.
            self.assertIn(0, seen[index])
            self.assertTrue(seen[index] <= {0, 1, 2, 3, 4})
            self.assertGreater(len(seen[index]), 1)
            with self.stack.to_replica(index) as connection:
                expected_rows.compare(self.sql, connection, expected_rows.describe(self.sql, "big"))
        with self.stack.to_writer() as connection:
            self.assertGreater(metric(connection, "ringside_writer_spilled_bytes_total"), 1 << 20)


class MysqlLarge(Large):
    """Half of the transactions arrive compressed, as one event each."""

    SERVER = "mysql"

    def write(self, statement: str) -> None:
        """Compressed or not, and the other way round the next time."""
        self.sql.execute("SET SESSION binlog_transaction_compression = 1 - @@SESSION.binlog_transaction_compression; " + statement)


if __name__ == "__main__":
    unittest.main()
