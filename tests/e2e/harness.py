"""What the end-to-end tests stand on: a private MariaDB or MySQL, the real programs, clients, and waiting for conditions.

Everything lives in one temporary folder and one ring of its own and is gone afterwards; children die with the test
process. The programs' paths come from the environment (RINGSIDE_WRITER, RINGSIDE_REPLICA), set by CMake.

Threads: start and stop processes in the main thread only (a child's death signal is tied to the thread that made it);
sessions and connections have one user each.
"""

import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Callable, Dict, List, Optional, TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "demo"))

from free_ports import choose  # noqa: E402
from http_keepalive import Connection, ConnectionLost, Number, Response, wait_ready  # noqa: E402
from mariadb_pipe import Session, SqlError  # noqa: E402

START_SECONDS = 60.0
CAUGHT_UP_SECONDS = 30.0
POLL_SECONDS = 0.005
LOG_TAIL = 40
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, seconds: float = CAUGHT_UP_SECONDS) -> T:
    """Asks until the condition holds and returns what it returned; fails naming `what` when it never does."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"within {seconds:g} s not: {what}")
        time.sleep(POLL_SECONDS)


def parse(body: bytes):
    """JSON with every number as its own digits, so that no digit is lost in the comparison."""
    return json.loads(body, parse_int=Number, parse_float=Number)


def metric(connection: Connection, name: str, **labels: str) -> float:
    """The sample of that name whose labels include these; 0 when there is none."""
    for line in connection.request("GET", "/metrics").body.decode("utf-8").splitlines():
        named = line.startswith(name + "{") or line.startswith(name + " ")
        if named and all(f'{label}="{value}"' in line for label, value in labels.items()):
            return float(line.rpartition(" ")[2])
    return 0.0


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One program of ours, its output in a file."""

    def __init__(self, name: str, command: List[str], log: Path):
        self.name = name
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                             start_new_session=True, preexec_fn=_die_with_parent)

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """As kill -9, at once, wherever it is."""
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def terminate(self, seconds: float = 30.0) -> int:
        """As SIGTERM; the exit code. A program that does not end in time is killed, and that is a failure."""
        self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float = 30.0) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {seconds:g} s") from error

    def tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {self.name}| {line}" for line in lines[-LOG_TAIL:])


class DatabaseServer:
    """A private database server with the settings that capture needs; `extra` options win. See its two kinds."""

    NAME = ""
    VERSION_SQL = ""  # the version of the newest transaction

    def __init__(self, folder: Path, extra: Optional[List[str]] = None):
        self._folder = folder
        self._data = folder / "mysql"
        self.socket = str(folder / f"{self.NAME}.sock")
        self._extra = extra or []
        self.prefix: List[str] = []  # what stands before its command, from the next start on
        self._make_data()
        self.process: Process = self._spawn()
        self._await()

    def _make_data(self) -> None:
        raise NotImplementedError

    def _command(self) -> List[str]:
        raise NotImplementedError

    def _spawn(self) -> Process:
        return Process(self.NAME, [*self.prefix, *self._command(), *self._extra], self._folder / f"{self.NAME}.log")

    def _await(self) -> None:
        def answers() -> bool:
            if not self.process.running():
                raise AssertionError(f"{self.NAME} did not start:\n" + self.process.tail())
            return subprocess.run(["mariadb", *self.arguments(first="--no-defaults"), "-e", "SELECT 1"],
                                  capture_output=True, check=False).returncode == 0
        wait_until(answers, f"{self.NAME} answers", START_SECONDS)

    def options(self, more: List[str]) -> None:
        """From the next start on; they win over those before."""
        self._extra = self._extra + more

    def restart(self, crash: bool = False) -> None:
        self.stop(crash)
        self.start()

    def stop(self, crash: bool = False) -> None:
        if crash:
            self.process.kill()
        else:
            self.process.terminate(60.0)

    def start(self) -> None:
        self.process = self._spawn()
        self._await()

    def arguments(self, user: str = "root", first: str = "") -> List[str]:
        return ([first] if first else []) + [f"--socket={self.socket}", f"--user={user}"]

    def session(self, database: Optional[str] = None) -> Session:
        session = Session(self.arguments(), database)
        try:
            session.execute("SET time_zone='+00:00'")
        except SqlError:
            session.close()
            raise
        return session

    def version(self, session: Session) -> int:
        """Of the newest transaction that is committed."""
        return int(session.value(self.VERSION_SQL))

    def create_ringside_user(self, database: str, password: str) -> None:
        """With no more than docs/operating.md says it needs. `password`: already escaped for SQL."""
        raise NotImplementedError

    # --- what the two say differently

    PRIVILEGES = ""        # on the database that is mirrored
    POSITION_SQL = ""      # all that is committed, as a minGtid
    RESET_BINLOG_SQL = ""  # a history from its beginning

    def position(self, session: Session) -> str:
        return session.value(self.POSITION_SQL).replace("\n", "")

    @staticmethod
    def numbers(count: int) -> str:
        """A table of them, from 1 on, in the column seq."""
        raise NotImplementedError

    @staticmethod
    def set_password(session: Session, password: str) -> None:
        """Ringside's. `password`: already escaped for SQL."""
        raise NotImplementedError

    def become_another(self) -> None:
        """From the next start on another server has these data."""
        raise NotImplementedError

    @staticmethod
    def threads(session: Session, which: str) -> List[int]:
        """Of sessions on the server: `which` is a condition on information_schema.PROCESSLIST."""
        return [int(row[0]) for row in
                session.query(f"SELECT ID FROM information_schema.PROCESSLIST WHERE {which} ORDER BY ID")]

    def kill_stream(self, session: Session) -> None:
        """The newest connection that reads the binlog."""
        threads = wait_until(lambda: self.threads(session, "COMMAND LIKE 'Binlog%'"), "the stream is there")
        session.execute(f"KILL {threads[-1]}")


class Database(DatabaseServer):
    """MariaDB, Debian's."""

    NAME = "mariadbd"
    VERSION_SQL = "SELECT COALESCE(NULLIF(SUBSTRING_INDEX(@@gtid_binlog_pos, '-', -1), ''), 0)"
    PRIVILEGES = "SELECT, INSERT, UPDATE, DELETE"
    POSITION_SQL = "SELECT @@GLOBAL.gtid_binlog_pos"
    RESET_BINLOG_SQL = "RESET MASTER"

    def _make_data(self) -> None:
        self._user = ["--user=root"] if os.geteuid() == 0 else []
        done = subprocess.run(
            ["mariadb-install-db", "--no-defaults", *self._user, f"--datadir={self._data}", f"--tmpdir={self._folder}",
             "--skip-test-db", "--skip-name-resolve", "--force", "--auth-root-authentication-method=normal"],
            capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise AssertionError(f"mariadb-install-db: {done.stdout}{done.stderr}")

    def _command(self) -> List[str]:
        return [
            "mariadbd", "--no-defaults", *self._user, f"--datadir={self._data}", f"--socket={self.socket}",
            f"--tmpdir={self._folder}",  # /tmp may be shared with a server of the same process id in another namespace
            "--skip-networking", "--skip-name-resolve", "--server-id=1", "--log-bin=binlog", "--binlog-format=ROW",
            "--binlog-row-image=FULL", "--binlog-row-metadata=FULL", "--gtid-strict-mode=ON", "--log-slave-updates=ON",
            "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1", "--innodb-log-file-size=32M",
            "--innodb-buffer-pool-size=128M", "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci", "--max-allowed-packet=64M"]

    def create_ringside_user(self, database: str, password: str) -> None:
        with self.session() as session:
            session.execute(f"""
                CREATE USER 'ringside'@'localhost' IDENTIFIED BY '{password}';
                GRANT REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR ON *.* TO 'ringside'@'localhost';
                GRANT {self.PRIVILEGES} ON `{database}`.* TO 'ringside'@'localhost';
                GRANT ALL ON `ringside`.* TO 'ringside'@'localhost'""")

    @staticmethod
    def numbers(count: int) -> str:
        return f"seq_1_to_{count}"

    @staticmethod
    def set_password(session: Session, password: str) -> None:
        session.execute(f"SET PASSWORD FOR 'ringside'@'localhost' = PASSWORD('{password}')")

    def become_another(self) -> None:
        self.options(["--server-id=2"])


class MysqlDatabase(DatabaseServer):
    """MySQL 9.7, as tools/fetch_mysql has unpacked it. Where it has not, every test that needs it is skipped, loudly."""

    NAME = "mysqld"
    # A set's size: the sum of its intervals' lengths.
    VERSION_SQL = """
        SELECT COALESCE(SUM(SUBSTRING_INDEX(part, '-', -1) - SUBSTRING_INDEX(part, '-', 1) + 1), 0) FROM JSON_TABLE(
          CONCAT('["', REPLACE(REPLACE(REPLACE(@@GLOBAL.gtid_executed, '\n', ''), ',', '","'), ':', '","'), '"]'),
          '$[*]' COLUMNS(part VARCHAR(80) PATH '$')) AS parts WHERE part REGEXP '^ *[0-9]+(-[0-9]+)?$'"""
    PRIVILEGES = "SELECT, LOCK TABLES, INSERT, UPDATE, DELETE"
    POSITION_SQL = "SELECT @@GLOBAL.gtid_executed"
    RESET_BINLOG_SQL = "RESET BINARY LOGS AND GTIDS"

    @staticmethod
    def root() -> Path:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return Path(os.environ.get("RINGSIDE_MYSQL_ROOT") or Path(cache) / "ringside" / "mysql-sid")

    def _make_data(self) -> None:
        if not (self.root() / "mysqld").exists():
            raise unittest.SkipTest(f"NOT TESTED ON MySQL: no server in {self.root()}; run tools/fetch_mysql")
        shutil.copytree(self.root() / "empty-data", self._data)

    def _command(self) -> List[str]:
        return [
            str(self.root() / "mysqld"), f"--datadir={self._data}", f"--socket={self.socket}",
            f"--pid-file={self._folder}/mysqld.pid", f"--tmpdir={self._folder}", "--skip-networking", "--server-id=1",
            "--log-bin=binlog", "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--binlog-row-image=FULL",
            "--binlog-row-metadata=FULL", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1",
            "--innodb-redo-log-capacity=64M", "--innodb-buffer-pool-size=128M", "--innodb-doublewrite=OFF",
            "--performance-schema=OFF", "--max-allowed-packet=64M", "--cte-max-recursion-depth=1000000",
            "--local-infile=ON"]

    def create_ringside_user(self, database: str, password: str) -> None:
        with self.session() as session:
            session.execute(f"""
                CREATE USER 'ringside'@'localhost' IDENTIFIED BY '{password}';
                GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'ringside'@'localhost';
                GRANT {self.PRIVILEGES} ON `{database}`.* TO 'ringside'@'localhost';
                GRANT ALL ON `ringside`.* TO 'ringside'@'localhost'""")

    @staticmethod
    def numbers(count: int) -> str:
        return (f"(WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < {count}) "
                "SELECT seq FROM n) AS numbers")

    @staticmethod
    def set_password(session: Session, password: str) -> None:
        session.execute(f"ALTER USER 'ringside'@'localhost' IDENTIFIED BY '{password}'")

    def become_another(self) -> None:
        """Its GTIDs have another UUID then."""
        self.options(["--server-id=2"])
        (self._data / "auto.cnf").unlink()


SERVERS = {"mariadb": Database, "mysql": MysqlDatabase}


class Stack:
    """A database, a writer and replicas, in a folder of their own."""

    DATABASE = "shop"
    PASSWORD = "e2e ' \" \\ secret"  # awkward on purpose: every quoting on the way must be right

    def __init__(self, replicas: int = 2, settings: str = "", database_options: Optional[List[str]] = None,
                 server: str = "mariadb"):
        """`settings`: more TOML, as whole tables' lines by name: "[writer]\\nsessions = 2". `server`: of SERVERS."""
        self.folder = Path(tempfile.mkdtemp(prefix="ringside-e2e-", dir="/tmp"))
        self.replica_count = replicas
        self.processes: List[Process] = []
        self.writer: Optional[Process] = None
        self.replicas: Dict[int, Process] = {}
        self.prefixes: Dict[str, List[str]] = {}  # what stands before a program's command, by "writer", "replica0" …
        self._ring_name = f"ringside-e2e-{os.getpid()}-{random.getrandbits(32):08x}"
        self.ring_path = Path("/dev/shm") / self._ring_name
        taken: set = set()
        # Below the range from which the kernel takes ports for outgoing connections.
        start = random.randrange(15000, 29000, 10)
        self.writer_port, self.data_port = choose(str(start), taken), choose(str(start + 1), taken)
        self.admin_port = choose(f"{start + 2}x{replicas}", taken)
        try:
            self.database: DatabaseServer = SERVERS[server](self.folder, database_options)
            with self.database.session() as session:
                session.execute(f"CREATE DATABASE `{self.DATABASE}` CHARACTER SET utf8mb4")
            self.database.create_ringside_user(self.DATABASE, self.PASSWORD.replace("\\", "\\\\").replace("'", "\\'"))
            self._write_settings(settings)
        except BaseException:
            self.close()
            raise

    def _write_settings(self, settings: str) -> None:
        password = self.folder / "password"
        password.write_text(self.PASSWORD + "\n", encoding="utf-8")
        password.chmod(0o600)
        tables: Dict[str, List[str]] = {
            "mysql": [f'socket = "{self.database.socket}"', 'user = "ringside"', f'password_file = "{password}"',
                      f'database = "{self.DATABASE}"'],
            "ring": [f'name = "{self._ring_name}"', 'max_size = "1GiB"'],
            "writer": [f'listen = "127.0.0.1:{self.writer_port}"', f'spill_directory = "{self.folder}"'],
            "replica": [f'listen = "127.0.0.1:{self.data_port}"', f"admin_port = {self.admin_port}",
                        f'unix_socket = "{self.folder}/replica.{{index}}.sock"'],
        }
        current = ""
        for line in settings.splitlines():
            line = line.strip()
            if line.startswith("["):
                current = line.strip("[]")
            elif line:
                key = line.partition("=")[0].strip()
                kept = [old for old in tables.setdefault(current, []) if old.partition("=")[0].strip() != key]
                tables[current] = kept + [line]
        text = "\n".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in tables.items())
        self.config = self.folder / "ringside.toml"
        self.config.write_text(text, encoding="utf-8")

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *_unused) -> None:
        self.close()

    def close(self) -> None:
        """Ends everything, by force: what a test has to say about orderly ends it checks itself."""
        for process in reversed(self.processes):
            if process.running():
                process.kill()
        database = getattr(self, "database", None)
        if database and database.process.running():
            database.process.kill()
        shutil.rmtree(self.ring_path, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def tails(self) -> str:
        return "\n".join(p.tail() for p in [*self.processes, self.database.process])

    def _spawn(self, name: str, command: List[str]) -> Process:
        process = Process(name, [*self.prefixes.get(name, []), *command], self.folder / f"{name}.log")
        self.processes = [p for p in self.processes if p.name != name or p.running()] + [process]
        return process

    def start_writer(self, ready: bool = True) -> Process:
        self.writer = self._spawn("writer", [os.environ["RINGSIDE_WRITER"], "--config", str(self.config)])
        if ready:
            self.await_ready(self.writer, self.writer_port)
        return self.writer

    def start_replica(self, index: int, ready: bool = True) -> Process:
        process = self._spawn(f"replica{index}", [os.environ["RINGSIDE_REPLICA"], "--config", str(self.config),
                                                  "--index", str(index)])
        self.replicas[index] = process
        if ready:
            self.await_ready(process, self.admin_port + index)
        return process

    def start(self) -> None:
        """Writer and replicas, ready."""
        self.start_writer()
        for index in range(self.replica_count):
            self.start_replica(index, ready=False)
        for index, process in self.replicas.items():
            self.await_ready(process, self.admin_port + index)

    def await_ready(self, process: Process, port: int) -> None:
        why = wait_ready(("127.0.0.1", port), "/readyz", START_SECONDS, process.running)
        if why:
            raise AssertionError(f"{process.name}: {why}\n{process.tail()}")

    def session(self) -> Session:
        return self.database.session(self.DATABASE)

    def to_writer(self) -> Connection:
        return Connection(("127.0.0.1", self.writer_port))

    def to_replica(self, index: int) -> Connection:
        """A connection to this very replica."""
        return Connection(str(self.folder / f"replica.{index}.sock"))

    def to_data_port(self) -> Connection:
        """A connection to whichever replica the kernel chooses."""
        return Connection(("127.0.0.1", self.data_port))

    def to_admin(self, index: int) -> Connection:
        return Connection(("127.0.0.1", self.admin_port + index))

    def await_version(self, version: int, seconds: float = CAUGHT_UP_SECONDS) -> None:
        """Until every running replica answers from `version` or later."""
        for index, process in self.replicas.items():
            if not process.running():
                continue
            with self.to_replica(index) as connection:
                def reached(connection=connection) -> bool:
                    try:
                        response = connection.request("GET", f"/version?minVersion={version}&wait=2s")
                    except ConnectionLost:
                        return False  # it listens only while it is ready
                    return response.status == 200 and response.version >= version
                wait_until(reached, f"replica {index} at version {version}", seconds)

    def epoch(self) -> str:
        """The ring's incarnation, as the writer tells it."""
        with self.to_writer() as connection:
            return connection.request("GET", "/status").json()["ring"]["epoch"]

    def catch_up(self, session: Session) -> int:
        """Until every replica has all that is committed now; the version."""
        version = self.database.version(session)
        self.await_version(version)
        return version


class StackCase(unittest.TestCase):
    """A test class with one Stack for all its tests. Prints the programs' last words when a test fails."""

    stack: Stack
    REPLICAS = 2
    SETTINGS = ""
    SERVER = "mariadb"
    DATABASE_OPTIONS: List[str] = []

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = Stack(cls.REPLICAS, cls.SETTINGS, cls.DATABASE_OPTIONS, cls.SERVER)
        cls.addClassCleanup(cls.stack.close)
        try:
            cls.prepare()
        except BaseException:
            print(cls.stack.tails(), file=sys.stderr)
            raise

    @classmethod
    def prepare(cls) -> None:
        """What all tests of the class stand on."""
        cls.stack.start()

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        done = super().run(result)
        if result and len(result.failures) + len(result.errors) > before:
            print(f"--- {self.id()}\n{self.stack.tails()}\n---", file=sys.stderr)
        return done

    def expect(self, response: Response, status: int, problem: Optional[str] = None) -> Response:
        """`problem`: what the problem document's type must end with."""
        self.assertEqual(response.status, status, response)
        if status >= 400:
            self.assertEqual(response.headers.get("content-type"), "application/problem+json", response)
            document = response.json()
            self.assertEqual(document.get("status"), status, response)
            self.assertTrue(document.get("title"), response)
            if problem:
                self.assertTrue(str(document.get("type", "")).endswith(problem), response)
        return response


__all__ = ["choose", "Connection", "ConnectionLost", "Database", "MysqlDatabase", "Number", "Process", "Response", "ROOT", "Session",
           "SqlError", "Stack", "StackCase", "metric", "parse", "wait_until"]
