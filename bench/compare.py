#!/usr/bin/env python3
"""What a replica costs beyond the physical limit: interleaved runs against the bare responder.

A is the replica, B the responder of `ringside-bench responder`, which sends as many constant bytes as the replica's
answers have on average (asked for first, over the same keys). Runs go A B A B …, so that a machine that warms up or a
neighbour that wakes meets both; differences and ratios are taken within a pair. Every pair is done at each number of
connections, with the client on another core than the server and on the same one.

  bench/compare.py --url 'http://127.0.0.1:8080/v1/products/{key}' --pid "$(pgrep -n ringside-replica)" \\
      --keys 1..63000 --bench build/bench/bench/ringside-bench --out bench/results/point-read

  bench/compare.py --self-check …      a responder in the replica's place: the noise of the method itself

One server process on one port: with several replicas on a port (SO_REUSEPORT) the connections spread over them.
Python's standard library alone. docs/performance.md has the method.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import machine  # noqa: E402  (beside this file)

READY_LIMIT_S = 120
NOISY_SHARE = 0.05  # of a core, taken by others: the run is marked


class Failed(Exception):
    """Something that the person at the keyboard has to mend; the text says what."""


@contextlib.contextmanager
def responder(bench, response_bytes):
    """A running responder; yields (pid, url)."""
    process = subprocess.Popen(
        [bench, "responder", "--port", "0", "--bytes", str(response_bytes)], stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        if not line:
            raise Failed("the responder did not start; its own message is above")
        yield process.pid, f"http://127.0.0.1:{json.loads(line)['port']}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


@contextlib.contextmanager
def started_server(command, ready_url):
    """The server to compare, started by us; yields its pid once `ready_url` answers 200."""
    process = subprocess.Popen(shlex.split(command))
    try:
        deadline = time.monotonic() + READY_LIMIT_S
        while True:
            if process.poll() is not None:
                raise Failed(f"the server ended with status {process.returncode}: {command}")
            try:
                with urllib.request.urlopen(ready_url, timeout=1) as answer:
                    if answer.status == 200:
                        break
            except (urllib.error.URLError, OSError):
                pass
            if time.monotonic() > deadline:
                raise Failed(f"{ready_url} did not answer 200 within {READY_LIMIT_S} s")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@contextlib.contextmanager
def placed(pids, core):
    """All threads of `pids` on one core; where they were before, afterwards."""
    before = {}
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            before[int(task)] = os.sched_getaffinity(int(task))
            os.sched_setaffinity(int(task), {core})
    try:
        yield
    finally:
        for task, cores in before.items():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(task, cores)


def one_run(options, url, pids, connections, core, seconds):
    command = [options.bench, "load", "--json", "--url", url, "--keys", options.keys, "--core", str(core)]
    command += ["--connections", str(connections), "--pipeline", str(options.pipeline)]
    command += ["--seconds", str(seconds), "--warmup", str(options.warmup)]
    for header in options.header:
        command += ["--header", header]
    for pid in pids:
        command += ["--server-pid", str(pid)]
    disturbance = machine.Disturbance(pids)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{shlex.join(command)}\n{done.stderr}{done.stdout}")
    run = json.loads(done.stdout)
    run["others_share"] = disturbance.share()
    return run


def path_of(url):
    return url[url.index("/", len("http://")) :] if "/" in url[len("http://") :] else "/"


def measure(options, server_url, server_pids):
    """All the runs: a list of {connections, placement, a: [...], b: [...]}."""
    cores = sorted(os.sched_getaffinity(0))
    server_core = options.server_core if options.server_core is not None else cores[0]
    client_core = options.client_core if options.client_core is not None else cores[-1]
    placements = {"other core": client_core, "same core": server_core}
    if client_core == server_core:
        del placements["other core"]
    with placed(server_pids, server_core):
        sample = one_run(options, server_url, server_pids, 1, client_core, min(1.0, options.seconds))
        if sample["requests"] == 0:
            raise Failed(f"{server_url} answered nothing")
        response_bytes = round(sample["bytes"] / sample["requests"])
        with responder(options.bench, response_bytes) as (pid, base), placed([pid], server_core):
            yardstick_url = base + path_of(server_url)
            results = []
            for name, core in placements.items():
                for connections in options.connections:
                    result = {"placement": name, "connections": connections, "a": [], "b": []}
                    for pair in range(options.pairs):
                        print(f"{name}, {connections} connections, pair {pair + 1} of {options.pairs}", file=sys.stderr)
                        args = (connections, core, options.seconds)
                        result["a"].append(one_run(options, server_url, server_pids, *args))
                        result["b"].append(one_run(options, yardstick_url, [pid], *args))
                    results.append(result)
    return response_bytes, results


def summary(result):
    """Medians over the runs; differences and ratios within a pair."""
    pairs = list(zip(result["a"], result["b"]))
    added = [a["server_cpu_us_per_request"] - b["server_cpu_us_per_request"] for a, b in pairs]
    ratio = [a["requests_per_second"] / b["requests_per_second"] for a, b in pairs]

    def median(side, *keys):
        values = []
        for run in result[side]:
            for key in keys:
                run = run[key]
            values.append(run)
        return statistics.median(values)

    return {
        "placement": result["placement"],
        "connections": result["connections"],
        "a_rps": median("a", "requests_per_second"),
        "b_rps": median("b", "requests_per_second"),
        "ratio": statistics.median(ratio),
        "ratio_min": min(ratio),
        "ratio_max": max(ratio),
        "a_cpu_us": median("a", "server_cpu_us_per_request"),
        "b_cpu_us": median("b", "server_cpu_us_per_request"),
        "added_us": statistics.median(added),
        "added_min_us": min(added),
        "added_max_us": max(added),
        "a_p50_us": median("a", "latency_us", "p50"),
        "b_p50_us": median("b", "latency_us", "p50"),
        "a_p99_us": median("a", "latency_us", "p99"),
        "b_p99_us": median("b", "latency_us", "p99"),
        "noisy_runs": sum(run["others_share"] > NOISY_SHARE for run in result["a"] + result["b"]),
    }


def markdown(record):
    options = record["options"]
    lines = [f"# {options['title']}", ""]
    lines += machine.lines(record["machine"])
    lines += [
        f"- {options['pairs']} pairs of {options['seconds']} s each, closed loop, pipeline {options['pipeline']}; "
        f"keys {options['keys_are'] or options['keys']}; answers of {record['response_bytes']} bytes on average, the responder's of exactly so many",
        "- server CPU is user and system time of the server's process; *added* is the replica's less the responder's, "
        "median over pairs (least … most)",
        f"- runs in which others took more than {NOISY_SHARE:.0%} of a core are counted as noisy",
        "",
        "| client | connections | replica req/s | responder req/s | ratio | replica CPU µs | responder CPU µs "
        "| added CPU µs | p50 µs, both | p99 µs, both | noisy |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in record["summary"]:
        lines.append(
            f"| {row['placement']} | {row['connections']} | {row['a_rps']:,.0f} | {row['b_rps']:,.0f} "
            f"| {row['ratio']:.2f} ({row['ratio_min']:.2f} … {row['ratio_max']:.2f}) "
            f"| {row['a_cpu_us']:.2f} | {row['b_cpu_us']:.2f} "
            f"| {row['added_us']:+.2f} ({row['added_min_us']:+.2f} … {row['added_max_us']:+.2f}) "
            f"| {row['a_p50_us']:.1f} · {row['b_p50_us']:.1f} | {row['a_p99_us']:.1f} · {row['b_p99_us']:.1f} "
            f"| {row['noisy_runs']} of {2 * options['pairs']} |"
        )
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="build/bench/bench/ringside-bench", help="the program of the build to use")
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1/products/{key}", help="what to ask; {key} is replaced")
    parser.add_argument("--keys", default="1..63000", help="as ringside-bench load takes them")
    parser.add_argument("--keys-are", help="how the record names the keys; default: --keys itself")
    parser.add_argument("--header", action="append", default=[], help="a further request header; may be repeated")
    parser.add_argument("--pid", type=int, action="append", default=[], help="the running server's process")
    parser.add_argument("--command", help="or: start the server with this, wait for --ready, and stop it at the end")
    parser.add_argument("--ready", help="URL that answers 200 once the server of --command is ready")
    parser.add_argument("--self-check", action="store_true", help="compare the responder with itself")
    parser.add_argument("--self-check-bytes", type=int, default=400, help="size of the answers in a self-check")
    parser.add_argument("--connections", type=lambda text: [int(x) for x in text.split(",")], default=[1, 16, 64])
    parser.add_argument("--pipeline", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of measuring in each run")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before that")
    parser.add_argument("--server-core", type=int, help="default: the first one allowed")
    parser.add_argument("--client-core", type=int, help="default: the last one allowed")
    parser.add_argument("--title", default="Point reads against the bare responder")
    parser.add_argument("--out", type=pathlib.Path, help="writes OUT.json (every run) and OUT.md (the table)")
    options = parser.parse_args()
    if sum([bool(options.pid), bool(options.command), options.self_check]) != 1:
        parser.error("exactly one of --pid, --command and --self-check says what is compared")
    if options.command and not options.ready:
        parser.error("--command needs --ready, the URL that tells when to begin")
    if options.pairs < 1 or options.seconds <= 0:
        parser.error("at least one pair, of more than no time")
    return options


def run(options):
    about = machine.describe(options.bench)
    if options.self_check:
        with responder(options.bench, options.self_check_bytes) as (pid, base):
            response_bytes, results = measure(options, base + path_of(options.url), [pid])
    elif options.command:
        with started_server(options.command, options.ready) as pid:
            response_bytes, results = measure(options, options.url, [pid])
    else:
        response_bytes, results = measure(options, options.url, options.pid)
    shown = {k: v for k, v in vars(options).items() if k not in ("out", "pid")}
    record = {
        "machine": about,
        "options": shown,
        "response_bytes": response_bytes,
        "summary": [summary(result) for result in results],
        "runs": results,
    }
    print(markdown(record))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.with_name(options.out.name + ".json").write_text(machine.as_json(record))
        options.out.with_name(options.out.name + ".md").write_text(markdown(record))


def main():
    try:
        run(parse_arguments())
    except (Failed, OSError) as problem:
        print(f"compare.py: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
