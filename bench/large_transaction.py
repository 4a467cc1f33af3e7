#!/usr/bin/env python3
"""What a large transaction does to those who read meanwhile, and to the writer's memory.

  bench/large_transaction.py --rows 3000000 --rounds 7 --out bench/results/NAME/large-transaction

Starts a writer's side (`ringside-bench ring --table stock`, rows of 64 bytes) and a replica on core 0, and has one transaction
after the other change every row: updates, deletions and insertions, changes of keys. Right after each was published, and
before the replica shows it, point reads (closed loop, one and sixteen connections, on core 1) are timed, and once more when
nothing happens: in turn, A B A B. A round whose transaction was shown before its reads ended does not count. Everything started is
stopped, and the ring removed. Python's standard library alone.
"""

import argparse
import contextlib
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import machine  # noqa: E402  (beside this file)
import many_readers  # noqa: E402
import restart  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONNECTIONS = [1, 16]


def applied_version(setup):
    metrics = restart.wait_metrics(setup.replicas[0], f"http://127.0.0.1:{setup.admin_port}/metrics", "ringside_replica_applied_version")
    return int(restart.metric_sum(metrics, "ringside_replica_applied_version"))


def read(options, setup, connections):
    """p50 and p99 of point reads in microseconds."""
    done = subprocess.run(
        [options.build / "bench/ringside-bench", "load", "--url", f"http://127.0.0.1:{setup.data_port}/v1/stock/{{key}}", "--keys", f"1..{options.rows // 2}",
         "--connections", str(connections), "--seconds", str(options.seconds), "--warmup", "0", "--core", "1", "--json"],
        capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise restart.Failed(f"reading failed: {done.stderr.strip() or done.stdout.strip()}")
    report = json.loads(done.stdout)
    return {"p50_us": report["latency_us"]["p50"], "p99_us": report["latency_us"]["p99"], "requests": report["requests"]}


def measure(options):
    rounds = []
    with contextlib.ExitStack() as stack:
        setup = many_readers.Setup(options.build, options.rows, 1, stack, ["--buffer", str(options.buffer)])
        setup.start_replica(options.rows)
        subprocess.run(["taskset", "-apc", "0", str(setup.replicas[0].pid)], check=True, stdout=subprocess.DEVNULL)
        for number in range(options.rounds):
            for connections in CONNECTIONS:
                quiet = read(options, setup, connections)
                setup.writer.send_signal(signal.SIGUSR1)
                published = json.loads(setup.writer.stdout.readline())
                busy = read(options, setup, connections)
                was_seen = applied_version(setup) >= published["version"]
                rounds.append({"round": number, "connections": connections, "quiet": quiet, "busy": busy, "counts": not was_seen, "transaction": published})
                end = time.monotonic() + 120
                while applied_version(setup) < published["version"]:
                    if time.monotonic() > end:
                        raise restart.Failed("the replica does not show the transaction")
                    time.sleep(0.05)
        about = machine.describe(options.build / "bench/ringside-bench")
    return {"about": about, "rows": options.rows, "buffer_bytes": options.buffer, "seconds": options.seconds, "rounds": rounds}


def table(record):
    lines = ["| connections | rounds | p50 without, while applying | p99 without, while applying | p99 ratio |", "|---:|---:|---:|---:|---:|"]
    for connections in CONNECTIONS:
        rounds = [each for each in record["rounds"] if each["connections"] == connections and each["counts"]]
        if not rounds:
            lines.append(f"| {connections} | 0 | | | |")
            continue

        def median(side, key, among=rounds):
            return statistics.median(each[side][key] for each in among)

        ratio = statistics.median(each["busy"]["p99_us"] / each["quiet"]["p99_us"] for each in rounds)
        lines.append(f"| {connections} | {len(rounds)} | {median('quiet', 'p50_us'):.0f}; {median('busy', 'p50_us'):.0f} µs | "
                     f"{median('quiet', 'p99_us'):.0f}; {median('busy', 'p99_us'):.0f} µs | {ratio:.2f} |")
    memory = max(each["transaction"]["anonymous_bytes"] for each in record["rounds"])
    spilled = max(each["transaction"]["spilled_bytes"] for each in record["rounds"])
    lines.append("")
    lines.append(f"{record['rows']:,} rows in a transaction; {spilled / 1e6:.0f} MB spilled; the writer's memory, its index included, once all was collected: "
                 f"at most {memory / 1e6:.0f} MB.")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/bench")
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of reading in each round; less than applying takes")
    parser.add_argument("--buffer", type=int, default=64 << 20, help="writer.transaction_buffer, in bytes")
    parser.add_argument("--out", type=pathlib.Path, help="writes OUT.json and OUT.md")
    options = parser.parse_args()
    record = measure(options)
    print(table(record))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(table(record))


if __name__ == "__main__":
    try:
        main()
    except restart.Failed as failure:
        sys.exit(f"large_transaction.py: {failure}")
