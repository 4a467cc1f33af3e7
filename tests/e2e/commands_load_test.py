"""The writer under load: 32 clients with more commands than its sessions and its queue take, and clients that hang up at
any moment. A trigger makes each command change several tables, so that "all or nothing" can be asked in SQL.

RINGSIDE_COMMANDS_SEED repeats a run's lots; RINGSIDE_COMMANDS_EACH: commands a client (default 40).
"""

import json
import os
import random
import socket
import sys
import threading
import unittest
from typing import Dict, List

from harness import ConnectionLost, StackCase, metric, wait_until

CLIENTS = 32
SESSIONS = 4
QUEUE = 16
EACH = int(os.environ.get("RINGSIDE_COMMANDS_EACH", "40"))
SEED = int(os.environ.get("RINGSIDE_COMMANDS_SEED", str(random.randrange(1 << 32))))


class Client(threading.Thread):
    """Inserts entries of its own, each under a new id; every fifth time it does not wait for the answer."""

    def __init__(self, stack, number: int):
        super().__init__(daemon=True)
        self._stack = stack
        self._number = number
        self._random = random.Random(SEED * CLIENTS + number)
        self.answered: Dict[int, int] = {}  # version by id
        self.refused: List[int] = []
        self.left: List[int] = []
        self.failures: List[str] = []

    def run(self) -> None:
        try:
            with self._stack.to_writer() as connection:
                for i in range(EACH):
                    entry = self._number * 1_000_000 + i * 1000
                    if i % 5 == 4:
                        self._leave(entry)
                    else:
                        self._insist(connection, entry)
        except (ConnectionLost, OSError, AssertionError, KeyError) as error:
            self.failures.append(f"client {self._number}: {error!r}")

    def _insist(self, connection, entry: int) -> None:
        """Until the writer takes it; a refused one comes again under another id, so that it can be seen to have left nothing."""
        while True:
            response = connection.request("POST", "/v1/entries", {"id": entry, "client": self._number})
            if response.status == 201:
                self.answered[entry] = response.json()["version"]
                return
            document = response.json()
            assert response.status == 503 and document["type"].endswith(":busy"), f"{response}"
            assert int(response.headers["retry-after"]) >= 1, f"{response}"
            self.refused.append(entry)
            entry += 1
            threading.Event().wait(self._random.uniform(0.001, 0.010))  # less polite than Retry-After

    def _leave(self, entry: int) -> None:
        """Hangs up somewhere: within the request, behind it, or a little later; by a reset every other time."""
        body = json.dumps({"id": entry, "client": self._number}).encode()
        request = (f"POST /v1/entries HTTP/1.1\r\nHost: 127.0.0.1:{self._stack.writer_port}\r\nContent-Type: application/json"
                   f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
        with socket.create_connection(("127.0.0.1", self._stack.writer_port), 30.0) as peer:
            if self._random.random() < 0.5:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.sendall(request[:self._random.choice([len(request) // 2, len(request), len(request), len(request)])])
            peer.settimeout(self._random.choice([0.0001, 0.001, 0.005]))
            try:
                peer.recv(1)
            except (socket.timeout, ConnectionError):
                pass
        self.left.append(entry)


class CommandLoad(StackCase):
    REPLICAS = 1
    SETTINGS = f"[writer]\nsessions = {SESSIONS}\nqueue = {QUEUE}\n"

    @classmethod
    def prepare(cls) -> None:
        print(f"RINGSIDE_COMMANDS_SEED={SEED}", file=sys.stderr)
        with cls.stack.session() as sql:
            for statement in (
                    "CREATE TABLE entries (id INT NOT NULL PRIMARY KEY, client INT NOT NULL)",
                    "CREATE TABLE effects (id INT NOT NULL PRIMARY KEY, client INT NOT NULL)",
                    "CREATE TABLE totals (client INT NOT NULL PRIMARY KEY, n INT NOT NULL)",
                    f"INSERT INTO totals SELECT seq, 0 FROM seq_0_to_{CLIENTS}",
                    # The last row of totals is everybody's: the commands wait for each other there.
                    "CREATE TRIGGER entry_effect AFTER INSERT ON entries FOR EACH ROW "
                    "INSERT INTO effects VALUES (NEW.id, NEW.client)",
                    # The last row of totals is everybody's: the commands wait for each other there.
                    "CREATE TRIGGER entry_total AFTER INSERT ON entries FOR EACH ROW "
                    f"UPDATE totals SET n = n + 1 WHERE client IN (NEW.client, {CLIENTS})"):
                sql.execute(statement)
        cls.stack.start()

    def count(self, sql, what: str) -> int:
        return int(sql.value(f"SELECT {what}"))

    def test_many_clients_and_hang_ups_leave_nothing_half(self):
        sessions_seen = 0
        clients = [Client(self.stack, number) for number in range(CLIENTS)]
        with self.stack.session() as sql, self.stack.to_writer() as writer:
            # Capture's own connections: those that are there when no command has come, less the pool's.
            wait_until(lambda: metric(writer, "ringside_writer_sessions", state="connected") == SESSIONS, "all are connected")
            users = "COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'ringside'"
            of_capture = self.count(sql, users) - SESSIONS
            self.assertGreaterEqual(of_capture, 1)
            for client in clients:
                client.start()
            while any(client.is_alive() for client in clients):
                sessions_seen = max(sessions_seen, self.count(sql, users))
                self.assertLessEqual(metric(writer, "ringside_writer_commands_queued"), QUEUE)
            self.assertEqual([failure for client in clients for failure in client.failures], [])

            def at_rest() -> bool:
                status = writer.request("GET", "/status").json()["commands"]
                return status["busy"] == 0 and status["queued"] == 0 and metric(writer, "ringside_writer_connections") == 1
            wait_until(at_rest, "commands of those who left have ended")

            answered = {entry: version for client in clients for entry, version in client.answered.items()}
            refused = [entry for client in clients for entry in client.refused]
            left = [entry for client in clients for entry in client.left]
            entries = set(map(int, (sql.value("SELECT GROUP_CONCAT(id) FROM entries") or "").split(",")))
            kept = sum(entry in entries for entry in left)
            print(f"answered {len(answered)}, refused {len(refused)}, left {len(left)} of which {kept} were done, "
                  f"sessions at most {sessions_seen - of_capture}", file=sys.stderr)
            self.assertLessEqual(sessions_seen - of_capture, SESSIONS)
            self.assertEqual(len(answered), CLIENTS * (EACH - EACH // 5))
            self.assertEqual(set(answered) - entries, set(), "answered, and not there")
            self.assertEqual(set(refused) & entries, set(), "refused, and there")
            self.assertEqual(entries - set(answered) - set(left), set(), "nobody's")
            self.assertGreater(len(refused), 0, "the queue was never full: this test is made to fill it")
            self.assertGreater(kept, 0)
            self.assertEqual(len(set(answered.values())), len(answered), "a version each")
            # All of a command or nothing of it.
            self.assertEqual(self.count(sql, "COUNT(*) FROM entries LEFT JOIN effects USING (id, client) WHERE effects.id IS NULL"), 0)
            for table in ("effects", "ringside.commands"):
                self.assertEqual(self.count(sql, f"COUNT(*) FROM {table}"), len(entries), table)
            self.assertEqual(self.count(sql, f"n FROM totals WHERE client = {CLIENTS}"), len(entries))
            self.assertEqual(self.count(sql, f"SUM(n) FROM totals WHERE client < {CLIENTS}"), len(entries))
            # And so it is in the ring.
            self.stack.catch_up(sql)
            with self.stack.to_replica(0) as replica:
                self.assertEqual(replica.request("GET", f"/v1/totals/{CLIENTS}").json()["n"], len(entries))


if __name__ == "__main__":
    unittest.main()
