"""The limits of the machine: descriptors that run out in the writer and in a replica, and io_uring that is refused. Nothing
spins, nothing open is dropped, nothing is thrown away for it; it is said once, and is over when it is over."""

import errno
import os
import resource
import socket
import subprocess
import sys
import time
import unittest
from pathlib import Path
from typing import List

from faults import FAST, NEEDS_ROOT, FaultsCase, SmallDisk, cpu_seconds
from harness import ROOT, Process, StackCase, metric, wait_until

BODY_BYTES = 100_000
IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER = 425, 426, 427
CANNOT_ACCEPT = "connections cannot be accepted for now; those that are open are served"


def descriptors(process: Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def limit(process: Process, files: int) -> None:
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (files, hard))


class Descriptors(FaultsCase):
    SETTINGS = FAST + ("[ring]\nmax_size = \"256MiB\"\nsegment_size = \"256KiB\"\nchunk_size = \"1MiB\"\n"
                       "max_record_size = \"1MiB\"\n")

    def setUp(self) -> None:
        self.idle: List[socket.socket] = []
        self.addCleanup(self.let_go)

    def let_go(self) -> None:
        for each in self.idle:
            each.close()
        self.idle.clear()

    def connect(self, address, count: int) -> None:
        """Connections that ask nothing; the kernel accepts them into the backlog, whatever the program does."""
        for _ in range(count):
            peer = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            peer.connect(address)
            self.idle.append(peer)

    def does_not_spin(self, process: Process) -> None:
        before, began = cpu_seconds(process), time.monotonic()
        time.sleep(1)  # the time over which is measured
        self.assertLess(cpu_seconds(process) - before, 0.5 * (time.monotonic() - began))

    def written(self, sql) -> int:
        """The version of the last transaction, as the writer shows it (the other replica has it then)."""
        self.stack.replicas, replicas = {1: self.stack.replicas[1]}, self.stack.replicas
        try:
            return self.stack.catch_up(sql)
        finally:
            self.stack.replicas = replicas

    def grow(self, sql, n: int) -> None:
        """More than a chunk of the ring."""
        sql.execute(f"UPDATE items SET n = {n}, body = REPEAT('x', {BODY_BYTES}) WHERE id <= 30")

    def test_replica(self):
        # io_uring's accept keeps the limit of the moment at which it was armed: the replica has to start with it.
        own = descriptors(self.stack.replicas[0])
        self.stack.replicas[0].kill()
        replica, mark, other = self.start_with(0, own + 6), self.mark("replica0"), self.mark("replica1")
        with self.stack.to_replica(0) as served, self.stack.to_admin(0) as admin, self.stack.session() as sql:
            self.assertEqual(served.request("GET", "/v1/items/1").status, 200)
            self.assertEqual(admin.request("GET", "/readyz").status, 200)
            self.connect(str(self.stack.folder / "replica.0.sock"), 30)
            line = self.await_line("replica0", mark, CANNOT_ACCEPT)
            for text in ("Too many open files", "LimitNOFILE"):
                self.assertIn(text, line)
            self.does_not_spin(replica)
            # What is open is served, and the ring is followed into chunks that want a descriptor each to be mapped.
            for n in range(1, 6):
                self.grow(sql, n)
                version = self.written(sql)
                response = served.request("GET", f"/v1/items/30?fields=n&minVersion={version}&wait=10s")
                self.assertEqual((response.status, response.json()["n"]), (200, n), response)
            self.assertEqual(admin.request("GET", "/readyz").status, 200)
            for name in ("ringside_replica_corruptions_total", "ringside_replica_evictions_total"):
                self.assertEqual(metric(admin, name), 0)
            self.assertEqual(metric(admin, "ringside_replica_joins_total"), 1)
            # Over when the others hang up; the next one is served.
            self.let_go()
            with self.stack.to_replica(0) as late:
                self.assertEqual(late.request("GET", "/v1/items/1").status, 200)
            self.assertEqual(len(self.lines("replica0", mark, CANNOT_ACCEPT)), 1)
        self.assertEqual(self.lines("replica1", other, " "), [])
        self.compare()
        replica.kill()
        self.stack.start_replica(0)

    def start_with(self, index: int, files: int) -> Process:
        """This replica with so many descriptors, ready."""
        process = self.stack._spawn(f"replica{index}", [
            "prlimit", f"--nofile={files}:{files}", os.environ["RINGSIDE_REPLICA"], "--config", str(self.stack.config),
            "--index", str(index)])
        self.stack.replicas[index] = process
        self.stack.await_ready(process, self.stack.admin_port + index)
        return process

    def test_replica_started_with_few(self):
        """Fewer than replica.max_connections: lowered with a warning, and one more is told so."""
        mark = self.mark("replica1")
        self.stack.replicas[1].kill()
        self.start_with(1, 64)
        self.await_line("replica1", mark, "replica.max_connections is more than the open files allowed", "used=32")
        self.connect(str(self.stack.folder / "replica.1.sock"), 32)

        def told() -> bool:
            with self.stack.to_replica(1) as late:
                return late.request("GET", "/v1/items/1").status == 503
        wait_until(told, "one more is told that it is one too many")
        self.assertEqual(self.lines("replica1", mark, CANNOT_ACCEPT), [])
        self.let_go()
        self.compare()

    def test_writer(self):
        writer, mark, replica = self.stack.writer, self.mark("writer"), self.mark("replica1")
        epoch = self.stack.epoch()
        with self.stack.to_writer() as served, self.stack.session() as sql:
            self.assertEqual(served.request("GET", "/readyz").status, 200)
            limit(writer, descriptors(writer) + 4)
            self.connect(("127.0.0.1", self.stack.writer_port), 30)
            line = self.await_line("writer", mark, CANNOT_ACCEPT)
            for text in ("Too many open files", "LimitNOFILE"):
                self.assertIn(text, line)
            self.does_not_spin(writer)
            document = self.expect(served.request("POST", "/v1/facts", {"token": "few"}), 201).json()
            self.assertIsNotNone(document["version"])

            # The ring cannot grow either: a pause, as if it was full, and no epoch is thrown away for it.
            for n in range(10, 15):
                self.grow(sql, n)
            reason = wait_until(lambda: served.request("GET", "/readyz").json().get("detail", ""), "the writer says so")
            self.assertIn("capture is full: cannot", reason)
            self.assertIn("Too many open files; raise the limit of open files (LimitNOFILE=)", reason)
            self.await_replicas("capture is full, the writer is alive")
            self.let_go()
            self.await_line("writer", mark, "the ring has room again")
            self.await_all_ready()

            # With all sessions and the stream lost at the very moment when none can be made.
            limit(writer, descriptors(writer))
            self.connect(("127.0.0.1", self.stack.writer_port), 30)
            for (thread,) in sql.query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'ringside'"):
                sql.execute(f"KILL {thread}")
            self.connect(("127.0.0.1", self.stack.writer_port), 30)
            self.does_not_spin(writer)
            for index in range(self.REPLICAS):
                with self.stack.to_replica(index) as connection:
                    self.expect(connection.request("GET", "/v1/items/1?fields=n"), 200)
            limit(writer, 20000)
        self.let_go()
        self.await_all_ready()
        self.assertEqual(self.stack.epoch(), epoch)
        self.assertEqual(self.lines("replica1", replica, " "), [])
        self.compare()


class IoUringIsRefused(StackCase):
    """The programs alone: no ring is needed to be refused."""

    REPLICAS = 1

    @classmethod
    def prepare(cls) -> None:
        pass

    def refused(self, call: int, error: int) -> str:
        done = subprocess.run([sys.executable, str(ROOT / "tests" / "e2e" / "forbid_call.py"), str(call), str(error),
                               os.environ["RINGSIDE_REPLICA"], "--config", str(self.stack.config)],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1, done)
        last = done.stderr.strip().splitlines()[-1]
        self.assertIn("ringside-replica cannot go on", last)
        self.assertIn("io_uring is refused", last)
        return last

    def test_by_a_seccomp_rule(self):
        for call, name in ((IO_URING_SETUP, "io_uring_setup"), (IO_URING_ENTER, "io_uring_enter"),
                           (IO_URING_REGISTER, "registering receive buffers")):
            with self.subTest(call=name):
                said = self.refused(call, errno.EPERM)
                for text in (f"({name}: Operation not permitted)", "seccomp", "io_uring_setup, io_uring_enter and io_uring_register"):
                    self.assertIn(text, said)

    def test_by_a_kernel_without_it(self):
        self.assertIn("Linux 6.1 or newer is needed", self.refused(IO_URING_SETUP, errno.ENOSYS))
        self.assertIn("LimitMEMLOCK", self.refused(IO_URING_SETUP, errno.ENOMEM))

    @NEEDS_ROOT
    def test_by_the_sysctl(self):
        setting = Path("/proc/sys/kernel/io_uring_disabled")
        if not setting.exists():
            self.skipTest("SKIPPED: this kernel has no kernel.io_uring_disabled")
        for value, texts in (("2", ("sysctl -w kernel.io_uring_disabled=0",)), ("1", ("kernel.io_uring_group",))):
            shown = self.stack.folder / "io_uring_disabled"
            shown.write_text(value + "\n", encoding="ascii")
            # This process and its children see another value; the machine's own stays as it is.
            SmallDisk.become_private()
            subprocess.run(["mount", "--bind", str(shown), str(setting)], check=True)
            try:
                said = self.refused(IO_URING_SETUP, errno.EPERM)
            finally:
                subprocess.run(["umount", str(setting)], check=True)
            for text in (f"kernel.io_uring_disabled is {value}", *texts):
                self.assertIn(text, said)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
