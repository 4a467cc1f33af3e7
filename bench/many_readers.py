#!/usr/bin/env python3
"""What a ring costs in memory with many replicas: PSS of the ring, of its writer, and of each replica.

  bench/many_readers.py --rows 10000000 --replicas 1,2,4,8,16 --out bench/results/NAME/many-readers

Starts a writer's side (`ringside-bench ring --table stock`: the publisher with its index, rows of 64 bytes) and real
replicas over that ring, more and more of them, and reads /proc/PID/smaps_rollup of each when all are ready. A process's
PSS falls into the ring (shared memory, divided among those that map it), what is its own (anonymous memory), and the
programs' files. A replica over a ring of one row comes first: what it costs before the first row. Everything started is
stopped, and the ring removed.

Python's standard library alone. Needs about 64 + 14 × (replicas + 1) bytes a row of memory: 3 GB for ten million rows and
16 replicas.
"""

import argparse
import contextlib
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import machine  # noqa: E402  (beside this file)
import restart  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = {"ring": "Pss_Shmem", "own": "Pss_Anon", "files": "Pss_File"}
MIB = 1 << 20


def pss(pid):
    """The parts of a process's proportional set size, in bytes."""
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, kib = line.split(":")
        fields[name] = int(kib.split()[0]) * 1024
    return {part: fields[name] for part, name in PARTS.items()}


@contextlib.contextmanager
def stopped_at_the_end(process):
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)


class Setup:
    """One ring, and the replicas over it."""

    def __init__(self, build, rows, most, stack, writer_options=()):
        ports = subprocess.run([sys.executable, ROOT / "deploy/demo/free_ports.py", "18590", f"18690x{most}"],
                               capture_output=True, text=True, check=True).stdout.split()
        self.data_port, self.admin_port = int(ports[0]), int(ports[1])
        self.stack = stack
        self.replica_program = build / "replica/ringside-replica"
        self.writer = stack.enter_context(stopped_at_the_end(subprocess.Popen(
            [build / "bench/ringside-bench", "ring", "--table", "stock", "--rows", str(rows), *writer_options],
            stdout=subprocess.PIPE, text=True)))
        line = self.writer.stdout.readline()
        if not line:
            raise restart.Failed("the ring was not made; its own message is above")
        made = json.loads(line)
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix="ringside-bench-"))
        self.settings = pathlib.Path(work) / "ringside.toml"
        self.settings.write_text(f'[ring]\nname = "{made["name"]}"\ndirectory = "{made["directory"]}"\n'
                                 f'[replica]\nlisten = "127.0.0.1:{ports[0]}"\nadmin_port = {self.admin_port}\n')
        self.ring_bytes = restart.ring_bytes(made["directory"])
        self.replicas = []

    def start_replica(self, rows):
        index = len(self.replicas)
        process = self.stack.enter_context(stopped_at_the_end(subprocess.Popen(
            [self.replica_program, "--config", self.settings, "--index", str(index)], stderr=subprocess.DEVNULL)))
        self.replicas.append(process)
        admin = f"http://127.0.0.1:{self.admin_port + index}"
        restart.wait_ready(process, admin + "/readyz")
        found = int(restart.metric_sum(restart.wait_metrics(process, admin + "/metrics", restart.ROWS["join"]),
                                       restart.ROWS["join"]))
        if found != rows:
            raise restart.Failed(f"replica {index} has {found} rows of {rows}")


def measure(options):
    with contextlib.ExitStack() as stack:
        empty = Setup(options.build, 1, 1, stack)
        empty.start_replica(1)
        fixed = {"writer": pss(empty.writer.pid), "replica": pss(empty.replicas[0].pid)}
    runs = []
    with contextlib.ExitStack() as stack:
        setup = Setup(options.build, options.rows, max(options.replicas), stack)
        for count in sorted(options.replicas):
            while len(setup.replicas) < count:
                setup.start_replica(options.rows)
            runs.append({"replicas": count, "ring_file_bytes": setup.ring_bytes, "writer": pss(setup.writer.pid),
                         "each_replica": [pss(replica.pid) for replica in setup.replicas]})
    return fixed, runs


def summary(record):
    """The figures that count, out of every process's PSS."""
    rows = record["rows"]
    fixed = record["one_row"]["replica"]["own"]
    lines = []
    for run in record["runs"]:
        own = [each["own"] for each in run["each_replica"]]
        lines.append({
            "replicas": run["replicas"],
            "ring": run["writer"]["ring"] + sum(each["ring"] for each in run["each_replica"]),
            "writer_own": run["writer"]["own"],
            "replica_own_mean": statistics.mean(own),
            "replica_own_most": max(own),
            "all": sum(sum(each.values()) for each in [run["writer"], *run["each_replica"]]),
            "replica_bytes_a_row": (statistics.mean(own) - fixed) / rows,
            "writer_bytes_a_row": (run["writer"]["own"] - record["one_row"]["writer"]["own"]) / rows,
        })
    return lines


def markdown(record):
    fixed = record["one_row"]
    lines = [f"# Memory of a ring with many replicas, {record['rows']:,} rows", ""]
    lines += machine.lines(record["machine"])
    lines += [
        "- PSS by /proc/PID/smaps_rollup, in MiB; the ring's is the sum of everybody's share of it",
        f"- before the first row: a replica's own memory {fixed['replica']['own'] / MIB:.1f} MiB, its share of the "
        f"programs' files {fixed['replica']['files'] / MIB:.1f} MiB; the writer's own {fixed['writer']['own'] / MIB:.1f} MiB",
        "- bytes a row: own memory less that of a ring of one row",
        "",
        "| replicas | ring | writer's own | a replica's own: mean, most | all together | bytes a row: replica, writer |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in summary(record):
        lines.append(f"| {row['replicas']} | {row['ring'] / MIB:,.1f} | {row['writer_own'] / MIB:,.1f} "
                     f"| {row['replica_own_mean'] / MIB:,.1f}, {row['replica_own_most'] / MIB:,.1f} "
                     f"| {row['all'] / MIB:,.1f} "
                     f"| {row['replica_bytes_a_row']:.2f}, {row['writer_bytes_a_row']:.2f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/bench", help="the build to measure")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--replicas", default="1,2,4,8,16", help="how many at once, in turn; at most 64")
    parser.add_argument("--out", type=pathlib.Path, help="writes OUT.json (every process) and OUT.md (the table)")
    options = parser.parse_args()
    options.replicas = [int(count) for count in options.replicas.split(",")]
    # Ctrl-C and SIGTERM unwind alike, so that what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        about = machine.describe(options.build / "bench/ringside-bench")
        fixed, runs = measure(options)
    except subprocess.CalledProcessError as problem:
        print(f"many_readers.py: {problem.stderr}", file=sys.stderr)
        return 1
    except (restart.Failed, OSError) as problem:
        print(f"many_readers.py: {problem}", file=sys.stderr)
        return 1
    record = {"machine": about, "rows": options.rows, "one_row": fixed, "runs": runs}
    record["summary"] = summary(record)
    print(markdown(record))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.with_name(options.out.name + ".json").write_text(machine.as_json(record))
        options.out.with_name(options.out.name + ".md").write_text(markdown(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
