"""A real Prometheus scrapes a writer and two replicas under traffic, as deploy/prometheus has it configured: every metric of
docs/operating.md arrives from every program, with its type, the values are those of what was done, and the rules work."""

import json
import re
import shutil
import unittest
from typing import Dict, List, Optional, Set, Tuple
from urllib.parse import quote
from urllib.request import urlopen

from harness import ROOT, Process, StackCase, choose, wait_until

FOLDER = ROOT / "deploy" / "prometheus"
PROMETHEUS = ROOT / "build" / "tools" / "prometheus" / "usr" / "bin" / "prometheus"
REPLICAS = 2
READS, MISSES, TIMEOUTS = 40, 7, 3
ROW, ROWS = "/v1/{table}/{key}", "/v1/{table}"


def documented() -> Dict[str, str]:
    """Every metric of the reference with its type."""
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8").split("\n## Metrics")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|", text, re.MULTILINE))


class Prometheus:
    """Debian's server with the repository's example configuration, made to look at this stack twice a second."""

    def __init__(self, stack) -> None:
        if not PROMETHEUS.exists():
            raise AssertionError(f"{PROMETHEUS} is missing: run tools/fetch_packages prometheus")
        folder = stack.folder / "prometheus"
        folder.mkdir()
        shutil.copy(FOLDER / "ringside.rules.yml", folder)
        self.writer = f"127.0.0.1:{stack.writer_port}"
        self.replicas = [f"127.0.0.1:{stack.admin_port + index}" for index in range(REPLICAS)]
        text = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
        for old, new in (("['127.0.0.1:7070']", f"['{self.writer}']"),
                         ("['127.0.0.1:9100', '127.0.0.1:9101']", str(self.replicas)),
                         ("scrape_interval: 15s", "scrape_interval: 500ms"),
                         ("evaluation_interval: 15s", "evaluation_interval: 500ms")):
            if text.count(old) != 1:
                raise AssertionError(f"prometheus.yml does not have {old!r} once")
            text = text.replace(old, new)
        (folder / "prometheus.yml").write_text(text, encoding="utf-8")
        self.port = choose(str(stack.admin_port + 10), set())
        self.process = Process("prometheus", [
            str(PROMETHEUS), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"], stack.folder / "prometheus.log")
        stack.processes.append(self.process)
        wait_until(self.answers, "Prometheus answers", 60.0)

    def answers(self) -> bool:
        if not self.process.running():
            raise AssertionError("Prometheus did not start:\n" + self.process.tail())
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10) as response:
                return response.status == 200
        except OSError:
            return False

    def api(self, path: str):
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=60) as response:
            document = json.load(response)
        if document["status"] != "success":
            raise AssertionError(document)
        return document["data"]

    def query(self, expression: str) -> List[Tuple[Dict[str, str], float]]:
        return [(sample["metric"], float(sample["value"][1]))
                for sample in self.api(f"query?query={quote(expression)}")["result"]]

    def value(self, expression: str) -> Optional[float]:
        """The only sample; None when there is none."""
        samples = self.query(expression)
        if len(samples) > 1:
            raise AssertionError(f"{expression}: {samples}")
        return samples[0][1] if samples else None

    def await_value(self, expression: str, expected: float) -> None:
        seen: List[Optional[float]] = []

        def reached() -> bool:
            seen[:] = [self.value(expression)]
            return seen[0] == expected
        try:
            wait_until(reached, f"{expression} is {expected:g}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen[0]}") from error


class Scraped(StackCase):
    REPLICAS = REPLICAS
    SETTINGS = '[writer]\nsessions = 2\n'

    @classmethod
    def prepare(cls) -> None:
        with cls.stack.session() as sql:
            sql.execute("CREATE TABLE items (id INT NOT NULL PRIMARY KEY, n INT NOT NULL); "
                        "INSERT INTO items SELECT seq, 0 FROM seq_1_to_100; "
                        "CREATE TABLE logs (id INT NOT NULL PRIMARY KEY) ENGINE=MyISAM")
        cls.stack.start()
        cls.prometheus = Prometheus(cls.stack)
        cls.work()

    @classmethod
    def work(cls) -> None:
        """The traffic whose traces the tests look for."""
        with cls.stack.to_writer() as writer:
            for n in range(10):
                body = json.dumps({"n": n}).encode()
                writer.request("PATCH", "/v1/items/1", body=body, headers={"Content-Type": "application/json"})
            for key, body in (("7", b'{"n":"no number"}'), ("1", b'{"nothing":1}')):
                writer.request("PATCH", f"/v1/items/{key}", body=body, headers={"Content-Type": "application/json"})
            writer.request("GET", "/nowhere")
        with cls.stack.session() as sql:
            # Away with the stream: capture makes another one and goes on.
            thread = wait_until(lambda: sql.value("SELECT MAX(id) FROM information_schema.processlist WHERE command LIKE 'Binlog%'"),
                                "the stream is there")
            sql.execute(f"KILL {int(thread)}; UPDATE items SET n = n + 1 WHERE id = 2")
            cls.version = cls.stack.catch_up(sql)
        for index in range(REPLICAS):
            with cls.stack.to_replica(index) as replica:
                for key in range(READS):
                    assert replica.request("GET", f"/v1/items/{key + 1}").status == 200
                for key in range(MISSES):
                    assert replica.request("GET", f"/v1/items/{key + 1000}").status == 404
                assert replica.request("GET", "/v1/items?keys=1,2,1000").status == 200
                assert replica.request("GET", "/v1/logs/1").status == 503
                for _ in range(TIMEOUTS):
                    assert replica.request("GET", f"/v1/items/1?minVersion={cls.version + 1000}&wait=10ms").status == 503

    def test_1_every_metric_arrives_from_every_program(self):
        expected: Set[Tuple[str, str]] = set()
        types = documented()
        self.assertGreater(len(types), 80)
        for name, kind in types.items():
            for part in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",)):
                if not name.startswith("ringside_replica_"):
                    expected.add((name + part, self.prometheus.writer))
                if not name.startswith("ringside_writer_"):
                    expected |= {(name + part, replica) for replica in self.prometheus.replicas}

        def arrived() -> bool:
            samples = self.prometheus.query('count by (__name__, instance) ({job=~"ringside-.*", instance!=""})')
            self.seen = {(metric["__name__"], metric["instance"]) for metric, _ in samples}
            return expected <= self.seen
        try:
            wait_until(arrived, "every metric is there")
        except AssertionError as error:
            raise AssertionError(f"{error}: {sorted(expected - self.seen)}") from error
        ours = {seen for seen in self.seen if re.match("ringside_|process_", seen[0])}
        self.assertEqual(ours - expected, set(), "metrics that the reference does not have")
        metadata = self.prometheus.api("metadata")
        for name, kind in types.items():
            self.assertEqual({entry["type"] for entry in metadata[name]}, {kind}, name)
            self.assertTrue(all(entry["help"] for entry in metadata[name]), name)

    def test_2_reads_are_counted_by_route_and_status(self):
        p = self.prometheus
        for replica in p.replicas:
            of = f'instance="{replica}"'
            requests = f"ringside_replica_requests_total{{{of}"
            p.await_value(f'{requests},route="{ROW}",status="200"}}', READS)
            p.await_value(f'{requests},route="{ROW}",status="404"}}', MISSES)
            p.await_value(f'{requests},route="{ROW}",status="503"}}', TIMEOUTS + 1)
            p.await_value(f'{requests},route="{ROWS}",status="200"}}', 1)
            p.await_value(f"ringside_replica_wait_timeouts_total{{{of}}}", TIMEOUTS)
            durations = f'{{{of},route="{ROW}"}}'
            p.await_value(f"ringside_replica_request_duration_seconds_count{durations}", READS + MISSES + TIMEOUTS + 1)
            # Each of the waits took its 10 ms at least, and is in no bucket below.
            below = f'ringside_replica_request_duration_seconds_bucket{{{of},route="{ROW}",le="0.005"}}'
            self.assertLessEqual(p.value(below), READS + MISSES + 1)
            self.assertGreaterEqual(p.value(f"ringside_replica_request_duration_seconds_sum{durations}"), TIMEOUTS * 0.01)
            self.assertEqual(p.value(f'ringside_replica_table_rows{{{of},table="items"}}'), 100)
            self.assertEqual(p.value(f"ringside_replica_connections_limit{{{of}}}"), 10000)

    def test_3_versions_and_how_long_they_took(self):
        p = self.prometheus
        p.await_value(f'ringside_writer_version{{instance="{p.writer}"}}', self.version)
        self.assertEqual(p.value("ringside_writer_commit_time_resolution_seconds"), 1)
        self.assertGreater(p.value("ringside_writer_source_clock_error_seconds"), 0)
        for replica in p.replicas:
            of = f'{{instance="{replica}"}}'
            p.await_value(f"ringside_replica_applied_version{of}", self.version)
            p.await_value(f"ringside_replica_lag_transactions{of}", 0)
            # Ten commands and an UPDATE at least were seen by a replica that was there already.
            commits = p.value(f"ringside_replica_commit_to_visible_seconds_count{of}")
            self.assertGreaterEqual(commits, 11)
            self.assertEqual(p.value(f"ringside_replica_received_to_visible_seconds_count{of}"), commits)
            # The source's second is cut off, and received is after commit: the former can only be the longer one, but
            # for what the clocks were measured wrong by.
            longer = p.value(f"ringside_replica_commit_to_visible_seconds_sum{of}")
            self.assertGreaterEqual(longer + commits * (p.value("ringside_writer_source_clock_error_seconds") + 1e-6),
                                    p.value(f"ringside_replica_received_to_visible_seconds_sum{of}"))
            committed = p.value(f"ringside_replica_commit_timestamp_seconds{of}")
            self.assertGreaterEqual(committed, int(p.value(f"process_start_time_seconds{of}")))
            self.assertEqual(committed, int(committed), "MariaDB's seconds")
            self.assertGreater(p.value(f"ringside_replica_turn_duration_seconds_count{of}"), READS / 10)
            self.assertGreater(p.value(f"ringside_replica_loop_cpu_seconds_total{of}"), 0)
            self.assertGreaterEqual(p.value(f"process_cpu_seconds_total{of}") + 0.03,
                                    p.value(f"ringside_replica_loop_cpu_seconds_total{of} offset 1s") or 0)

    def test_4_the_writer_tells_of_commands_capture_and_ring(self):
        p = self.prometheus
        p.await_value('ringside_writer_commands_total{table="items",operation="patch",result="ok"}', 10)
        p.await_value('sum(ringside_writer_commands_total{table="items",operation="patch",result="refused"})', 2)
        p.await_value('ringside_writer_requests_refused_total{status="404"}', 1)
        p.await_value("sum(ringside_writer_reconnects_total)", 1)
        p.await_value('ringside_writer_capture_state{state="streaming"}', 1)
        p.await_value("sum(ringside_writer_capture_state)", 1)
        p.await_value("ringside_writer_ring_readers", REPLICAS)
        for reader in range(REPLICAS):
            p.await_value(f'ringside_writer_reader_lag_bytes{{reader="{reader}"}}', 0)
            self.assertEqual(p.value(f'ringside_writer_reader_position_bytes{{reader="{reader}"}}'),
                             p.value("ringside_writer_ring_position_bytes"))
        live, used, allocated, limit = (p.value(f"ringside_writer_ring_{kind}_bytes")
                                        for kind in ("live", "used", "allocated", "limit"))
        self.assertTrue(0 < live < used <= allocated <= limit == 1 << 30, (live, used, allocated, limit))
        # Beside the rows, what was last said of each table is live.
        events = live - p.value("sum(ringside_writer_table_bytes)")
        self.assertTrue(0 < events < 4096, events)
        (labels, value), = p.query("ringside_writer_table_quarantined")
        self.assertEqual((labels["table"], value), ("logs", 1))
        self.assertIn("MyISAM", labels["reason"])
        self.assertEqual(p.value("count(count by (version, commit) (ringside_build_info))"), 1)

    def test_5_the_rules_work(self):
        p = self.prometheus

        def evaluated() -> bool:
            self.groups = p.api("rules")["groups"]
            return all(rule["health"] == "ok" for group in self.groups for rule in group["rules"])
        wait_until(evaluated, "every rule has been evaluated without an error")
        rules = [rule for group in self.groups for rule in group["rules"]]
        self.assertGreater(len(rules), 30)
        for rule in rules:
            self.assertFalse(rule.get("lastError"), rule)
        recorded = [f'instance_route:ringside_replica_requests:rate5m{{route="{ROW}"}}', "instance:ringside_writer_capture_events:rate5m",
                    "instance:ringside_replica_loop_cpu:ratio_rate5m", "instance:ringside_writer_commands:rate5m"]
        for series in recorded:
            wait_until(lambda series=series: p.query(series), series)
        # The table stays refused, but not for five minutes yet.
        states = {alert["name"]: alert["state"] for group in p.api("rules")["groups"] for alert in group["rules"]
                  if alert["type"] == "alerting"}
        self.assertEqual(states["RingsideTableQuarantined"], "pending")
        quiet = ("RingsideWriterDown", "RingsideReplicaDown", "RingsideNoReplicaReady", "RingsideReplicaNotReady",
                 "RingsideCaptureNotStreaming", "RingsideRingFull", "RingsideRingNearlyFull", "RingsideReplicaEvicted",
                 "RingsideRingCorrupt", "RingsideRestarts", "RingsideClocksDiffer", "RingsideVersionsDiffer")
        self.assertEqual({name: states[name] for name in quiet}, {name: "inactive" for name in quiet})

    def test_6_a_writer_that_is_killed_shows_and_comes_back(self):
        p = self.prometheus
        started = p.value('process_start_time_seconds{job="ringside-writer"}')
        self.stack.writer.kill()
        p.await_value(f'up{{instance="{p.writer}"}}', 0)
        p.await_value("sum(ringside_replica_writer_alive)", 0)
        wait_until(lambda: p.query('ALERTS{alertname="RingsideWriterDown"}'), "the alert is on its way")
        for replica in p.replicas:
            self.assertEqual(p.value(f'ringside_replica_applied_version{{instance="{replica}"}}'), self.version, "served all the same")
        self.stack.start_writer()
        p.await_value(f'up{{instance="{p.writer}"}}', 1)
        p.await_value("sum(ringside_replica_writer_alive)", REPLICAS)
        wait_until(lambda: not p.query('ALERTS{alertname="RingsideWriterDown"}'), "the alert is off")
        wait_until(lambda: (p.value('process_start_time_seconds{job="ringside-writer"}') or 0) > started, "a later start")


if __name__ == "__main__":
    unittest.main()
