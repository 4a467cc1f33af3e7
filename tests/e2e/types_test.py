"""Every supported type with its extremes, in every form in which SQL changes rows: over HTTP each row equals SELECT,
whether it came with the snapshot or through the binlog. And what is not supported is refused, with the reason."""

import sys
import unittest
from typing import List
from urllib.parse import quote as percent

import rows as expected_rows
from harness import StackCase, parse, wait_until
from types_tables import keyed_of, tables_of

# Zero dates and the empty ENUM value are values that occur; strict mode would not let us write them.
SQL_MODE = "SET sql_mode='NO_ENGINE_SUBSTITUTION', time_zone='+00:00'"


class TypesCase(StackCase):
    REPLICAS = 2

    @classmethod
    def is_mysql(cls) -> bool:
        return cls.SERVER == "mysql"

    @classmethod
    def prepare(cls) -> None:
        cls.tables_made, cls.keyed = tables_of(cls.SERVER), keyed_of(cls.SERVER)
        cls.sql = cls.stack.session()
        cls.addClassCleanup(cls.sql.close)
        cls.sql.execute(SQL_MODE)
        for name, family in cls.tables_made.items():
            cls.sql.execute(f"CREATE TABLE {name} (id INT NOT NULL PRIMARY KEY, {family.columns}){family.options}")
            nulls = ["NULL"] * len(family.rows[0])
            values = ", ".join(f"({i}, {', '.join(row)})" for i, row in enumerate([*family.rows, nulls], 1))
            cls.sql.execute(f"INSERT INTO {name} VALUES {values}")
        for name, keyed in cls.keyed.items():
            cls.sql.execute(f"CREATE TABLE {name} ({keyed.definition})")
            cls.sql.execute(f"INSERT INTO {name} VALUES {', '.join('(' + ', '.join(row) + ')' for row in keyed.rows)}")
        cls.sql.execute("""
            CREATE TABLE forms (id INT NOT NULL PRIMARY KEY, a VARCHAR(40), n INT NOT NULL DEFAULT 7, UNIQUE KEY a (a));
            CREATE TABLE forms_child (parent INT NOT NULL, no INT NOT NULL, note TEXT, PRIMARY KEY (parent, no),
              CONSTRAINT c FOREIGN KEY (parent) REFERENCES forms (id));
            INSERT INTO forms VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
            INSERT INTO forms_child VALUES (1, 1, 'first'), (1, 2, NULL), (2, 1, '');
            CREATE TABLE q_nokey (a INT, b INT);
            INSERT INTO q_nokey VALUES (1, 1), (1, 1);
            CREATE TABLE q_nullkey (a INT NULL, UNIQUE KEY a (a));
            CREATE TABLE q_geometry (id INT PRIMARY KEY, g GEOMETRY);
            INSERT INTO q_geometry VALUES (1, POINT(1, 2));
            CREATE TABLE q_floatkey (k DOUBLE PRIMARY KEY);
            CREATE TABLE q_cascade (id INT PRIMARY KEY, parent INT,
              CONSTRAINT q1 FOREIGN KEY (parent) REFERENCES forms (id) ON DELETE CASCADE);
            CREATE TABLE q_setnull (id INT PRIMARY KEY, parent INT,
              CONSTRAINT q2 FOREIGN KEY (parent) REFERENCES forms (id) ON DELETE SET NULL);
            CREATE TABLE ddl (id INT PRIMARY KEY, a INT);
            INSERT INTO ddl VALUES (1, 10), (2, 20)""")
        if not cls.is_mysql():
            cls.sql.execute("CREATE TABLE q_uuid (id INT PRIMARY KEY, u UUID); CREATE TABLE q_inet (id INT PRIMARY KEY, i INET6)")
        cls.stack.start()

    def tables(self) -> List[expected_rows.Table]:
        return [expected_rows.describe(self.sql, name, self.keyed[name].key if name in self.keyed else None)
                for name in [*self.tables_made, *self.keyed]]

    def compare(self, table: expected_rows.Table, gone: List[str]) -> None:
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as connection, self.subTest(table=table.name, replica=index):
                expected_rows.compare(self.sql, connection, table, gone)

    def compare_all(self, gone=None) -> None:
        self.stack.catch_up(self.sql)
        for table in self.tables():
            self.compare(table, (gone or {}).get(table.name, []))

    def keys_of(self, table: expected_rows.Table, where: str = "1") -> List[str]:
        return [expected_rows.key_text(table, row) for row in expected_rows.select(self.sql, table, where)]


class Types(TypesCase):
    """One story in order: the later tests stand on what the earlier ones left."""

    def test_1_rows_of_the_snapshot_equal_select(self):
        self.compare_all()

    def test_2_rows_of_the_stream_equal_select(self):
        for name in self.tables_made:
            # Every extreme once more, now through the binlog as a Write.
            others = ", ".join(f"`{c.name}`" for c in expected_rows.describe(self.sql, name).columns[1:])
            self.sql.execute(f"INSERT INTO {name} (id, {others}) SELECT id + 1000, {others} FROM {name}")
        for name, keyed in self.keyed.items():
            self.sql.execute(f"DELETE FROM {name}")
            self.sql.execute(f"INSERT INTO {name} VALUES {', '.join('(' + ', '.join(row) + ')' for row in keyed.rows)}")
        self.compare_all()

    def test_3_updates_deletes_and_moved_keys_equal_select(self):
        gone = {}
        for name, family in self.tables_made.items():
            table = expected_rows.describe(self.sql, name)
            count = len(family.rows) + 1
            # Each row takes the next one's values, column by column: Updates with every pair of extremes.
            columns = [c.name for c in table.columns if c.name != "id"]
            self.sql.execute(f"UPDATE {name} x JOIN (SELECT * FROM {name} WHERE id > 1000) y "
                             f"ON y.id = 1001 + x.id % {count} "
                             f"SET {', '.join(f'x.`{c}` = y.`{c}`' for c in columns)} WHERE x.id < 1000")
            gone[name] = self.keys_of(table, "id > 1000 AND id % 2 = 0") + self.keys_of(table, "id < 1000 AND id % 3 = 0")
            self.sql.execute(f"DELETE FROM {name} WHERE id > 1000 AND id % 2 = 0")
            self.sql.execute(f"UPDATE {name} SET id = id + 5000 WHERE id < 1000 AND id % 3 = 0")
        for name, keyed in self.keyed.items():
            table = expected_rows.describe(self.sql, name, keyed.key)
            self.sql.execute(f"UPDATE {name} SET v = v + 1")
            gone[name] = self.keys_of(table)[::2]
            first = keyed.key[-1]
            self.sql.execute(f"CREATE TEMPORARY TABLE doomed AS SELECT ROW_NUMBER() OVER (ORDER BY "
                             f"{', '.join(keyed.key)}) AS n, {', '.join(keyed.key)} FROM {name}")
            on = " AND ".join(f"{name}.{c} = doomed.{c}" for c in keyed.key)
            self.sql.execute(f"DELETE {name} FROM {name} JOIN doomed ON {on} WHERE doomed.n % 2 = 1; "
                             f"DROP TEMPORARY TABLE doomed")
            left = set(self.keys_of(table))
            gone[name] = [key for key in gone[name] if key not in left]
            self.assertTrue(gone[name], f"{name}.{first}")
        self.compare_all(gone)

    def test_4_every_statement_form(self):
        sql = self.sql
        sql.execute("INSERT INTO forms VALUES (10, 'ten', 10), (11, 'eleven', 11), (12, NULL, 12), (13, NULL, 13)")
        sql.execute("INSERT INTO forms (id, a) SELECT id + 100, CONCAT('copy of ', a) FROM forms WHERE a IS NOT NULL")
        sql.execute("UPDATE forms SET n = n * 10 WHERE id BETWEEN 10 AND 13")
        sql.execute("UPDATE forms SET id = 14 WHERE id = 12")                   # the key
        sql.execute("UPDATE forms SET id = id + 1 WHERE id > 100 ORDER BY id DESC")  # keys onto keys just left
        sql.execute("REPLACE INTO forms VALUES (10, 'ten again', 0), (200, 'eleven', 5)")  # by key, and by unique key
        sql.execute("INSERT INTO forms VALUES (13, 'x', 1) ON DUPLICATE KEY UPDATE a = 'thirteen', n = n + 1")
        sql.execute("INSERT IGNORE INTO forms VALUES (1, 'ignored', 0), (201, 'not ignored', 0)")
        sql.execute("DELETE FROM forms WHERE id IN (11, 104)")
        sql.execute("DELETE c FROM forms_child c JOIN forms p ON p.id = c.parent WHERE p.a = 'one' AND c.no = 2")
        sql.execute("UPDATE forms p JOIN forms_child c ON c.parent = p.id SET p.n = 99, c.note = 'both tables'")
        sql.transaction(["INSERT INTO forms VALUES (300, 'parent', 1)", "INSERT INTO forms_child VALUES (300, 1, 'child')",
                         "UPDATE forms SET n = 2 WHERE id = 300", "INSERT INTO forms_child VALUES (300, 2, 'x')",
                         "DELETE FROM forms_child WHERE parent = 300 AND no = 2",
                         "UPDATE forms_child SET note = 'changed in its own transaction' WHERE parent = 300"])
        sql.execute("BEGIN; INSERT INTO forms VALUES (400, 'rolled back', 1); ROLLBACK")
        sql.execute("BEGIN; INSERT INTO forms VALUES (401, 'kept', 1); SAVEPOINT s; "
                    "INSERT INTO forms VALUES (402, 'undone', 1); UPDATE forms SET n = 1000 WHERE id = 401; "
                    "ROLLBACK TO SAVEPOINT s; INSERT INTO forms VALUES (403, 'after', 1); COMMIT")
        sql.transaction(["INSERT INTO forms VALUES (500, 'short life', 1)", "DELETE FROM forms WHERE id = 500",
                         "INSERT INTO forms VALUES (500, 'second life', 2)", "UPDATE forms SET id = 501 WHERE id = 500"])
        self.load_data()
        sql.execute("DELETE FROM forms WHERE id = 1001")
        self.stack.catch_up(sql)
        for name, gone in (("forms", ["11", "12", "104", "400", "402", "500", "1001"]), ("forms_child", ["1,2", "300,2"])):
            self.compare(expected_rows.describe(sql, name), gone)

    def load_data(self) -> None:
        path = self.stack.folder / "load.tsv"
        path.write_text("".join(f"{i}\tline {i} \\\\ ä\t{i}\n" for i in range(1000, 1500)) + "1500\t\\N\t0\n",
                        encoding="utf-8")
        self.sql.execute(f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE forms CHARACTER SET utf8mb4")

    def test_5_what_cannot_be_exact_is_refused_with_the_reason(self):
        reasons = {"q_nokey": "key", "q_nullkey": "key", "q_geometry": "g", "q_uuid": "u", "q_inet": "i",
                   "q_floatkey": "k", "q_cascade": "q1", "q_setnull": "q2"}
        if self.is_mysql():
            # It writes what a foreign key does to other tables into the binlog like any other change.
            for absent in ("q_uuid", "q_inet", "q_cascade", "q_setnull"):
                del reasons[absent]
        self.sql.execute("INSERT INTO q_nokey VALUES (2, 2); INSERT INTO q_geometry VALUES (2, NULL)")
        self.stack.catch_up(self.sql)
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as connection:
                for table, word in reasons.items():
                    with self.subTest(table=table, replica=index):
                        response = self.expect(connection.request("GET", f"/v1/{table}/1"), 503, "table-quarantined")
                        self.assertRegex(response.json()["detail"], rf"\b{word}\b", response)
                        self.assertIsNotNone(response.version)
                status = parse(connection.request("GET", "/status").body)
                for table in reasons:
                    self.assertIn(table, str(status))
                # All others go on being served.
                self.expect(connection.request("GET", "/v1/forms/1"), 200)

    def test_6_ddl_reloads_the_table(self):
        sql = self.sql
        sql.execute("ALTER TABLE ddl ADD COLUMN b VARCHAR(20) NOT NULL DEFAULT 'new'; INSERT INTO ddl VALUES (3, 30, 'x')")
        self.await_same("ddl", ["4"])
        sql.execute("ALTER TABLE ddl MODIFY a BIGINT UNSIGNED, DROP COLUMN b; "
                    "INSERT INTO ddl VALUES (4, 18446744073709551615); DELETE FROM ddl WHERE id = 1")
        self.await_same("ddl", ["1"])
        sql.execute("TRUNCATE TABLE ddl; INSERT INTO ddl VALUES (9, 9)")
        self.await_same("ddl", ["2", "3", "4"])
        sql.execute("CREATE TABLE newcomer (id INT PRIMARY KEY, t TEXT); INSERT INTO newcomer VALUES (1, 'hello')")
        self.await_same("newcomer", ["2"])
        sql.execute("RENAME TABLE newcomer TO renamed; INSERT INTO renamed VALUES (2, 'again')")
        self.await_same("renamed", ["3"])
        self.await_unknown("newcomer")
        sql.execute("CREATE TABLE swap_new (id INT PRIMARY KEY, a INT, c INT); INSERT INTO swap_new VALUES (5, 5, 5); "
                    "RENAME TABLE ddl TO swap_old, swap_new TO ddl; DROP TABLE swap_old")
        self.await_same("ddl", ["9"])
        self.await_unknown("swap_old")
        sql.execute("DROP TABLE renamed")
        self.await_unknown("renamed")
        sql.execute("CREATE TABLE renamed (k VARCHAR(10) COLLATE utf8mb4_bin PRIMARY KEY); INSERT INTO renamed VALUES ('y')")
        self.await_same("renamed", ["1", "2"])

    def await_same(self, name: str, gone: List[str]) -> None:
        """A reload takes its time, and until then the table may be refused (503) but never wrong."""
        version = self.stack.catch_up(self.sql)
        table = expected_rows.describe(self.sql, name)
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as connection, self.subTest(table=name, replica=index):
                probe = f"/v1/{name}?key={percent('1')}"
                wait_until(lambda: connection.request("GET", probe).status == 200, f"{name} is served after version {version}")
                expected_rows.compare(self.sql, connection, table, gone)

    def await_unknown(self, name: str) -> None:
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as connection:
                try:
                    wait_until(lambda: connection.request("GET", f"/v1/{name}?key=1").status == 404, f"{name} is unknown")
                except AssertionError as error:
                    raise AssertionError(f"{error}: {connection.request('GET', f'/v1/{name}?key=1')}") from error

    def test_7_a_restart_of_all_keeps_every_row(self):
        """Replicas join from the ring alone and the writer resumes: nothing depends on having been there."""
        for index, process in self.stack.replicas.items():
            self.assertEqual(process.terminate(), 0, f"replica {index}")
        self.stack.writer.kill()
        self.sql.execute("INSERT INTO forms VALUES (600, 'while all was down', 1)")
        self.stack.start()
        self.compare_all()
        self.compare(expected_rows.describe(self.sql, "forms"), [])


class MysqlTypes(Types):
    SERVER = "mysql"

    def test_4_every_statement_form(self):
        super().test_4_every_statement_form()
        self.foreign_keys_act()
        self.create_table_as_select()

    def foreign_keys_act(self) -> None:
        sql = self.sql
        sql.execute("INSERT INTO q_cascade VALUES (1, 501), (2, 1), (3, 501); INSERT INTO q_setnull VALUES (1, 501), (2, 1)")
        sql.execute("DELETE FROM forms WHERE id = 501")
        self.stack.catch_up(sql)
        for name, gone in (("q_cascade", ["1", "3"]), ("q_setnull", []), ("forms", ["501"])):
            self.compare(expected_rows.describe(sql, name), gone)

    def create_table_as_select(self) -> None:
        """One transaction with the definition and the rows."""
        self.sql.execute("CREATE TABLE selected (PRIMARY KEY (id)) AS SELECT id, a, n FROM forms WHERE id < 100")
        self.await_same("selected", ["401"])
        self.sql.execute("DELETE FROM selected WHERE id = 1")
        self.await_same("selected", ["1"])


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
