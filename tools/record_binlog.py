#!/usr/bin/env python3
"""Records the decoder's fixtures: binlogs of a real server, and what SELECT shows at their end.

    tools/record_binlog.py mariadb                     # needs mariadbd, mariadb-install-db, mariadb
    tools/record_binlog.py mysql --chroot DIR          # DIR: a Debian tree with mysqld; needs root
    tools/record_binlog.py mysql --chroot DIR --only json --documents 5000 --out /tmp/more

Starts a private server in a temporary directory (unix socket only), runs seeded random statements over tables with
every type, and writes to tests/writer/fixtures/<server>/, for each recording NAME:

    NAME.binlog        the binlog file's bytes
    NAME.columns.tsv   information_schema.COLUMNS of its tables
    NAME.rows.tsv      table, then each column's JSON text as the README lists the forms; NULL for SQL NULL

The JSON text is made here, from HEX() and CAST() of the server: independently of the C++ code that it checks.
"""

import argparse
import base64
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from record_values import (BMP, FULL, LATIN, WORDS, charset_columns, documents, draw_bytes, draw_date, draw_datetime,
                           draw_decimal, draw_integer, draw_text, draw_time, draw_timestamp, every_column, integers,
                           label_columns, label_list, text_literal)

SEED = 20260108
ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "writer" / "fixtures"


class Server:
    """A private server of either kind; stopped and removed at the end of the with block."""

    def __init__(self, kind, chroot, options):
        self.kind = kind
        self.chroot = chroot
        self.options = options

    def __enter__(self):
        base = os.path.join(self.chroot, "tmp") if self.chroot else None
        self.dir = tempfile.mkdtemp(prefix="record-", dir=base)
        inner = self.dir[len(self.chroot):] if self.chroot else self.dir
        self.socket = os.path.join(self.dir, "s")
        self.log = open(os.path.join(self.dir, "log"), "wb")
        common = ["--no-defaults", "--user=root", f"--datadir={inner}/data"]
        if self.kind == "mariadb":
            subprocess.run(["mariadb-install-db", *common, "--auth-root-authentication-method=normal"],
                           check=True, stdout=self.log, stderr=self.log)
            program = ["mariadbd"]
            extra = ["--gtid-strict-mode=1"]
        else:
            program = ["chroot", self.chroot, "/usr/sbin/mysqld"]
            common += ["--secure-file-priv=NULL", "--mysqlx=0"]
            subprocess.run([*program, *common, "--initialize-insecure"], check=True, stdout=self.log, stderr=self.log)
            extra = ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]
        self.process = subprocess.Popen(
            [*program, *common, *extra, f"--socket={inner}/s", f"--pid-file={inner}/pid", "--skip-networking",
             f"--log-bin={inner}/data/binlog", "--server-id=1", "--binlog-format=ROW", "--binlog-row-image=FULL",
             "--binlog-row-metadata=FULL", "--innodb-buffer-pool-size=32M", *self.options],
            stdout=self.log, stderr=self.log)
        for _ in range(300):
            if self.process.poll() is not None:
                break
            if os.path.exists(self.socket) and self.try_sql("SELECT 1").returncode == 0:
                return self
            time.sleep(0.1)
        sys.exit(f"the server did not start; see {self.dir}/log")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.try_sql("SHUTDOWN")
            self.process.wait(timeout=60)
        self.log.close()
        shutil.rmtree(self.dir)

    def try_sql(self, sql, database=None):
        command = ["mariadb", "--no-defaults", "-uroot", "-S", self.socket, "--batch", "--skip-column-names",
                   "--binary-mode", "--default-character-set=utf8mb4"]
        return subprocess.run(command + ([database] if database else []), input=sql.encode("utf-8", "surrogateescape"),
                              capture_output=True)

    def sql(self, sql, database=None):
        done = self.try_sql(sql, database)
        if done.returncode != 0:
            sys.exit(f"{done.stderr.decode()}\nin: {sql[:400]}")
        return [line.split("\t") for line in done.stdout.decode().splitlines()]


# --- expected JSON text ------------------------------------------------------------------------------------------

TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}
BYTES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}


def select_expression(name, data_type):
    name = f"`{name}`"
    if data_type in TEXTS or data_type in ("enum", "json"):
        return f"HEX(CONVERT({name} USING utf8mb4))"
    if data_type in BYTES:
        return f"HEX({name})"
    if data_type in ("set", "bit"):
        return f"CAST({name} AS UNSIGNED)"
    if data_type == "float":
        return f"CAST({name} AS DOUBLE)"
    return f"CAST({name} AS CHAR)" if data_type not in ("double", "year") else f"{name}+0"


def shortest_float(value):
    """The fewest digits that read back to the same 4 bytes."""
    for precision in range(1, 10):
        text = f"{value:.{precision - 1}e}"
        try:
            if struct.pack("<f", float(text)) == struct.pack("<f", value):
                return text
        except OverflowError:  # rounded up beyond the greatest float
            continue
    raise AssertionError(value)


def number_text(scientific, exact):
    """The shorter of the plain and the scientific form of these digits; plain wins a tie."""
    mantissa, exponent = scientific.split("e")
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.lstrip("-").replace(".", "").rstrip("0") or "0"
    exponent = int(exponent)
    if digits == "0":
        return sign + "0"
    science = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{'-' if exponent < 0 else '+'}{abs(exponent):02}"
    if exponent < 0:
        plain = "0." + "0" * (-exponent - 1) + digits
    elif exponent >= len(digits) - 1:
        plain = str(int(abs(exact)))  # beyond its digits, the number's exact value
    else:
        plain = digits[:exponent + 1] + "." + digits[exponent + 1:]
    return sign + (plain if len(plain) <= len(science) else science)


def json_text(raw, data_type, labels):
    if data_type in TEXTS or data_type == "enum":
        return json.dumps(bytes.fromhex(raw).decode("utf-8"), ensure_ascii=False)
    if data_type == "json":
        return bytes.fromhex(raw).decode("utf-8")
    if data_type in BYTES:
        return '"' + base64.b64encode(bytes.fromhex(raw)).decode() + '"'
    if data_type == "set":
        bits = int(raw)
        return json.dumps([label for i, label in enumerate(labels) if bits >> i & 1], ensure_ascii=False,
                          separators=(",", ":"))
    if data_type == "float":
        return number_text(shortest_float(float(raw)), float(raw))
    if data_type == "double":
        return number_text(to_scientific(repr(float(raw))), float(raw))
    if data_type in ("datetime", "timestamp"):
        return '"' + raw.replace(" ", "T") + ("Z" if data_type == "timestamp" else "") + '"'
    if data_type in ("date", "time"):
        return '"' + raw + '"'
    if data_type == "decimal":
        sign = "-" if raw.startswith("-") else ""
        whole, point, rest = raw.lstrip("-").partition(".")
        return sign + (whole.lstrip("0") or "0") + point + rest
    return str(int(raw))  # integers (ZEROFILL's zeros taken off), year, bit


def to_scientific(shortest):
    """repr() of a float as d.ddde±x with the same digits."""
    mantissa, _, exponent = shortest.partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, rest = mantissa.lstrip("-").partition(".")
    digits = (whole + rest).lstrip("0")
    if not digits:
        return sign + "0.0e0"
    leading = len(whole + rest) - len(digits)
    power = int(exponent or 0) + len(whole) - 1 - leading
    return f"{sign}{digits[0]}.{digits[1:] or '0'}e{power}"


def labels_of(column_type):
    """The labels out of set('a','b''c')."""
    inside = column_type[column_type.index("(") + 1:column_type.rindex(")")]
    return [part.replace("''", "'") for part in inside[1:-1].split("','")]


def write_columns(server, out, name):
    rows = server.sql(
        "SELECT table_name, column_name, data_type, REPLACE(column_type, '\\t', ' '), IFNULL(collation_name, ''), "
        "is_nullable, IFNULL(numeric_precision, 0), IFNULL(numeric_scale, 0), IFNULL(datetime_precision, 0), "
        "IFNULL(character_maximum_length, 0) FROM information_schema.columns WHERE table_schema = 'shop' "
        "ORDER BY table_name, ordinal_position")
    if server.kind == "mariadb":
        checks = {(t, c) for t, c in server.sql(
            "SELECT table_name, constraint_name FROM information_schema.check_constraints "
            "WHERE constraint_schema = 'shop' AND check_clause LIKE 'json_valid%'")}
        for row in rows:
            if (row[0], row[1]) in checks:
                row[2] = "json"
    (out / f"{name}.columns.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return rows


def write_rows(server, out, name, columns, tables):
    lines = []
    for table in tables:
        mine = [(row[1], row[2], row[3]) for row in columns if row[0] == table]
        selected = ", ".join(select_expression(column, data_type) for column, data_type, _ in mine)
        for row in server.sql(f"SET time_zone = '+00:00'; SELECT {selected} FROM `{table}`", "shop"):
            texts = ["NULL" if raw == "NULL" else
                     json_text(raw, data_type, labels_of(column_type) if data_type == "set" else [])
                     for raw, (_, data_type, column_type) in zip(row, mine)]
            lines.append("\t".join([table] + texts) + "\n")
    (out / f"{name}.rows.tsv").write_text("".join(sorted(lines)))


# --- workloads ---------------------------------------------------------------------------------------------------

SESSION = "SET time_zone = '+00:00', sql_mode = '';\n"


def create(table, columns, tail=""):
    return f"CREATE TABLE `{table}` (id int NOT NULL PRIMARY KEY, " + \
        ", ".join(f"`{name}` {sql}" for name, sql, _ in columns) + f") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 {tail};\n"


def values(rng, key, columns):
    return f"({key}," + ",".join("NULL" if rng.random() < 0.1 else draw(rng) for _, _, draw in columns) + ")"


def churn(rng, table, columns, count):
    """Inserts, updates (also of the key), deletes and REPLACE in transactions of several statements."""
    sql = ""
    live = list(range(1, count + 1))
    for first in range(0, count, 10):
        sql += f"INSERT INTO `{table}` VALUES " + ",".join(values(rng, k, columns) for k in live[first:first + 10]) + ";\n"
    for step in range(count // 2):
        key = rng.choice(live)
        choice = rng.random()
        sql += "BEGIN;\n" if step % 7 == 0 else ""
        if choice < 0.55:
            name, _, draw = rng.choice(columns)
            sql += f"UPDATE `{table}` SET `{name}` = {draw(rng)} WHERE id IN ({key},{rng.choice(live)});\n"
        elif choice < 0.65:
            live.remove(key)
            live.append(1000 + step)
            sql += f"UPDATE `{table}` SET id = {1000 + step} WHERE id = {key};\n"
        elif choice < 0.85:
            live.remove(key)
            sql += f"DELETE FROM `{table}` WHERE id = {key};\n"
        else:
            sql += f"REPLACE INTO `{table}` VALUES {values(rng, key, columns)};\n"
        sql += "COMMIT;\n" if step % 7 == 3 else ""
    return sql + "COMMIT;\n"


def small_tables():
    return """
CREATE TABLE pairs (a varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, b int NOT NULL, note text,
  PRIMARY KEY (a, b)) ENGINE=InnoDB;
CREATE TABLE prefixed (name varchar(100) NOT NULL, n int, PRIMARY KEY (name(10))) ENGINE=InnoDB;
CREATE TABLE ledger (id int PRIMARY KEY, amount decimal(12,2) NOT NULL) ENGINE=InnoDB;
CREATE TABLE memo (id int PRIMARY KEY, t varchar(50)) ENGINE=MyISAM;
INSERT INTO pairs VALUES ('x', 1, 'one'), ('x', 2, NULL), ('y ', 1, '');
UPDATE pairs SET b = b + 10 WHERE a = 'x';
INSERT INTO prefixed VALUES ('hello world and more', 1);
INSERT INTO ledger VALUES (1, 100.00), (2, 0.00), (3, -0.05);
BEGIN; UPDATE ledger SET amount = amount - 12.5 WHERE id = 1; UPDATE ledger SET amount = amount + 12.5 WHERE id = 2; COMMIT;
BEGIN; INSERT INTO ledger VALUES (4, 1); SAVEPOINT s; INSERT INTO ledger VALUES (5, 1); ROLLBACK TO s; COMMIT;
BEGIN; INSERT INTO ledger VALUES (6, 1); ROLLBACK;
UPDATE ledger, pairs SET ledger.amount = ledger.amount + 1, pairs.note = 'joined' WHERE ledger.id = 1 AND pairs.b = 11;
INSERT INTO ledger SELECT id + 100, amount FROM ledger;
INSERT INTO memo VALUES (1, 'not transactional');
SET foreign_key_checks = 0; INSERT INTO ledger VALUES (7, 7); SET foreign_key_checks = 1;
XA START 'x1'; INSERT INTO ledger VALUES (8, 8); XA END 'x1'; XA PREPARE 'x1'; XA COMMIT 'x1';
XA START 'x2'; INSERT INTO ledger VALUES (9, 9); XA END 'x2'; XA PREPARE 'x2'; XA ROLLBACK 'x2';
XA START 'x3'; INSERT INTO ledger VALUES (10, 10); XA END 'x3'; XA COMMIT 'x3' ONE PHASE;
ALTER TABLE pairs COMMENT 'altered', ADD COLUMN extra int FIRST;
INSERT INTO pairs VALUES (5, 'z', 1, 'after');
"""


def strange(kind):
    """Tables that are refused, and settings of a session that cannot be followed."""
    sql = """
CREATE TABLE shapes (id int PRIMARY KEY, g geometry, p point, t varchar(10) CHARACTER SET latin1);
INSERT INTO shapes VALUES (1, ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('POINT(1 2)'), 'a');
CREATE TABLE partial (id int PRIMARY KEY, a int, b int);
INSERT INTO partial VALUES (1, 2, 3);
SET binlog_row_image = MINIMAL; UPDATE partial SET b = 4 WHERE id = 1; SET binlog_row_image = FULL;
CREATE TABLE other_charset (id int PRIMARY KEY, t varchar(10) CHARACTER SET koi8r);
INSERT INTO other_charset VALUES (1, 'x');
CREATE TABLE by_statement (id int PRIMARY KEY);
SET binlog_format = STATEMENT; INSERT INTO by_statement VALUES (1); SET binlog_format = ROW;
"""
    if kind == "mariadb":
        sql += """
CREATE TABLE addresses (id uuid PRIMARY KEY, six inet6, four inet4, b binary(16));
INSERT INTO addresses VALUES ('123e4567-e89b-12d3-a456-426655440000', '::1', '1.2.3.4', x'01');
CREATE TABLE hidden (id int PRIMARY KEY, secret int INVISIBLE DEFAULT 5, v int AS (id * 2) STORED, w int AS (id * 3));
INSERT INTO hidden (id) VALUES (1);
CREATE SEQUENCE numbers; SELECT NEXTVAL(numbers);
"""
    else:
        sql += """
CREATE TABLE documents (id int PRIMARY KEY, doc json, t varchar(10));
INSERT INTO documents VALUES (1, '{"a": [1, 2.5, "x"]}', 'y');
SET binlog_row_value_options = PARTIAL_JSON;
UPDATE documents SET doc = JSON_SET(doc, '$.a[0]', 2) WHERE id = 1;
SET binlog_row_value_options = '';
CREATE TABLE vectors (id int PRIMARY KEY, v vector(3), t varchar(10) CHARACTER SET latin1);
INSERT INTO vectors VALUES (1, STRING_TO_VECTOR('[1,2,3]'), 'z');
CREATE TABLE parted (id int PRIMARY KEY, t varchar(10)) PARTITION BY HASH (id) PARTITIONS 4;
INSERT INTO parted VALUES (1, 'a'), (2, 'b'), (3, 'c');
UPDATE parted SET id = id + 4;
CREATE TABLE hidden (id int PRIMARY KEY, secret int INVISIBLE DEFAULT 5, v int AS (id * 2) STORED, w int AS (id * 3));
INSERT INTO hidden (id) VALUES (1);
SET gtid_next = 'automatic:tagged'; INSERT INTO parted VALUES (9, 'tagged'); SET gtid_next = 'automatic';
SET binlog_transaction_compression = ON; INSERT INTO parted VALUES (10, 'packed'); SET binlog_transaction_compression = OFF;
"""
    return sql


def column_kinds():
    """MySQL's kinds of columns: hidden keys and indexes, generated, invisible; default and other collations of 0900."""
    return """
SET sql_generate_invisible_primary_key = ON;
CREATE TABLE no_key (a int, t varchar(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_ja_0900_as_cs);
SET sql_generate_invisible_primary_key = OFF;
INSERT INTO no_key VALUES (1, 'one'), (2, NULL);
UPDATE no_key SET a = 3 WHERE a = 2;
CREATE TABLE indexed (id int PRIMARY KEY, doc json, t varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci,
  INDEX many ((CAST(doc->'$.tags' AS UNSIGNED ARRAY))), INDEX low ((LOWER(t))), UNIQUE INDEX both_of ((id + 1), t));
INSERT INTO indexed VALUES (1, '{"tags": [1, 2, 3]}', 'Text'), (2, '{"tags": []}', NULL), (3, NULL, 'x');
UPDATE indexed SET doc = JSON_SET(doc, '$.tags[0]', 7), t = 'changed' WHERE id = 1;
DELETE FROM indexed WHERE id = 2;
CREATE TABLE made (v varchar(20) AS (CONCAT(t, '!')) VIRTUAL, id int PRIMARY KEY, t varchar(10), s json AS (JSON_ARRAY(id, t)) STORED,
  n decimal(10,3) AS (id / 8) STORED NOT NULL, secret int INVISIBLE DEFAULT 5, p json DEFAULT (JSON_OBJECT('x', 1.50)));
INSERT INTO made (id, t) VALUES (1, 'a'), (2, 'b'), (3, NULL);
UPDATE made SET t = 'changed' WHERE id = 2;
DELETE FROM made WHERE id = 1;
CREATE TABLE many_labels (id int PRIMARY KEY, e enum(""" + ",".join(f"'e{i}'" for i in range(1, 1001)) + """),
  s set(""" + ",".join(f"'s{i}'" for i in range(64)) + """), b bit(64), b1 bit(1), y year, t time(6));
INSERT INTO many_labels VALUES (1, 1000, 0xffffffffffffffff, b'1', b'1', 1901, '-838:59:58.999999'),
  (2, 256, 0x8000000000000000, 0xffffffffffffffff, b'0', 0, '-00:00:00.000001'), (3, 255, 0, 0, 0, 2155, '-00:00:01'),
  (4, '', 1, NULL, NULL, 1999, '00:00:00');
"""


def compressed_columns():
    long_text = lambda rng: text_literal("".join(rng.choice(FULL) for _ in range(rng.choice([0, 1, 40, 150]))))
    return [("v", "varchar(1000) COMPRESSED", long_text), ("t", "text COMPRESSED", long_text),
            ("l", "longtext COMPRESSED CHARACTER SET utf8mb4", long_text),
            ("b", "blob COMPRESSED", lambda rng: f"x'{(bytes([rng.randrange(256)]) * rng.choice([0, 9, 300])).hex()}'"),
            ("vb", "varbinary(400) COMPRESSED", lambda rng: f"x'{(bytes([rng.randrange(256)]) * rng.choice([0, 9, 300])).hex()}'"),
            ("plain", "varchar(20) CHARACTER SET latin1", lambda rng: draw_text(rng, LATIN, 20))]


def record(kind, chroot, name, options, tables, sql):
    """Runs `sql` in one session and stores the binlog that it made, from its beginning."""
    out = FIXTURES / kind
    out.mkdir(parents=True, exist_ok=True)
    with Server(kind, chroot, options) as server:
        server.sql("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;")
        server.sql("FLUSH BINARY LOGS;")
        log = server.sql("SHOW MASTER STATUS" if kind == "mariadb" else "SHOW BINARY LOG STATUS")[0][0]
        server.sql(SESSION + sql, "shop")
        columns = write_columns(server, out, name)
        write_rows(server, out, name, columns, tables)
        server.sql("FLUSH BINARY LOGS;")
        shutil.copyfile(os.path.join(server.dir, "data", log), out / f"{name}.binlog")
    os.chmod(out / f"{name}.binlog", 0o644)
    if FIXTURES.is_relative_to(ROOT):
        write_corpus(kind, name)
    print(f"{out / name}.binlog: {(out / f'{name}.binlog').stat().st_size} bytes")


KEY_TYPES = [
    ("utf8mb4_bin", "varchar(24) character set utf8mb4 collate utf8mb4_bin", lambda rng: key_text(rng, FULL)),
    ("utf8mb3_bin", "varchar(24) character set utf8mb3 collate utf8mb3_bin", lambda rng: key_text(rng, BMP)),
    ("ascii_bin", "char(24) character set ascii collate ascii_bin", lambda rng: key_text(rng, WORDS)),
    ("latin1_bin", "varchar(24) character set latin1 collate latin1_bin", lambda rng: key_text(rng, LATIN)),
    ("binary", "varbinary(24)", lambda rng: draw_bytes(rng, 12)),
    ("bigint", "bigint", lambda rng: draw_integer(rng, -(1 << 63), (1 << 63) - 1)),
    ("ubigint", "bigint unsigned", lambda rng: draw_integer(rng, 0, (1 << 64) - 1)),
    ("decimal", "decimal(20,4)", lambda rng: draw_decimal(rng, 20, 4)),
    ("date", "date", draw_date),
    ("time", "time(3)", lambda rng: draw_time(rng, 3)),
    ("datetime", "datetime(2)", lambda rng: draw_datetime(rng, 2)),
    ("timestamp", "timestamp(1) null", lambda rng: draw_timestamp(rng, 1)),
    ("year", "year", lambda rng: str(rng.choice([0, rng.randint(1901, 2155)]))),
    ("enum", f"enum({label_list(5)})", lambda rng: str(rng.randint(0, 5))),
    ("bit", "bit(13)", lambda rng: draw_integer(rng, 0, (1 << 13) - 1)),
]
NO_PAD = {"mariadb": ("nopad", "varchar(24) character set utf8mb4 collate utf8mb4_nopad_bin"),
          "mysql": ("nopad", "varchar(24) character set utf8mb4 collate utf8mb4_0900_bin")}


def key_text(rng, words):
    """Texts that are alike: few words, spaces and control characters at their ends."""
    text = "".join(rng.choice(words[:4] + words[-3:] + ["", "\t", "a", " "]) for _ in range(rng.randrange(3)))
    return text_literal((text + rng.choice(["", "", " ", "  ", "\x01", "\t", " a"]))[:24])


def record_keys(kind, chroot, rng):
    """Values of every kind that can be a key: the table's name, how many values the server calls less, the JSON text."""
    out = FIXTURES / kind
    types = KEY_TYPES + [(*NO_PAD[kind], lambda rng: key_text(rng, FULL))]
    with Server(kind, chroot, []) as server:
        server.sql("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;")
        for name, sql, draw in types:
            server.sql(f"{SESSION}CREATE TABLE `{name}` (k {sql});" + "".join(
                f"INSERT INTO `{name}` VALUES ({draw(rng)});" for _ in range(120)), "shop")
        columns = write_columns(server, out, "keys")
        lines = []
        for name, data_type, column_type in [(row[0], row[2], row[3]) for row in columns]:
            # Not by DENSE_RANK: MySQL's takes '2026-00-00' and '2026-05-00' for one value, its indexes do not. ENUM
            # columns compare as texts, but order (and so are indexed) by their numbers.
            less = "b.k + 0 < a.k + 0" if data_type == "enum" else "b.k < a.k"
            for place, raw in server.sql(f"SET time_zone = '+00:00'; SELECT (SELECT COUNT(*) FROM `{name}` b WHERE {less}) "
                                         f"place, {select_expression('k', data_type)} FROM `{name}` a ORDER BY 1, 2", "shop"):
                lines.append(f"{name}\t{place}\t{json_text(raw, data_type, [])}\n")
        (out / "keys.tsv").write_text("".join(lines))


def write_corpus(kind, name):
    """Seeds for tests/fuzz/binlog_event_fuzz.cc (its head has the form): the first few events of each type."""
    corpus = ROOT / "tests" / "fuzz" / "corpus" / "binlog_event"
    corpus.mkdir(parents=True, exist_ok=True)
    log = (FIXTURES / kind / f"{name}.binlog").read_bytes()
    seed = bytes([kind == "mariadb"])
    counts = {}
    at, tail = 4, 0
    while at < len(log):
        event_type, size = log[at + 4], struct.unpack_from("<I", log, at + 9)[0]
        if event_type == 15:
            tail = 4 if log[at + size - 5] == 1 else 0
        body = log[at + 19:at + size - tail]
        counts[event_type] = counts.get(event_type, 0) + 1
        if event_type != 15 and counts[event_type] <= 8 and len(body) < 3000 and len(seed) < 12000:
            seed += struct.pack("<BH", event_type, len(body)) + body
        at += size
    (corpus / f"{kind}_{name}").write_bytes(seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["mariadb", "mysql"])
    parser.add_argument("--chroot", default="", help="a Debian tree with mysqld")
    parser.add_argument("--only", nargs="*", help="recordings to make; all by default")
    parser.add_argument("--documents", type=int, default=300, help="JSON documents of MySQL")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=pathlib.Path, help="a directory to write to instead of the fixtures")
    arguments = parser.parse_args()
    kind, chroot = arguments.kind, arguments.chroot
    if arguments.out:
        global FIXTURES
        FIXTURES = arguments.out.resolve()
    # Each recording draws its own lots, so that one made anew leaves the others as they are.
    for name, make in recordings(kind, chroot, arguments.documents).items():
        if not arguments.only or name in arguments.only:
            make(random.Random(f"{arguments.seed} {name}"))


def recordings(kind, chroot, document_count):
    """What there is to record: name → function of a random.Random."""
    # Without the statements' text in front of the rows, the files are half as large.
    quiet = ["--binlog-annotate-row-events=0"] if kind == "mariadb" else []
    every, labels, texts, packed = every_column(kind), label_columns(), charset_columns(kind), compressed_columns()
    made = {
        "types": lambda rng: record(kind, chroot, "types", quiet, ["every", "labels"],
                                    create("every", every) + churn(rng, "every", every, 70) +
                                    create("labels", labels) + churn(rng, "labels", labels, 16)),
        "texts": lambda rng: record(kind, chroot, "texts", quiet, ["texts"],
                                    create("texts", texts, "ROW_FORMAT=DYNAMIC") + churn(rng, "texts", texts, 60)),
        "statements": lambda rng: record(kind, chroot, "statements", ["--binlog-checksum=NONE"],
                                         ["pairs", "prefixed", "ledger", "memo"], small_tables()),
        "strange": lambda rng: record(kind, chroot, "strange", [], [], strange(kind)),
        "keys": lambda rng: record_keys(kind, chroot, rng),
    }
    wrapped = "SET GLOBAL column_compression_zlib_wrap = ON; SET column_compression_zlib_wrap = ON;\n"
    if kind == "mariadb":
        made["compressed"] = lambda rng: record(
            kind, chroot, "compressed", ["--log-bin-compress=1", "--log-bin-compress-min-len=10"], ["packed", "wrapped"],
            create("packed", packed) + churn(rng, "packed", packed, 30) +
            wrapped + create("wrapped", packed) + churn(rng, "wrapped", packed, 30))
    else:
        large = "INSERT INTO every (id, c_longblob) VALUES (9000, REPEAT('compressible ', 6000));\n"
        made["compressed"] = lambda rng: record(
            kind, chroot, "compressed", ["--binlog-transaction-compression=ON"], ["every", "texts"],
            create("every", every) + churn(rng, "every", every, 30) + create("texts", texts, "ROW_FORMAT=DYNAMIC") +
            churn(rng, "texts", texts, 30) + "SET binlog_transaction_compression_level_zstd = 22;\n" + large)
        made["columns"] = lambda rng: record(kind, chroot, "columns", [], ["no_key", "indexed", "made", "many_labels"], column_kinds())
        made["json"] = lambda rng: record(kind, chroot, "json", [], ["json"], documents(rng, document_count))
    return made


if __name__ == "__main__":
    main()
