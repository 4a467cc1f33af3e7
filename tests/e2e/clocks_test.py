"""Clocks that jump, and clocks that differ, with the real programs: the host's time of day is set by hours, forwards and
back; replicas and writer are in time namespaces, where CLOCK_MONOTONIC is not the host's.

Nobody is evicted or joins again, nothing is called stale that is fresh or fresh that is stale, waits take their
time, and no metric is negative or absurd.
"""

import email.utils
import math
import mmap
import os
import struct
import subprocess
import sys
import time
import unittest
from pathlib import Path
from typing import Dict, List

from faults import FaultsCase
from harness import metric, wait_until

HOUR = 3600
ABSURD = HOUR / 2  # seconds: no jump below is as small, and nothing here takes as long
NEVER = 1 << 60    # a version
IN_NAMESPACE = ["unshare", "--time", "--fork", "--kill-child"]
# Of these a large or negative value says nothing wrong.
TIMES_OF_DAY = ("process_start_time_seconds", "ringside_replica_commit_timestamp_seconds")
DIFFERENCES = ("ringside_writer_source_clock_offset_seconds",)


def in_time_namespace(seconds: int) -> List[str]:
    """What stands before a command so that its monotonic clocks are ahead by so much."""
    return [*IN_NAMESPACE, "--monotonic", str(seconds), "--boottime", str(seconds)]


def may_make_time_namespaces() -> bool:
    return subprocess.run([*in_time_namespace(100_000), "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


class ClocksCase(FaultsCase):
    SETTINGS = "[writer]\nheartbeat = \"200ms\"\nwatchdog = \"5s\"\nversion_wait = \"5s\"\n"

    def connections(self) -> Dict[str, object]:
        return {"writer": self.stack.to_writer,
                **{f"replica{i}": lambda i=i: self.stack.to_admin(i) for i in range(self.REPLICAS)}}

    def check_metrics(self) -> None:
        """No duration, age or time that cannot be."""
        for name, connect in self.connections().items():
            with connect() as connection:
                lines = connection.request("GET", "/metrics").body.decode("utf-8").splitlines()
            samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
            self.assertGreater(len(samples), 50)
            for series, _, text in samples:
                metric_name, value = series.partition("{")[0], float(text)
                if metric_name in TIMES_OF_DAY or metric_name in DIFFERENCES or math.isnan(value):
                    continue
                self.assertGreaterEqual(value, 0, f"{name}: {series}")
                if metric_name.endswith(("_seconds", "_seconds_sum", "_seconds_total")):
                    self.assertLess(value, ABSURD, f"{name}: {series}")

    def check_calm(self) -> None:
        """Ready without having to wait for it; nobody evicted, joined again or connected again."""
        self.assertEqual(self.writer_reason(), "")
        with self.stack.to_writer() as writer:
            wait_until(lambda: metric(writer, "ringside_writer_ring_readers") == self.REPLICAS, "it knows its readers")
            self.assertEqual(metric(writer, "ringside_writer_readers_evicted_total"), 0)
        for index in range(self.REPLICAS):
            self.assertEqual(self.replica_reason(index), "")
            status = self.replica_status(index)
            self.assertEqual([status[name] for name in ("joins", "evictions", "corruptions", "stale")], [1, 0, 0, False])
            self.assertLess(status["uptime_seconds"], ABSURD)
        self.check_metrics()

    def commit(self) -> int:
        """A transaction that every replica shows; its version."""
        with self.stack.session() as sql:
            sql.execute("UPDATE items SET n = n + 1 WHERE id = 1")
            return self.stack.catch_up(sql)

    def check_waits(self) -> None:
        for index in range(self.REPLICAS):
            with self.stack.to_replica(index) as replica:
                answer = replica.request("GET", f"/version?minVersion={NEVER}&wait=200ms")
            self.expect(answer, 503, "version-not-reached")
            self.assertGreaterEqual(answer.seconds, 0.2)

    def durations(self, index: int, name: str) -> List[float]:
        with self.stack.to_admin(index) as admin:
            return [metric(admin, f"ringside_replica_{name}_seconds_{part}") for part in ("count", "sum")]


@unittest.skipUnless(may_make_time_namespaces(), "SKIPPED: the kernel or missing rights refuse a time namespace")
class TimeNamespaces(ClocksCase):
    """Replica 0 as the writer, replica 1 far ahead of it, replica 2 behind it."""

    REPLICAS = 3
    SETTINGS = ClocksCase.SETTINGS + "[replica]\nmax_staleness = \"3s\"\n"

    @classmethod
    def prepare(cls) -> None:
        back = int(time.monotonic()) // 2  # no clock may become negative
        cls.stack.prefixes = {"replica1": in_time_namespace(100_000), "replica2": in_time_namespace(-back)}
        super().prepare()

    def test_1_all_are_as_fresh_as_any(self):
        load = self.start_load()
        self.finish(load)
        self.check_calm()
        self.check_waits()
        for index in range(self.REPLICAS):
            count, taken = self.durations(index, "received_to_visible")
            self.assertGreater(count, 10)
            self.assertGreater(taken, 0)
            with self.stack.to_admin(index) as admin:
                self.assertLess(abs(metric(admin, "process_start_time_seconds") - time.time()), ABSURD)

    def test_2_a_writer_that_is_gone_shows_in_each_and_the_next_may_be_in_a_namespace(self):
        assert self.stack.writer
        self.stack.writer.kill()
        self.await_replicas("the writer is gone")
        for index in range(self.REPLICAS):
            self.assertGreater(float(self.replica_status(index)["source"]["lag_seconds"]), 3)
        self.stack.prefixes["writer"] = in_time_namespace(1_000_000)
        self.stack.start_writer()
        self.await_all_ready()
        self.commit()
        self.check_calm()
        self.compare()


class TimeOfDay(ClocksCase):
    """The time of day of this host (writer and replicas), and of the database's, as a test sets them."""

    @classmethod
    def prepare(cls) -> None:
        cls.create_tables()
        cls.here, cls.there = cls.clock("here"), cls.clock("there")
        of = {name: ["env", f"LD_PRELOAD={os.environ['RINGSIDE_SET_CLOCK_LIBRARY']}", f"RINGSIDE_SET_CLOCK={clock}"]
              for name, clock in (("here", cls.stack.folder / "here"), ("there", cls.stack.folder / "there"))}
        cls.stack.prefixes = {name: of["here"] for name in ("writer", "replica0", "replica1")}
        cls.stack.database.prefix = of["there"]
        cls.stack.database.restart()
        cls.stack.start()

    @classmethod
    def clock(cls, name: str) -> mmap.mmap:
        path: Path = cls.stack.folder / name
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), 8)

    @staticmethod
    def set_clock(clock: mmap.mmap, seconds: float) -> None:
        clock[:] = struct.pack("<q", int(seconds * 1e9))

    def tearDown(self) -> None:
        for clock in (self.here, self.there):
            self.set_clock(clock, 0)

    def dates(self) -> List[float]:
        """What the programs believe the time to be, less what it is."""
        found = []
        for connect in self.connections().values():
            with connect() as connection:
                date = connection.request("GET", "/healthz").headers["date"]
                found.append(email.utils.parsedate_to_datetime(date).timestamp() - time.time())
        return found

    def offset(self) -> float:
        with self.stack.to_writer() as writer:
            return metric(writer, "ringside_writer_source_clock_offset_seconds")

    def jump(self, here: float, there: float) -> None:
        """Sets the clocks, commits, and looks at what became of that."""
        before = [self.durations(index, "commit_to_visible") for index in range(self.REPLICAS)]
        self.set_clock(self.there, there)
        self.set_clock(self.here, here)
        for date in self.dates():
            self.assertLess(abs(date - here), ABSURD)
        self.check_calm()
        self.commit()
        self.check_calm()
        wait_until(lambda: abs(self.offset() - (there - here)) < ABSURD, "the writer tells how the two differ")
        for index, (count, taken) in enumerate(before):
            now_count, now_taken = self.durations(index, "commit_to_visible")
            self.assertGreater(now_count, count)
            self.assertTrue(0 <= now_taken - taken < ABSURD, f"replica {index}: {taken} to {now_taken}")

    def test_1_this_hosts_is_set_and_the_databases_is_not(self):
        self.commit()
        load = self.start_load()
        for hours in (3, -3, 50, -50, 0):
            self.jump(hours * HOUR, 0)
            load.advance("reads", "commands", "changes", "own_writes", by=3)
        self.check_waits()
        self.finish(load)

    def test_2_both_are_on_this_host(self):
        self.commit()
        mark = self.mark("writer")
        for hours in (3, -3, 0):
            self.jump(hours * HOUR, hours * HOUR)
            self.await_line("writer", mark, "this host's clock was set: the source's was measured again")
            mark = self.mark("writer")
        self.check_waits()
        self.compare()


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
