#!/usr/bin/env python3
"""A tour of a running Ringside over the demo's shop: real requests, their answers, their latencies.

Each stop prints the command that does the same by hand. Latencies are those this client sees on one kept-alive
connection, its own work in Python included. Exit code 0 when every answer was as it must be, 1 with the reason
otherwise.
"""

import argparse
import statistics
import sys
import time
from typing import List, Optional

from http_keepalive import Connection, ConnectionLost, Response, wait_ready
from load import add_connection_options, client_arguments
from mariadb_pipe import Session, SqlError, quote

REQUESTS = 200
BODY_COLUMNS = 100
VISIBLE_SECONDS = 10.0


class Wrong(Exception):
    """An answer was not what it must be."""


def duration(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def title(number: int, text: str) -> None:
    print(f"\n{number}. {text}")


def show(command: str, response: Response, note: str = "") -> None:
    body = response.body.decode("utf-8", "replace").strip()
    if len(body) > BODY_COLUMNS * 4:
        body = f"{body[:BODY_COLUMNS * 4]}… ({len(response.body):,} bytes)"
    print(f"   $ {command}")
    for start in range(0, len(body), BODY_COLUMNS):
        print(f"     {body[start:start + BODY_COLUMNS]}")
    version = response.headers.get("ringside-version")
    print(f"     → {response.status}{', version ' + version if version else ''}, {duration(response.seconds)}{note}",
          flush=True)


def expect(response: Response, status: int) -> Response:
    if response.status != status:
        raise Wrong(f"status {response.status} where {status} was due: {response.body[:500]!r}")
    return response


class Tour:
    def __init__(self, options: argparse.Namespace, session: Session):
        self._sql = session
        self._client = "mariadb " + " ".join(client_arguments(options)) + f" {options.database}"
        self._writer_url = f"http://127.0.0.1:{options.writer_port}"
        self._replica_url = f"http://127.0.0.1:{options.replica_port}"
        self._writer = Connection(("127.0.0.1", options.writer_port))
        self._replica = Connection(("127.0.0.1", options.replica_port))
        self._sockets = [options.replica_socket.replace("{index}", str(i)) for i in range(options.replicas)]
        self._name = session.value("SELECT slug FROM slugs ORDER BY slug='bash' DESC, slug LIMIT 1")
        self._id = 0

    def run(self) -> None:
        self.row_by_key()
        self.several_keys()
        self.write_and_read()
        self.plain_sql()
        self.many_requests()
        self.after_a_change()

    def row_by_key(self) -> None:
        title(1, "A row by its key: the shop's address of a product, then the product")
        found = expect(self._replica.request("GET", f"/v1/slugs/{self._name}"), 200)
        show(f"curl {self._replica_url}/v1/slugs/{self._name}", found)
        self._id = int(found.json()["product_id"])
        product = expect(self._replica.request("GET", f"/v1/products/{self._id}"), 200)
        show(f"curl {self._replica_url}/v1/products/{self._id}", product)
        if product.json()["name"] != self._name:
            raise Wrong(f"product {self._id} is not {self._name}")
        relation = expect(self._replica.request("GET", f"/v1/products/{self._id}?fields=name,price,badges"), 200)
        show(f"curl '{self._replica_url}/v1/products/{self._id}?fields=name,price,badges'", relation)

    def several_keys(self) -> None:
        title(2, "Several rows at one version, and a composite key")
        ids = [row[0] for row in self._sql.query("SELECT id FROM products ORDER BY id LIMIT 3")]
        target = f"/v1/products?keys={','.join(ids)},4294967295&fields=id,name,price"
        several = expect(self._replica.request("GET", target), 200)
        show(f"curl '{self._replica_url}{target}'", several, "   (null: there is no such product)")
        data = several.json()["data"]
        if [row and str(row["id"]) for row in data] != ids + [None]:
            raise Wrong(f"asked for {ids} and one missing key, got {data}")
        keys = self._sql.query("SELECT product_id, kind, position FROM relations LIMIT 1")
        if keys:
            target = f"/v1/relations/{','.join(keys[0])}"
            show(f"curl {self._replica_url}{target}", expect(self._replica.request("GET", target), 200))

    def write_and_read(self) -> None:
        title(3, "A command to the writer, and reading what it wrote: minVersion waits for exactly that transaction")
        stock = 1 + int(self._sql.value(f"SELECT stock FROM products WHERE id={self._id}")) % 1000
        written = expect(self._writer.request("PATCH", f"/v1/products/{self._id}", {"stock": stock}), 200)
        show(f"curl -X PATCH -H 'Content-Type: application/json' -d '{{\"stock\":{stock}}}' "
             f"{self._writer_url}/v1/products/{self._id}", written, "   (the database's fsync included)")
        version = written.json()["version"]
        if version is None:
            raise Wrong("the writer did not learn the version of its own command in time")
        target = f"/v1/products/{self._id}?fields=id,name,stock&minVersion={version}"
        show(f"curl '{self._replica_url}{target}'", self._checked_stock(self._replica, target, stock))
        for path in self._sockets:
            with Connection(path) as connection:
                response = self._checked_stock(connection, target, stock)
                show(f"curl --unix-socket {path} 'http://localhost{target}'", response)

    def _checked_stock(self, connection: Connection, target: str, stock: int) -> Response:
        response = expect(connection.request("GET", target), 200)
        if response.json()["stock"] != stock:
            raise Wrong(f"{target} shows stock {response.json()['stock']}, {stock} was written")
        return response

    def plain_sql(self) -> None:
        title(4, "SQL by another program: an UPDATE with the plain client shows up in the replica")
        target = f"/v1/products/{self._id}?fields=id,name,price"
        old = expect(self._replica.request("GET", target), 200).json()["price"]
        price = "12.34" if old != "12.34" else "43.21"
        statement = f"UPDATE products SET price={price} WHERE id={self._id}"
        print(f'   $ {self._client} -e "{statement}"')
        self._sql.execute(statement)
        committed = time.perf_counter()
        while True:
            response = expect(self._replica.request("GET", target), 200)
            waited = time.perf_counter() - committed
            if response.json()["price"] == price:
                break
            if waited > VISIBLE_SECONDS:
                raise Wrong(f"{VISIBLE_SECONDS:g} s after the UPDATE the replica still shows {response.json()}")
        show(f"curl '{self._replica_url}{target}'", response,
             f"; seen {duration(waited)} after the client had its OK")
        self._sql.execute(f"UPDATE products SET price={old} WHERE id={self._id}")

    def many_requests(self) -> None:
        title(5, f"{REQUESTS} requests over one connection")
        names = [row[0] for row in self._sql.query(f"SELECT id FROM products ORDER BY id LIMIT {REQUESTS}")]
        times: List[float] = []
        for i in range(REQUESTS):
            response = expect(self._replica.request("GET", f"/v1/products/{names[i % len(names)]}"), 200)
            times.append(response.seconds)
        times.sort()
        print(f"   GET /v1/products/…: p50 {duration(statistics.median(times))}, "
              f"p90 {duration(times[len(times) * 9 // 10])}, fastest {duration(times[0])} "
              "(most of it is this client and the wake-up of two processes; docs/performance.md measures the replica)")

    def after_a_change(self) -> None:
        title(6, "ETag: an unchanged row is not sent again; a missing one says at which version it was missing")
        target = f"/v1/products/{self._id}?fields=name,price"
        etag = expect(self._replica.request("GET", target), 200).headers.get("etag")
        if not etag:
            raise Wrong("a row came without an ETag")
        response = expect(self._replica.request("GET", target, headers={"If-None-Match": etag}), 304)
        show(f"curl -H 'If-None-Match: {etag}' '{self._replica_url}{target}'", response)
        missing = expect(self._replica.request("GET", "/v1/slugs/no-such-product"), 404)
        show(f"curl {self._replica_url}/v1/slugs/no-such-product", missing)
        count = self._sql.value(f"SELECT COUNT(*) FROM slugs WHERE slug={quote('no-such-product')}")
        if count != "0":
            raise Wrong("the server has a product that a replica calls missing")


def caught_up(options: argparse.Namespace) -> int:
    """Waits until every replica answers from what the server has now: for after the live traffic in --check."""
    with Session(client_arguments(options), options.database) as session:
        gtid = session.value("SELECT @@gtid_binlog_pos")
        for index in range(options.replicas):
            with Connection(options.replica_socket.replace("{index}", str(index))) as connection:
                response = connection.request("GET", f"/version?minVersion={gtid.rpartition('-')[2]}&wait=10s")
                if response.status not in (200, 204):
                    raise Wrong(f"replica {index} is not at {gtid}: {response!r}")
                print(f"   replica {index} answers from version {response.headers.get('ringside-version')}")
    return 0


def wait_for(options: argparse.Namespace) -> int:
    def running() -> bool:
        # A signal of number 0 would be enough, but a zombie would count as alive.
        try:
            with open(f"/proc/{options.pid}/stat", encoding="ascii", errors="replace") as stat:
                return stat.read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    why: Optional[str] = wait_ready(("127.0.0.1", options.port), "/readyz", options.seconds, running)
    if why:
        print(why, file=sys.stderr)
    return 1 if why else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("tour", "caught-up"):
        command = commands.add_parser(name)
        add_connection_options(command)
        command.add_argument("--writer-port", type=int, required=True)
        command.add_argument("--replica-port", type=int, required=True)
        command.add_argument("--replica-socket", required=True, help="with {index}")
        command.add_argument("--replicas", type=int, default=2)
    waiting = commands.add_parser("wait", help="until /readyz of a port answers 200")
    waiting.add_argument("--port", type=int, required=True)
    waiting.add_argument("--pid", type=int, required=True, help="of the program that should answer")
    waiting.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    try:
        if options.command == "wait":
            return wait_for(options)
        if options.command == "caught-up":
            return caught_up(options)
        with Session(client_arguments(options), options.database) as session:
            Tour(options, session).run()
        return 0
    except (Wrong, ConnectionLost, SqlError) as error:
        print(f"\nThe tour ended: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
