"""Every command and every error that the writer promises; read-your-writes on every replica; the point reads' grammar."""

import subprocess
import sys
import threading
import unittest
from typing import Dict, List

from harness import ROOT, Connection, ConnectionLost, Number, StackCase, parse, wait_until

PROMTOOL = ROOT / "build" / "tools" / "prometheus" / "usr" / "bin" / "promtool"


class CommandsCase(StackCase):
    REPLICAS = 2
    SETTINGS = "[writer]\nsessions = 4\nbody_limit = \"64KiB\"\nversion_wait = \"10s\"\n"

    @classmethod
    def prepare(cls) -> None:
        cls.sql = cls.stack.session()
        cls.addClassCleanup(cls.sql.close)
        # So that a command that waits for a lock is over soon.
        cls.sql.execute("SET GLOBAL innodb_lock_wait_timeout = 1")
        cls.sql.execute("""
            CREATE TABLE shelves (id INT NOT NULL PRIMARY KEY, label VARCHAR(20) NOT NULL);
            CREATE TABLE items (
              id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
              name VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
              shelf INT NULL,
              amount INT NOT NULL DEFAULT 7,
              price DECIMAL(65,30) NULL,
              big BIGINT UNSIGNED NULL,
              kind ENUM('a','b') NOT NULL DEFAULT 'a',
              flags SET('x','y','z') NULL,
              raw VARBINARY(20) NULL,
              made DATETIME(3) NULL,
              doc JSON NULL,
              checked INT NULL CHECK (checked > 0),
              UNIQUE KEY name (name),
              CONSTRAINT on_shelf FOREIGN KEY (shelf) REFERENCES shelves (id));
            CREATE TABLE pairs (a INT NOT NULL, b VARCHAR(20) COLLATE utf8mb4_bin NOT NULL, v TEXT, PRIMARY KEY (a, b));
            CREATE TABLE counters (id INT NOT NULL PRIMARY KEY, n INT NOT NULL);
            INSERT INTO shelves VALUES (1, 'one'), (2, 'two');
            INSERT INTO items (id, name, shelf, amount) VALUES (1, 'first', 1, 1), (2, 'second', 1, 2), (3, 'third', NULL, 3);
            INSERT INTO counters VALUES (1, 0), (2, 0);
            INSERT INTO pairs VALUES (1, 'x,y', 'comma'), (1, '', 'empty')""")
        cls.stack.start()

    def setUp(self) -> None:
        self.writer = self.stack.to_writer()
        self.addCleanup(self.writer.close)
        self.replicas: List[Connection] = [self.stack.to_replica(i) for i in range(self.REPLICAS)]
        for replica in self.replicas:
            self.addCleanup(replica.close)

    def done(self, response, statuses=(200, 201)) -> Dict:
        """A command that succeeded: its document."""
        self.assertIn(response.status, statuses, response)
        document = response.json()
        self.assertIs(document["success"], True, response)
        self.assertIsInstance(document["version"], int, response)
        # On MySQL all transactions of this test are of one server and without a gap.
        form = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:" if self.SERVER == "mysql" else r"\d+-\d+-"
        self.assertRegex(document["gtid"], f"^{form}{document['version']}$", response)
        return document

    def read(self, target: str, version: int, status: int = 200):
        """The same answer from every replica, at `version` or later."""
        bodies = []
        mark = "&" if "?" in target else "?"
        for replica in self.replicas:
            response = replica.request("GET", f"{target}{mark}minVersion={version}&wait=10s")
            self.assertEqual(response.status, status, response)
            self.assertGreaterEqual(response.version, version)
            bodies.append(parse(response.body))
        if status == 200:
            self.assertEqual(bodies[0], bodies[1])
        return bodies[0]


class Commands(CommandsCase):
    def test_insert_gives_the_key_and_both_replicas_have_the_row_at_its_version(self):
        document = self.done(self.writer.request("POST", "/v1/items", {"name": "ä \"q\" \\", "amount": 5}))
        row = self.read(f"/v1/items?key={self.key_of(document)}", document["version"])["data"][0]
        self.assertEqual((row["name"], row["amount"], row["kind"], row["price"]), ("ä \"q\" \\", "5", "a", None))

    def key_of(self, document) -> str:
        key = document["key"]
        if isinstance(key, dict):
            key = next(iter(key.values()))
        elif isinstance(key, list):
            key = key[0]
        return str(key)

    def test_whole_rows_are_created_and_overwritten_with_defaults_for_what_is_absent(self):
        created = self.done(self.writer.request("PUT", "/v1/items/1000", {"name": "put", "amount": 1, "shelf": 2}))
        self.assertEqual(self.read("/v1/items/1000", created["version"])["amount"], "1")
        again = self.done(self.writer.request("PUT", "/v1/items/1000", {"name": "put again"}))
        row = self.read("/v1/items/1000", again["version"])
        self.assertEqual((row["name"], row["amount"], row["shelf"]), ("put again", "7", None))

    def test_overwriting_a_row_that_others_refer_to_deletes_nothing(self):
        document = self.done(self.writer.request("PUT", "/v1/shelves/1", {"label": "still one"}))
        self.assertEqual(self.read("/v1/shelves/1", document["version"])["label"], "still one")
        self.assertEqual(self.sql.value("SELECT COUNT(*) FROM items WHERE shelf = 1 AND id < 3"), "2")

    def test_given_columns_are_changed_and_no_others(self):
        document = self.done(self.writer.request("PATCH", "/v1/items/2", {"amount": -5, "made": "2026-01-08T10:00:00.123"}))
        row = self.read("/v1/items/2", document["version"])
        self.assertEqual((row["name"], row["amount"], row["made"]), ("second", "-5", "2026-01-08T10:00:00.123"))
        same = self.done(self.writer.request("PATCH", "/v1/items/2", {"amount": -5}))
        self.assertGreater(same["version"], document["version"])
        cleared = self.done(self.writer.request("PATCH", "/v1/items/2", {"made": None}))
        self.assertIsNone(self.read("/v1/items/2", cleared["version"])["made"])

    def test_deleted_rows_are_gone_from_both_replicas(self):
        self.done(self.writer.request("PUT", "/v1/items/1001", {"name": "short"}))
        document = self.done(self.writer.request("DELETE", "/v1/items/1001"))
        self.read("/v1/items/1001", document["version"], 404)

    def test_composite_and_awkward_keys(self):
        for key, b in (("7,a%2Cb", "a,b"), ("7,%20%2F%3F%23", " /?#"), ("-7,%C3%A4", "ä")):
            created = self.done(self.writer.request("PUT", f"/v1/pairs/{key}", {"v": b}))
            self.assertEqual(self.read(f"/v1/pairs/{key}", created["version"])["b"], b)
            changed = self.done(self.writer.request("PATCH", f"/v1/pairs/{key}", {"v": "changed"}))
            self.assertEqual(self.read(f"/v1/pairs?key={key}", changed["version"])["data"][0]["v"], "changed")
            gone = self.done(self.writer.request("DELETE", f"/v1/pairs/{key}"))
            self.assertEqual(self.read(f"/v1/pairs?key={key}&key=1,x%2Cy", gone["version"])["data"],
                             [None, {"a": "1", "b": "x,y", "v": "comma"}])

    def test_numbers_keep_their_digits(self):
        price = "12345678901234567890123456789012345.123456789012345678901234567891"
        # MySQL keeps a document's numbers as DOUBLE where they are no integers.
        n, m = ("1.5", "1e300") if self.SERVER == "mysql" else ("1.50", "1e400")
        body = ('{"price":%s,"big":18446744073709551615,"doc":{"n":%s,"m":[%s]},"flags":["x","z"],"raw":"/+8A"}'
                % (price, n, m)).encode()
        document = self.done(self.writer.request("PATCH", "/v1/items/3", body, {"Content-Type": "application/json"}))
        row = self.read("/v1/items/3", document["version"])
        self.assertEqual((row["price"], row["big"], row["flags"], row["raw"]),
                         (Number(price), Number("18446744073709551615"), ["x", "z"], "/+8A"))
        self.assertEqual(row["doc"], {"n": Number(n), "m": [Number(m)]})
        self.assertEqual(self.sql.query("SELECT price, big, HEX(raw) FROM items WHERE id = 3"),
                         [[price, "18446744073709551615", "FFEF00"]])
        quoted = self.replicas[0].request("GET", "/v1/items/3?numbers=string&fields=price,big,amount").json()
        self.assertEqual(quoted, {"price": price, "big": "18446744073709551615", "amount": 3})

    def test_the_fresh_read_is_the_servers_row(self):
        self.sql.execute("REPLACE INTO pairs VALUES (50, 'fresh', 'by sql')")
        response = self.expect(self.writer.request("GET", "/v1/pairs/50,fresh"), 200)
        self.assertEqual(response.json(), {"a": 50, "b": "fresh", "v": "by sql"})
        self.expect(self.writer.request("GET", "/v1/pairs/50,none"), 404)
        self.sql.execute("""INSERT INTO items (id, name, doc) VALUES (50, 'document', '{"k": [1, null]}')""")
        response = self.expect(self.writer.request("GET", "/v1/items/50"), 200)
        self.assertEqual(response.json()["doc"], {"k": [1, None]})

    def test_constraint_errors(self):
        for method, target, body, status, problem in (
                ("POST", "/v1/items", {"name": "first"}, 409, "duplicate-key"),
                ("POST", "/v1/items", {"id": 1, "name": "other"}, 409, "duplicate-key"),
                ("PATCH", "/v1/items/2", {"name": "first"}, 409, "duplicate-key"),
                ("POST", "/v1/items", {"name": "lost", "shelf": 99}, 409, "foreign-key"),
                ("PATCH", "/v1/items/1", {"shelf": 99}, 409, "foreign-key"),
                ("DELETE", "/v1/shelves/1", None, 409, "foreign-key"),
                ("PATCH", "/v1/items/1", {"checked": -1}, 422, "bad-value"),
                ("POST", "/v1/items", {"amount": "many"}, 422, "bad-value"),
                ("POST", "/v1/items", {"amount": 2 ** 31}, 422, "bad-value"),
                ("POST", "/v1/items", {"amount": 1.5}, 422, "bad-value"),
                ("POST", "/v1/items", {"amount": None}, 422, "bad-value"),
                ("POST", "/v1/items", {"name": "x" * 21}, 422, "bad-value"),
                ("POST", "/v1/items", {"kind": "c"}, 422, "bad-value"),
                ("POST", "/v1/items", {"flags": ["x", "w"]}, 422, "bad-value"),
                ("POST", "/v1/items", {"made": "2026-02-30T00:00:00.000"}, 422, "bad-value"),
                ("POST", "/v1/items", {"raw": "not base64!"}, 422, "bad-value"),
                ("POST", "/v1/shelves", {"id": 9}, 422, "bad-value"),
                ("POST", "/v1/items", {"colour": "red"}, 422, "unknown-column"),
                ("PATCH", "/v1/items/1", {"colour": "red"}, 422, "unknown-column"),
                ("POST", "/v1/nothing", {"a": 1}, 404, "unknown-table"),
                ("PATCH", "/v1/nothing/1", {"a": 1}, 404, "unknown-table"),
                ("PATCH", "/v1/items/987654", {"amount": 1}, 404, "missing-row"),
                ("DELETE", "/v1/items/987654", None, 404, "missing-row"),
                ("GET", "/v1/items/987654", None, 404, "missing-row"),
                ("PATCH", "/v1/items/one", {"amount": 1}, 400, "bad-key"),
                ("PATCH", "/v1/items/01", {"amount": 1}, 400, "bad-key"),
                ("DELETE", "/v1/pairs/1", None, 400, "bad-key")):
            with self.subTest(method=method, target=target, body=body):
                before = self.sql.value("SELECT COUNT(*) FROM items")
                self.expect(self.writer.request(method, target, body), status, problem)
                self.assertEqual(self.sql.value("SELECT COUNT(*) FROM items"), before)

    def test_requests_that_are_not_understood(self):
        as_json = {"Content-Type": "application/json"}
        for target, body, headers, statuses in (
                ("/v1/items", b"{", as_json, (400,)), ("/v1/items", b"[]", as_json, (400, 422)),
                ("/v1/items", b'{"amount":1}x', as_json, (400,)), ("/v1/items", b'{"amount":01}', as_json, (400,)),
                ("/v1/items", b'{"amount":1,"amount":2}', as_json, (400, 422)),
                ("/v1/items", b'{"name":"\xff"}', as_json, (400,)),
                ("/v1/items", b'{"amount":1}', {"Content-Type": "text/plain"}, (415,)),
                ("/v1/items", b'{"amount":1}', {"Content-Type": "application/x-www-form-urlencoded"}, (415,)),
                ("/v1/items", b'{"amount":1}', {}, (415,)),
                ("/v1/items", b'{"name":"' + b"x" * 70000 + b'"}', as_json, (413,)),
                ("/v1/items", b'{"amount":1}', {**as_json, "Host": "attacker.example"}, (421,)),
                ("/elsewhere", b"{}", as_json, (404,))):
            with self.subTest(target=target, body=body[:40], headers=headers):
                with self.stack.to_writer() as connection:
                    try:
                        response = connection.request("POST", target, body, headers)
                    except ConnectionLost:
                        # A body beyond the limit may be cut off while it is still being sent.
                        self.assertEqual(statuses, (413,))
                        continue
                    self.assertIn(response.status, statuses, response)
                    self.assertEqual(response.headers["content-type"], "application/problem+json", response)
        self.expect(self.writer.request("PATCH", "/v1/items", {"amount": 1}), 405, "method-not-allowed")

    def test_a_row_locked_by_somebody_else_gives_503_and_works_afterwards(self):
        with self.stack.session() as other:
            other.execute("BEGIN; UPDATE counters SET n = 100 WHERE id = 2")
            response = self.expect(self.writer.request("PATCH", "/v1/counters/2", {"n": 1}), 503, "row-locked")
            self.assertIn("retry-after", response.headers)
            other.execute("ROLLBACK")
        document = self.done(self.writer.request("PATCH", "/v1/counters/2", {"n": 2}))
        self.assertEqual(self.read("/v1/counters/2", document["version"])["n"], "2")

    def test_concurrent_commands_have_versions_of_their_own(self):
        versions: List[int] = []
        errors: List[BaseException] = []

        def work(worker: int) -> None:
            try:
                with self.stack.to_writer() as writer, self.stack.to_replica(worker % 2) as replica:
                    for i in range(25):
                        document = writer.request("POST", "/v1/pairs", {"a": 1000 + worker, "b": str(i), "v": "w"}).json()
                        versions.append(document["version"])
                        row = replica.request("GET", f"/v1/pairs/{1000 + worker},{i}?minVersion={document['version']}&wait=10s")
                        if row.status != 200 or row.version < document["version"]:
                            raise AssertionError(f"worker {worker}, row {i}: {row}")
            except BaseException as error:  # handed to the test's own thread, which raises it
                errors.append(error)

        threads = [threading.Thread(target=work, args=(w,)) for w in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        self.assertEqual(len(set(versions)), 200)

    def test_read_your_writes_again_and_again(self):
        for n in range(1, 51):
            document = self.done(self.writer.request("PATCH", "/v1/counters/1", {"n": n}))
            for header in (False, True):
                for replica in self.replicas:
                    version = document["version"]
                    response = (replica.request("GET", "/v1/counters/1", headers={"Ringside-Min-Version": str(version)})
                                if header else replica.request("GET", f"/v1/counters/1?minVersion={version}"))
                    self.assertEqual((response.status, response.json()["n"]), (200, n), response)
            gtid = self.replicas[n % 2].request("GET", f"/v1/counters/1?minGtid={document['gtid']}")
            self.assertEqual((gtid.status, gtid.json()["n"]), (200, n), gtid)

    def test_the_database_gone_and_back(self):
        version = self.stack.catch_up(self.sql)
        self.sql.close()
        self.stack.database.stop(crash=True)
        try:
            response = self.writer.request("PATCH", "/v1/counters/1", {"n": 7})
            self.expect(response, 503)
            for replica in self.replicas:
                # Reading goes on from what is there.
                self.assertEqual(self.expect(replica.request("GET", "/v1/items/1"), 200).version, version)
            self.assertEqual(self.stack.to_writer().request("GET", "/readyz").status, 503)
        finally:
            self.stack.database.start()
            type(self).sql = self.stack.session()
            self.addClassCleanup(self.sql.close)
            self.sql.execute("SET GLOBAL innodb_lock_wait_timeout = 1")
        document = wait_until(lambda: self.try_patch({"n": 8}), "commands work again")
        self.assertEqual(self.read("/v1/counters/1", document["version"])["n"], "8")

    def try_patch(self, body):
        response = self.stack.to_writer().request("PATCH", "/v1/counters/1", body)
        self.assertIn(response.status, (200, 503), response)
        return response.json() if response.status == 200 and response.json()["version"] else None


class Reads(CommandsCase):
    def test_several_keys_in_the_asked_order_at_one_version(self):
        for replica in self.replicas:
            for target in ("/v1/items?keys=3,999,1,3&fields=id,name", "/v1/items?key=3&key=999&key=1&key=3&fields=id,name"):
                response = self.expect(replica.request("GET", target), 200)
                third, first = {"id": 3, "name": "third"}, {"id": 1, "name": "first"}
                self.assertEqual(response.json()["data"], [third, None, first, third])
            self.assertEqual(replica.request("GET", "/v1/pairs?key=1,&key=1,x%2Cy&fields=v").json()["data"],
                             [{"v": "empty"}, {"v": "comma"}])

    def test_what_is_wrong_is_refused(self):
        for target, status in (("/v1/items/999999", 404), ("/v1/nothing/1", 404), ("/nothing", 404), ("/v1/items/01", 400),
                               ("/v1/items/+1", 400), ("/v1/items/1.0", 400), ("/v1/items/-0", 400), ("/v1/items/x", 400),
                               ("/v1/pairs/1", 400), ("/v1/pairs/1,a,b", 400), ("/v1/items/1?fields=colour", 400),
                               ("/v1/items/1?nonsense=1", 400), ("/v1/items/1?minVersion=x", 400),
                               ("/v1/items/1?wait=1h", 400), ("/v1/items/1?numbers=words", 400),
                               ("/v1/items?key=1&keys=2", 400), ("/v1/items/%zz", 400),
                               ("/v1/items?" + "&".join(["key=1"] * 1001), 400)):
            with self.subTest(target=target[:60]):
                response = self.replicas[0].request("GET", target)
                self.expect(response, status)
                self.assertIsNotNone(response.version)

    def test_a_version_that_is_not_reached_in_time(self):
        version = self.stack.catch_up(self.sql)
        for target in ("/v1/items/1", "/version"):
            response = self.replicas[0].request("GET", f"{target}?minVersion={version + 1000}&wait=20ms")
            self.expect(response, 503, "version-not-reached")
            self.assertIn("retry-after", response.headers)
            self.assertGreaterEqual(response.seconds, 0.02)
            self.assertEqual(response.version, version)

    def test_entity_tags(self):
        replica = self.replicas[0]
        first = self.expect(replica.request("GET", "/v1/items/1"), 200)
        etag = first.headers["etag"]
        self.assertRegex(etag, r'^"[^"]+"$')
        unchanged = replica.request("GET", "/v1/items/1", headers={"If-None-Match": etag})
        self.assertEqual((unchanged.status, unchanged.body, unchanged.headers["etag"]), (304, b"", etag))
        self.assertIsNotNone(unchanged.version)
        self.assertNotEqual(replica.request("GET", "/v1/items/1?fields=id").headers["etag"], etag)
        self.assertNotEqual(replica.request("GET", "/v1/items/1?numbers=string").headers["etag"], etag)
        self.assertEqual(self.replicas[1].request("GET", "/v1/items/1").headers["etag"], etag)
        document = self.done(self.writer.request("PATCH", "/v1/items/1", {"amount": 12345}))
        changed = replica.request("GET", f"/v1/items/1?minVersion={document['version']}", headers={"If-None-Match": etag})
        self.assertEqual((changed.status, changed.json()["amount"]), (200, 12345))
        # Another row's change is no change of this one.
        later = changed.headers["etag"]
        document = self.done(self.writer.request("PATCH", "/v1/items/2", {"amount": 54321}))
        again = replica.request("GET", f"/v1/items/1?minVersion={document['version']}", headers={"If-None-Match": later})
        self.assertEqual(again.status, 304)

    def test_head_is_get_without_the_body(self):
        with self.stack.to_replica(0) as connection:
            get = connection.request("GET", "/v1/items/1")
            head = connection.request("HEAD", "/v1/items/1")
            self.assertEqual((head.status, head.body), (200, b""))
            for name in ("content-length", "content-type", "etag"):
                self.assertEqual(head.headers[name], get.headers[name])
            self.assertEqual(connection.request("HEAD", "/v1/items/999999").status, 404)
            self.assertEqual(connection.request("GET", "/v1/items/1").body, get.body)

    def test_commands_are_refused_by_replicas_and_sent_to_the_writer(self):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            with self.stack.to_replica(0) as connection:
                response = self.expect(connection.request(method, "/v1/items/1"), 405, "method-not-allowed")
                self.assertIn("writer", response.json()["detail"])
                response = connection.request(method, "/v1/items/1", {"amount": 1})
                self.assertEqual(response.status, 405, method)
                self.assertIn("writer", response.json()["detail"])

    def test_pipelined_requests_are_answered_in_order(self):
        requests = [b"GET /v1/items/%d?fields=id HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in (1, 2, 3)]
        with self.stack.to_replica(1) as connection:
            first = connection.exchange(b"".join(requests) + b"GET /v1/items/99999 HTTP/1.1\r\nHost: x\r\n\r\n")
            answers = [first] + [connection.exchange(b"") for _ in range(3)]
        self.assertEqual([a.status for a in answers], [200, 200, 200, 404])
        self.assertEqual([a.json()["id"] for a in answers[:3]], [1, 2, 3])

    def test_a_head_beyond_the_limit_is_refused(self):
        with self.stack.to_replica(0) as connection:
            response = connection.request("GET", "/v1/items/1", headers={"X-Long": "x" * 9000})
            self.assertEqual(response.status, 431, response)

    def test_every_replica_tells_of_itself(self):
        for index in range(self.REPLICAS):
            for connect in (self.stack.to_admin, self.stack.to_replica):
                with connect(index) as connection:
                    for target in ("/healthz", "/readyz", "/status", "/metrics"):
                        self.assertEqual(connection.request("GET", target).status, 200, target)

    def test_metrics_are_clean(self):
        """promtool's own check, of every program's metrics. Not there: tools/fetch_packages prometheus fetches it."""
        self.assertTrue(PROMTOOL.exists(), f"{PROMTOOL} is missing: run tools/fetch_packages prometheus")
        for name, connection in (("writer", self.stack.to_writer()), ("replica", self.stack.to_admin(0))):
            with connection, self.subTest(program=name):
                response = connection.request("GET", "/metrics")
                done = subprocess.run([str(PROMTOOL), "check", "metrics"], input=response.body, capture_output=True,
                                      timeout=60, check=False)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""), response.body[:4000])

    def test_programs_end_cleanly_when_asked_to(self):
        # The last test by name would be better; started again, so that the order does not matter.
        self.assertEqual(self.stack.replicas[0].terminate(), 0)
        self.stack.start_replica(0)
        self.assertEqual(self.stack.writer.terminate(), 0)
        self.expect(self.replicas[1].request("GET", "/v1/items/1"), 200)
        self.stack.start_writer()


class MysqlCommands(Commands):
    SERVER = "mysql"


class MysqlReads(Reads):
    SERVER = "mysql"


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
