#!/usr/bin/env python3
"""How fast a replica joins from the ring, how fast a writer reads its snapshot, and what a row takes.

  bench/restart.py join --command 'build/release/ringside-replica --config build/demo/ringside.toml --index 1' \\
      --admin http://127.0.0.1:9101 --ring /dev/shm/shop --runs 5
  bench/restart.py snapshot --command 'build/release/ringside-writer --config build/demo/ringside.toml' \\
      --admin http://127.0.0.1:7070 --ring /dev/shm/shop --remove-ring --runs 3

The time is from the start of the process to its first 200 on /readyz: linking, reading the configuration and attaching
are inside; a replica also says how long the join itself took. Rows are those that the program's own /metrics counts;
bytes a row are the ring's files and the process's private memory over the rows. Programs are stopped with SIGTERM after each run. `snapshot` needs --remove-ring, because only a
writer without a ring takes one: it deletes --ring before each run, and replicas that follow it start over.

Python's standard library alone.
"""

import argparse
import pathlib
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import machine  # noqa: E402  (beside this file)

READY_LIMIT_S = 600
ROWS = {"join": "ringside_replica_table_rows", "snapshot": "ringside_writer_table_rows"}
JOIN_SECONDS = "ringside_replica_join_seconds"
LOOK_AGAIN_S = 0.0005


class Failed(Exception):
    """Something that the person at the keyboard has to mend; the text says what."""


def fetch(url):
    """The body of a 200, else None."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode() if answer.status == 200 else None
    except (urllib.error.URLError, OSError):
        return None


def wait_ready(process, url):
    deadline = time.monotonic() + READY_LIMIT_S
    while fetch(url) is None:
        if process.poll() is not None:
            raise Failed(f"the program ended with status {process.returncode} before {url} answered 200")
        if time.monotonic() > deadline:
            raise Failed(f"{url} did not answer 200 within {READY_LIMIT_S} s")
        time.sleep(LOOK_AGAIN_S)


def wait_metrics(process, url, family):
    """The text of /metrics once it has the family: the writer counts its tables' rows now and then only."""
    deadline = time.monotonic() + 10
    while True:
        text = fetch(url)
        if text is not None and re.search(rf"(?m)^{family}[{{ ]", text):
            return text
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{url} has no {family}")
        time.sleep(0.05)


def metric_sum(text, family):
    """The sum of all samples of a family in Prometheus' text format."""
    total = None
    for line in text.splitlines():
        name = line.split("{", 1)[0].split(" ", 1)[0]
        if name == family:
            value = line.rsplit("}", 1)[-1] if "}" in line else line[len(name) :]
            total = (total or 0.0) + float(value.split()[0])
    if total is None:
        raise Failed(f"/metrics has no {family}")
    return total


def ring_bytes(folder):
    return sum(path.stat().st_blocks * 512 for path in pathlib.Path(folder).rglob("*") if path.is_file())


def private_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"/proc/{pid}/status has no RssAnon")


def cpu_seconds(pid):
    """User and system time of the whole process, threads that have ended too: what clock_getcpuclockid(3) names."""
    return time.clock_gettime(~pid << 3 | 2)


def one_run(options):
    if options.mode == "snapshot":
        shutil.rmtree(options.ring, ignore_errors=True)
    start = time.monotonic()
    process = subprocess.Popen(shlex.split(options.command), stdout=subprocess.DEVNULL)
    try:
        wait_ready(process, options.admin + "/readyz")
        seconds = time.monotonic() - start
        cpu = cpu_seconds(process.pid)
        metrics = wait_metrics(process, options.admin + "/metrics", ROWS[options.mode])
        rows = int(metric_sum(metrics, ROWS[options.mode]))
        run = {
            "seconds": seconds,
            "cpu_seconds": cpu,
            "rows": rows,
            "rows_per_second": rows / seconds,
            "private_bytes": private_bytes(process.pid),
            "ring_bytes": ring_bytes(options.ring),
        }
        if options.mode == "join":
            run["join_seconds"] = metric_sum(metrics, JOIN_SECONDS)
            run["joined_rows_per_second"] = rows / run["join_seconds"]
        return run
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def markdown(record):
    runs = record["runs"]
    rows = runs[0]["rows"]

    def spread(key, scale=1.0, digits=0):
        values = [run[key] * scale for run in runs]
        return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} … {max(values):,.{digits}f})"

    lines = [f"# {'Joining' if record['mode'] == 'join' else 'Snapshot'} of {rows:,} rows", ""]
    lines += machine.lines(record["machine"])
    lines += [
        f"- {len(runs)} runs; median (least … most); start of the process to the first 200 on /readyz",
        "",
        "| figure | value |",
        "|---|---:|",
        f"| ready after, ms | {spread('seconds', 1000, 1)} |",
        f"| CPU time by then, ms | {spread('cpu_seconds', 1000, 1)} |",
        f"| rows a second, from the start of the process | {spread('rows_per_second')} |",
        f"| bytes a row in the ring's files | {spread('ring_bytes', 1 / rows, 1)} |",
        f"| bytes a row of the process's private memory | {spread('private_bytes', 1 / rows, 1)} |",
    ]
    if record["mode"] == "join":
        lines += [
            f"| the join itself, ms | {spread('join_seconds', 1000, 1)} |",
            f"| rows a second of the join itself | {spread('joined_rows_per_second')} |",
        ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["join", "snapshot"])
    parser.add_argument("--command", required=True, help="starts the replica (join) or the writer (snapshot)")
    parser.add_argument("--admin", required=True, help="its /readyz and /metrics, e.g. http://127.0.0.1:9101")
    parser.add_argument("--ring", required=True, help="the ring's directory")
    parser.add_argument("--remove-ring", action="store_true", help="snapshot: yes, delete it before each run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, help="writes OUT.json (every run) and OUT.md (the table)")
    options = parser.parse_args()
    if options.mode == "snapshot" and not options.remove_ring:
        parser.error("snapshot deletes the ring before each run; --remove-ring says that this is meant")
    try:
        program = shlex.split(options.command)[0]
        record = {
            "mode": options.mode,
            "machine": machine.describe(program),
            "command": options.command,
            "runs": [one_run(options) for _ in range(options.runs)],
        }
        if min(run["rows"] for run in record["runs"]) == 0:
            raise Failed("there are no rows to measure by")
        print(markdown(record))
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.with_name(options.out.name + ".json").write_text(machine.as_json(record))
            options.out.with_name(options.out.name + ".md").write_text(markdown(record))
    except (Failed, OSError) as problem:
        print(f"restart.py: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
