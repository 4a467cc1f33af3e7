"""What a row must look like over HTTP, made from SELECT alone, and the comparison of whole tables.

The expected value of each column comes from the server's own text of it, so that it shares no code with what is
tested. Numbers are compared by their digits; only FLOAT and DOUBLE, of which there are several right texts, by value
and by shortness.
"""

import base64
import json
import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import Dict, Iterator, List, Optional
from urllib.parse import quote

from harness import Connection, Number, Session, parse, wait_until

MAX_TARGET_BYTES = 6000  # a request's head has at most 8 KiB
MAX_KEYS = 500

INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}
TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}
BINARIES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}


@dataclass
class Column:
    name: str
    type: str       # information_schema's DATA_TYPE; "json" for a LONGTEXT that is checked to be JSON
    charset: str
    nullable: bool


@dataclass
class Table:
    name: str
    columns: List[Column]
    key: List[str]

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)


def describe(session: Session, table: str, key: Optional[List[str]] = None) -> Table:
    """The table's columns and primary key (or `key`, where another unique key serves)."""
    # MariaDB's JSON is a LONGTEXT with a CHECK; MySQL has a type for it.
    is_mariadb = "MariaDB" in session.value("SELECT VERSION()")
    checks = session.query("SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
                           f"WHERE CONSTRAINT_SCHEMA=DATABASE() AND TABLE_NAME='{table}'") if is_mariadb else []
    documents = {clause[0].partition("`")[2].partition("`")[0] for clause in checks if "json_valid" in clause[0]}
    columns = [Column(name, "json" if name in documents else kind, charset, nullable == "YES")
               for name, kind, charset, nullable in session.query(
                   "SELECT COLUMN_NAME, DATA_TYPE, COALESCE(CHARACTER_SET_NAME,''), IS_NULLABLE "
                   "FROM information_schema.COLUMNS "
                   f"WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME='{table}' ORDER BY ORDINAL_POSITION")]
    if not columns:
        raise AssertionError(f"there is no table {table}")
    if key is None:
        key = [row[0] for row in session.query(
            "SELECT COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA=DATABASE() "
            f"AND TABLE_NAME='{table}' AND CONSTRAINT_NAME='PRIMARY' ORDER BY ORDINAL_POSITION")]
    return Table(table, columns, key)


def _sql_text(column: Column) -> str:
    """An expression for the column's value as hexadecimal digits of UTF-8 text or bytes; NULL for NULL."""
    name = f"`{column.name}`"
    if column.type in BINARIES:
        return f"HEX({name})"
    if column.type in ("bit", *INTEGERS):
        return f"HEX(CAST({name}+0 AS CHAR))"  # +0: without the zeros of ZEROFILL
    if column.type == "float":
        return f"HEX(CAST(CAST({name} AS DOUBLE) AS CHAR))"
    return f"HEX(CONVERT(CAST({name} AS CHAR) USING utf8mb4))"


def _expected(column: Column, text: str):
    raw = bytes.fromhex(text)
    if column.type in BINARIES:
        return base64.b64encode(raw).decode("ascii")
    value = raw.decode("utf-8")
    if column.type in INTEGERS or column.type in ("bit", "year"):
        return Number(str(int(value)))
    if column.type == "decimal":
        return Number(value)
    if column.type in ("float", "double"):
        return Number(value)
    if column.type == "datetime":
        return value.replace(" ", "T")
    if column.type == "timestamp":
        return value.replace(" ", "T") + "Z"
    if column.type == "set":
        return value.split(",") if value else []
    if column.type == "json":
        return parse(raw)
    return value


def _shortest_float(value: float) -> Decimal:
    exact = struct.pack("f", value)
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        try:
            if struct.pack("f", float(text)) == exact:
                return Decimal(text)
        except OverflowError:
            continue  # rounded up beyond the largest float
    raise AssertionError(f"{value!r} is no float")


def same(column: Column, expected, actual) -> bool:
    if expected is None or actual is None:
        return expected is actual
    if column.type in ("float", "double"):
        if not isinstance(actual, Number):
            return False
        value = float(expected)
        shortest = _shortest_float(value) if column.type == "float" else Decimal(repr(value))
        return Decimal(actual) == shortest and Decimal(actual).is_signed() == shortest.is_signed()
    return type(expected) is type(actual) and expected == actual


def select(session: Session, table: Table, where: str = "1") -> List[Dict[str, object]]:
    """The table's rows as they must be over HTTP."""
    fields = ", ".join(f"COALESCE({_sql_text(c)}, '~')" for c in table.columns)
    order = ", ".join(f"`{name}`" for name in table.key) or "1"
    rows = session.query(f"SELECT {fields} FROM `{table.name}` WHERE {where} ORDER BY {order}")
    return [{c.name: None if text == "~" else _expected(c, text) for c, text in zip(table.columns, row)}
            for row in rows]


def key_text(table: Table, row: Dict[str, object]) -> str:
    """The row's key as it stands in a URL."""
    parts = []
    for name in table.key:
        value = row[name]
        if table.column(name).type in BINARIES:
            raw = base64.b64decode(str(value))
            value = base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
        parts.append(quote(str(value), safe=""))
    return ",".join(parts)


def _batches(keys: List[str]) -> Iterator[List[str]]:
    batch: List[str] = []
    size = 0
    for key in keys:
        if batch and (size + len(key) + 5 > MAX_TARGET_BYTES or len(batch) == MAX_KEYS):
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += len(key) + 5
    if batch:
        yield batch


def fetch(connection: Connection, table: Table, keys: List[str]) -> List[Optional[Dict[str, object]]]:
    """The rows of these keys over HTTP, in order."""
    found: List[Optional[Dict[str, object]]] = []
    for batch in _batches(keys):
        target = f"/v1/{table.name}?" + "&".join("key=" + key for key in batch)
        response = connection.request("GET", target)
        if response.status != 200:
            raise AssertionError(f"{target[:300]}: {response}")
        data = parse(response.body)["data"]
        if len(data) != len(batch):
            raise AssertionError(f"{target[:300]}: {len(data)} rows for {len(batch)} keys")
        found += data
    return found


def row_difference(table: Table, expected: Dict[str, object], actual: Optional[Dict[str, object]]) -> str:
    """What is wrong with the row, or an empty text."""
    if actual is None:
        return "missing"
    if list(actual) != [c.name for c in table.columns]:
        return f"columns {list(actual)}"
    for column in table.columns:
        if not same(column, expected[column.name], actual[column.name]):
            return f"{column.name} ({column.type}): {actual[column.name]!r:.300} where SELECT has {expected[column.name]!r:.300}"
    return ""


def served_rows(connection: Connection, table: str) -> Optional[int]:
    """The number of rows that the replica says it serves of the table, by its metrics; None: not served."""
    for line in connection.request("GET", "/metrics").body.decode("utf-8").splitlines():
        if line.startswith("ringside_replica_table_rows{") and f'table="{table}"' in line:
            return int(float(line.rpartition(" ")[2]))
    return None


def compare(session: Session, connection: Connection, table: Table, gone: Optional[List[str]] = None) -> int:
    """Every row of SELECT is served and equal, none of the keys in `gone` is, and there is no further row.

    The caller sees to it that nothing is written meanwhile and that the replica has caught up. The number of rows.
    """
    rows = select(session, table)
    keys = [key_text(table, row) for row in rows]
    for key, expected, actual in zip(keys, rows, fetch(connection, table, keys)):
        wrong = row_difference(table, expected, actual)
        if wrong:
            raise AssertionError(f"{table.name}/{key}: {wrong}")
    for key, actual in zip(gone or [], fetch(connection, table, gone or [])):
        if actual is not None:
            raise AssertionError(f"{table.name}/{key} was deleted and is served: {actual}")
    wait_until(lambda: served_rows(connection, table.name) == len(rows),
               f"{len(rows)} rows of {table.name}, and not {served_rows(connection, table.name)}", 5.0)
    return len(rows)


def dump(value) -> str:
    return json.dumps(value, ensure_ascii=False)
