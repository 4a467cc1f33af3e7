#!/usr/bin/env python3
"""What a command costs: the writer's HTTP API against the same statements by Connector/C++ alone, with and without the
marker row that each command also writes; interleaved, against a MariaDB and a writer that this script starts and ends.

  bench/commands.py --build build/bench --clients 1,8,32 --rounds 5 --seconds 2 --out bench/results/FOLDER/commands

Each client changes rows of its own, one at a time, and has a session of its own on either way (writer.sessions is the
largest number of clients). Durable settings: each COMMIT is synced. Writer CPU a command is the writer's whole processor time
less what it takes to capture the same changes when they come from elsewhere (the way `marker`), both per command.

Leaves OUT.json with every run and OUT.md with the table. Python's standard library alone.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests" / "e2e")]
import machine  # noqa: E402

WAYS = ["http", "connector", "marker"]
ROWS = 3200


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--build", default="build/bench", type=pathlib.Path, help="the build tree with the programs")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--seconds", default=2.0, type=float, help="of each run")
    parser.add_argument("--warmup", default=0.5, type=float)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    return parser.parse_args()


def one_run(options, stack, way, clients):
    writer = stack.writer.pid
    command = [str(options.build / "bench/ringside-bench"), "commands", "--way", way, "--clients", str(clients),
               "--url", f"http://127.0.0.1:{stack.writer_port}", "--mysql-socket", stack.database.socket, "--user", "root",
               "--database", stack.DATABASE, "--table", "items", "--column", "n", "--rows", str(ROWS), "--seconds",
               str(options.seconds), "--warmup", str(options.warmup), "--writer-pid", str(writer)]
    disturbance = machine.Disturbance([writer, stack.database.process.pid])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{way}, {clients} clients: {done.stderr}{stack.writer.tail()}")
    return {**json.loads(done.stdout), "others": disturbance.share()}


def summary(runs):
    """Per number of clients and way the medians; for http also the ratios within each round."""
    rows = []
    for clients in sorted({run["clients"] for run in runs}):
        by_way = {way: [run for run in runs if (run["clients"], run["way"]) == (clients, way)] for way in WAYS}
        for way in WAYS:
            row = {"clients": clients, "way": way}
            for key in ("commands_per_second", "p50_us", "p99_us", "writer_cpu_us", "own_cpu_us"):
                row[key] = statistics.median(run[key] for run in by_way[way])
            pairs = list(zip(by_way[way], by_way["marker"]))
            row["added_us"] = sorted(a["writer_cpu_us"] - b["writer_cpu_us"] for a, b in pairs)
            row["p50_ratio"] = sorted(a["p50_us"] / b["p50_us"] for a, b in zip(by_way[way], by_way["connector"]))
            row["rate_ratio"] = sorted(a["commands_per_second"] / b["commands_per_second"]
                                       for a, b in zip(by_way[way], by_way["connector"]))
            rows.append(row)
    return rows


def spread(values, digits):
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({values[0]:.{digits}f} … {values[-1]:.{digits}f})"


def table(record):
    lines = ["# Commands by the writer, and the same statements by Connector/C++ alone", "", *machine.lines(record["machine"]),
             f"- {record['rounds']} rounds of {record['seconds']:g} s each, all ways in turn; others' share of a core: "
             f"{min(run['others'] for run in record['runs']):.2f} to {max(run['others'] for run in record['runs']):.2f}", "",
             "| clients | way | commands/s | p50 µs | p99 µs | writer CPU µs | p50 over connector's | rate over connector's |",
             "|---:|---|---:|---:|---:|---:|---:|---:|"]
    for row in record["summary"]:
        lines.append(f"| {row['clients']} | {row['way']} | {row['commands_per_second']:,.0f} | {row['p50_us']:,.0f} | "
                     f"{row['p99_us']:,.0f} | {row['writer_cpu_us']:.1f} | {spread(row['p50_ratio'], 2)} | "
                     f"{spread(row['rate_ratio'], 2)} |")
    lines += ["", "| clients | writer CPU µs a command beyond capture |", "|---:|---:|"]
    lines += [f"| {row['clients']} | {spread(row['added_us'], 1)} |" for row in record["summary"] if row["way"] == "http"]
    return "\n".join(lines) + "\n"


def main():
    options = arguments()
    clients = [int(text) for text in options.clients.split(",")]
    os.environ["RINGSIDE_WRITER"] = str(options.build / "writer/ringside-writer")
    import harness  # pylint: disable=import-outside-toplevel  (needs the environment)
    about = machine.describe(options.build / "writer/ringside-writer")
    with harness.Stack(1, f"[writer]\nsessions = {max(clients)}\n") as stack:
        with stack.session() as sql:
            sql.execute("CREATE TABLE items (id INT NOT NULL PRIMARY KEY, n BIGINT NOT NULL, name VARCHAR(40) NOT NULL); "
                        f"INSERT INTO items SELECT seq, 0, CONCAT('item-', seq) FROM seq_1_to_{ROWS}")
        stack.start_writer()
        with stack.to_writer() as writer:
            harness.wait_until(lambda: harness.metric(writer, "ringside_writer_sessions", state="connected") == max(clients),
                               "every session is connected")
        runs = [{"round": number, **one_run(options, stack, way, count)}
                for number in range(options.rounds) for count in clients for way in WAYS]
    record = {"machine": about, "rounds": options.rounds, "seconds": options.seconds, "runs": runs, "summary": summary(runs)}
    options.out.with_suffix(".json").write_text(machine.as_json(record), encoding="utf-8")
    options.out.with_suffix(".md").write_text(table(record), encoding="utf-8")
    print(table(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
