"""What the tests of faults share: the load that checks itself while something breaks, and what the programs say.

The load is what a site does: SQL of another program that moves money between accounts, commands, reads on each replica,
reads with minVersion of what was just written. It knows at any moment what must not be seen: a sum that differs, a
version that goes back on a connection, an own write that is missing. In the end it knows which commands have
succeeded, failed, or stayed unknown, and the table must have each of them as often as that allows: once, never, at
most once.

SERVER names the database that a class runs on: a subclass with another one runs the same tests there.
"""

import ctypes
import itertools
import os
import random
import subprocess
import threading
import time
import unittest
from pathlib import Path
from typing import Callable, Dict, List, Optional

import rows as expected_rows
from harness import Connection, ConnectionLost, Process, SqlError, StackCase, wait_until

_TOKENS = itertools.count()  # for all loads of this process: tests share their tables
ACCOUNTS = 16
BALANCE = 1000
TABLES = ("accounts", "facts", "items")
FAST = "[writer]\nheartbeat = \"200ms\"\nwatchdog = \"1s\"\nversion_wait = \"2s\"\n[replica]\nmax_staleness = \"2s\"\n"
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x00020000, 0x4000, 1 << 18

NEEDS_ROOT = unittest.skipUnless(os.geteuid() == 0, "SKIPPED: mounting a small tmpfs needs root")


class FaultsCase(StackCase):
    """A database with the tables of the load; writer and replicas as the class's prepare() leaves them."""

    SERVER = "mariadb"
    REPLICAS = 2
    SETTINGS = FAST

    @classmethod
    def prepare(cls) -> None:
        cls.create_tables()
        cls.stack.start()

    @classmethod
    def create_tables(cls) -> None:
        with cls.stack.session() as sql:
            sql.execute(
                "CREATE TABLE accounts (id INT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB; "
                "CREATE TABLE facts (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, token VARCHAR(40) NOT NULL, "
                "KEY (token)) ENGINE=InnoDB; "
                "CREATE TABLE items (id INT NOT NULL PRIMARY KEY, n INT NOT NULL, body MEDIUMBLOB NULL) ENGINE=InnoDB; "
                "INSERT INTO accounts VALUES " + ", ".join(f"({i}, {BALANCE})" for i in range(1, ACCOUNTS + 1)) + "; "
                "INSERT INTO items VALUES " + ", ".join(f"({i}, 0, NULL)" for i in range(1, 101)))

    # --- what they say of themselves

    def readiness(self, connection: Connection) -> str:
        """Empty when /readyz is green, else its reason; "no answer: …" when there is none."""
        with connection:
            try:
                response = connection.request("GET", "/readyz")
            except ConnectionLost as lost:
                return f"no answer: {lost}"
        if response.status == 200:
            return ""
        self.assertEqual(response.status, 503, response)
        document = response.json()
        return document.get("detail") or document["reason"]

    def writer_reason(self) -> str:
        return self.readiness(self.stack.to_writer())

    def replica_reason(self, index: int) -> str:
        return self.readiness(self.stack.to_admin(index))

    def await_writer(self, reason: str) -> str:
        return wait_until(lambda: (lambda r: r if reason in r else "")(self.writer_reason()),
                          f"the writer's /readyz says {reason!r}, and not {self.writer_reason()!r}")

    def await_replicas(self, reason: str) -> None:
        for index in range(self.REPLICAS):
            wait_until(lambda index=index: reason in self.replica_reason(index),
                       f"the /readyz of replica {index} says {reason!r}")

    def await_all_ready(self, seconds: float = 60.0) -> None:
        wait_until(lambda: self.writer_reason() == "", "the writer is ready again", seconds)
        for index in range(self.REPLICAS):
            wait_until(lambda index=index: self.replica_reason(index) == "", f"replica {index} is ready again", seconds)

    def writer_status(self) -> dict:
        with self.stack.to_writer() as writer:
            return writer.request("GET", "/status").json()

    def replica_status(self, index: int) -> dict:
        with self.stack.to_admin(index) as admin:
            return admin.request("GET", "/status").json()

    # --- logs

    def mark(self, name: str) -> int:
        """Where the log of this program ends now."""
        log = self.stack.folder / f"{name}.log"
        return log.stat().st_size if log.exists() else 0

    def lines(self, name: str, mark: int, text: str) -> List[str]:
        with (self.stack.folder / f"{name}.log").open("rb") as log:
            log.seek(mark)
            return [line for line in log.read().decode("utf-8", "replace").splitlines() if text in line]

    def await_line(self, name: str, mark: int, *texts: str) -> str:
        """The first line since `mark` that has all these texts."""
        def found() -> str:
            return next((line for line in self.lines(name, mark, texts[0]) if all(t in line for t in texts)), "")
        return wait_until(found, f"{name} logs {texts!r}", 60.0)

    # --- the end

    def compare(self) -> None:
        """Every row of SELECT on every replica, after all have caught up."""
        with self.stack.session() as sql:
            self.stack.catch_up(sql)
            for name in TABLES:
                table = expected_rows.describe(sql, name)
                for index in range(self.REPLICAS):
                    with self.stack.to_replica(index) as connection:
                        expected_rows.compare(sql, connection, table)

    def start_load(self) -> "Load":
        load = Load(self)
        self.addCleanup(load.stop)
        return load

    def finish(self, load: "Load") -> None:
        """All is well again: the load ends, and everything is as it must be."""
        self.await_all_ready()
        load.advance("reads", "commands", "changes", "own_writes")
        load.stop()
        load.check()
        self.compare()


class Load:
    PAUSE_SECONDS = 0.005

    def __init__(self, case: FaultsCase):
        self._case = case
        self._stack = case.stack
        self._stopping = threading.Event()
        self._errors: List[BaseException] = []
        self._lock = threading.Lock()
        self._outcomes: Dict[str, str] = {}  # by token: done, refused, unknown
        self.counts: Dict[str, int] = {name: 0 for name in (
            "changes", "commands", "refused", "unknown", "late", "reads", "unread", "own_writes", "lost")}
        self.reads_of = [0] * case.REPLICAS
        works: List[Callable[[], None]] = [self._change, self._command, self._command, self._command]
        works += [lambda index=index: self._read(index) for index in range(case.REPLICAS)]
        self._threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works]
        for thread in self._threads:
            thread.start()
        self.advance("reads", "commands", "changes", "own_writes")

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(150)
            if thread.is_alive():
                raise AssertionError("a thread of the load does not end")
        if self._errors:
            raise self._errors[0]

    def advance(self, *names: str, by: int = 10, seconds: float = 60.0) -> None:
        """Until there are so many more of each."""
        before = dict(self.counts)

        def done() -> bool:
            if self._errors:
                raise self._errors[0]
            return all(self.counts[name] >= before[name] + by for name in names)
        wait_until(done, f"the load has {by} more of each of {names}; it is at {self.counts}", seconds)

    def advance_reads(self, index: int, by: int = 20) -> None:
        """Until this replica has answered so many more reads."""
        before = self.reads_of[index]
        wait_until(lambda: self._errors or self.reads_of[index] >= before + by, f"replica {index} answers on")
        if self._errors:
            raise self._errors[0]

    def check(self) -> None:
        """After stop(): each command is in the table as often as its answer says."""
        with self._stack.session() as sql:
            found = {token: int(count) for token, count in
                     sql.query("SELECT token, COUNT(*) FROM facts GROUP BY token")}
        allowed = {"done": (1,), "refused": (0,), "unknown": (0, 1)}
        for token, outcome in self._outcomes.items():
            count = found.get(token, 0)
            if count not in allowed[outcome]:
                raise AssertionError(f"the command {token} is {outcome}, and is {count} times in the table")

    # --- the threads

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised in the test's thread
            self._errors.append(error)

    def _count(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1

    def _pause(self) -> None:
        self._stopping.wait(self.PAUSE_SECONDS)

    def _change(self) -> None:
        session = None
        while not self._stopping.is_set():
            a, b = sorted(random.sample(range(1, ACCOUNTS + 1), 2))
            amount = random.randrange(-500, 501)
            try:
                session = session or self._stack.session()
                session.transaction([f"UPDATE accounts SET balance = balance - {amount} WHERE id = {a}",
                                     f"UPDATE accounts SET balance = balance + {amount} WHERE id = {b}"])
                self._count("changes")
            except SqlError:
                # The database is away, or has thrown it out. What became of the transaction does not matter: all or nothing.
                if session:
                    session.close()
                session = None
            self._pause()
        if session:
            session.close()

    def _command(self) -> None:
        writer = self._stack.to_writer()
        while not self._stopping.is_set():
            token = f"{next(_TOKENS)}"
            try:
                response = writer.request("POST", "/v1/facts", {"token": token})
            except ConnectionLost:
                self._outcomes[token] = "unknown"
                self._count("lost")
                self._pause()
                continue
            document = response.json()
            if response.status in (200, 201):
                self._outcomes[token] = "done"
                self._count("commands")
                if document["version"] is None:
                    self._count("late")
                else:
                    self._read_own(document["key"], token, int(document["version"]))
            elif response.status == 504 and document["type"].endswith("outcome-unknown"):
                self._outcomes[token] = "unknown"
                self._count("unknown")
            elif response.status == 503:
                self._outcomes[token] = "refused"
                self._count("refused")
            else:
                raise AssertionError(f"a command is answered {response}")
            self._pause()
        writer.close()

    def _read_own(self, key, token: str, version: int) -> None:
        index = random.randrange(self._case.REPLICAS)
        with self._stack.to_replica(index) as replica:
            try:
                response = replica.request("GET", f"/v1/facts/{key}?minVersion={version}&wait=2s")
            except ConnectionLost:
                return self._count("unread")
        if response.status == 503:
            return self._count("unread")
        if response.status != 200 or response.version < version or response.json()["token"] != token:
            raise AssertionError(f"version {version} wrote {token} as {key}, replica {index} answers {response}")
        self._count("own_writes")

    def _read(self, index: int) -> None:
        target = f"/v1/accounts?fields=balance&keys={','.join(str(i) for i in range(1, ACCOUNTS + 1))}"
        replica = self._stack.to_replica(index)
        version = 0
        while not self._stopping.is_set():
            if not replica.is_open:
                version = 0
            try:
                response = replica.request("GET", target)
            except ConnectionLost:
                self._count("unread")
                self._pause()
                continue
            if response.version is not None and response.version < version:
                raise AssertionError(f"replica {index} went back from version {version}: {response}")
            version = response.version or version
            if response.status == 200:
                total = sum(int(row["balance"]) for row in response.json()["data"])
                if total != ACCOUNTS * BALANCE:
                    raise AssertionError(f"replica {index} shows money that is not there: {total}: {response}")
                self._count("reads")
                self.reads_of[index] += 1
            elif response.status == 503:
                self._count("unread")
            else:
                raise AssertionError(f"replica {index} answers {response}")
            self._pause()
        replica.close()


class SmallDisk:
    """A tmpfs of its own, in a mount namespace of the test process: gone with it, whatever happens."""

    _is_private = False

    def __init__(self, folder: Path, size: str):
        SmallDisk.become_private()
        self.path = folder
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "ringside-test", str(folder)], check=True)

    @classmethod
    def become_private(cls) -> None:
        """This process and its later children see mounts that nobody else does."""
        if cls._is_private:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0:
            raise OSError(ctypes.get_errno(), "a mount namespace of its own")
        cls._is_private = True

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)

    def used(self) -> int:
        room = os.statvfs(self.path)
        return (room.f_blocks - room.f_bfree) * room.f_frsize

    def fill(self) -> Path:
        """Takes all the room that is left, until the file is removed."""
        path = self.path / "filler"
        with path.open("wb", buffering=0) as out:
            for block in (b"x" * (1 << 20), b"x" * 4096):
                try:
                    while out.write(block) == len(block):
                        pass
                except OSError:
                    pass  # full: that is what is wanted
        return path

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)


def cpu_seconds(process: Process) -> float:
    """The processor time that it has taken so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


__all__ = ["ACCOUNTS", "FAST", "FaultsCase", "Load", "NEEDS_ROOT", "SmallDisk", "cpu_seconds"]
