#!/usr/bin/env python3
"""Records the ring's own figures of docs/performance.md, one command for all of them; nothing need run.

  cmake --preset bench && cmake --build build/bench
  bench/ring_figures.py --out bench/results/2026-01-08-machine

What it does, two cores to itself:
  latency      append to seen, against a bare cache-line ping-pong between the same cores
  records      records a second of 64 and 512 bytes, against memcpy and a bare ring of 4 MiB; both halves alone
  wake         a sleeper woken by poll(2) and by io_uring, and what waking costs the writer
  apply        rows a second of a replica's tables that follow updates and inserts
  compaction   what compaction costs capture, with 50 to 90 % of the ring live, uniform and Zipf updates
Each is run in rounds (A B A B …: a round measures everything that is compared once, one after the other), and ratios are
taken within a round; the tables have the median over the rounds (least … most). Each leaves OUT/ring-<name>.json with every
run and OUT/ring-<name>.md with the table. `--only latency,records` does some of them.

Python's standard library alone.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import machine  # noqa: E402  (beside this file)

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOISY = 0.05  # of a core, taken by others


class Failed(Exception):
    """Something that the person at the keyboard has to mend; the text says what."""


def run(program, *arguments):
    """One run of a benchmark program: {name: its figures}, and how much of a core others took meanwhile."""
    others = machine.Disturbance([])
    done = subprocess.run([program, "--benchmark_format=json", *arguments], capture_output=True, text=True, check=False)
    share = others.share()
    if done.returncode != 0:
        raise Failed(f"{program} failed: {done.stderr.strip()}")
    figures = {}
    for each in json.loads(done.stdout)["benchmarks"]:
        if each.get("error_occurred"):
            raise Failed(f"{each['name']}: {each.get('error_message')}")
        name = "/".join(part for part in each["name"].split("/") if ":" not in part and not part.endswith("_time"))
        figures[name] = each
    return {"others_share": share, "figures": figures}


def spread(values, digits=0):
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} … {max(values):,.{digits}f})"


class Table:
    """Figures over the rounds, as cells."""

    def __init__(self, rounds):
        self.rounds = rounds

    def values(self, name, key):
        return [each["figures"][name][key] for each in self.rounds]

    def cell(self, name, key, digits=0, scale=1.0):
        return spread([value * scale for value in self.values(name, key)], digits)

    def ratio(self, name, other, key, digits=2):
        return spread([a / b for a, b in zip(self.values(name, key), self.values(other, key), strict=True)], digits)

    def difference(self, name, other, key, digits=0, scale=1.0):
        pairs = zip(self.values(name, key), self.values(other, key), strict=True)
        return spread([(a - b) * scale for a, b in pairs], digits)


def latency(table):
    lines = [
        "| ns, p50 and p99 | p50 | p99 | p50 over the ping-pong's |",
        "|---|---:|---:|---:|",
    ]
    seen = "append_to_seen/64"
    rows = [
        ("ping-pong, one way", seen, "ping", None),
        ("ping-pong, both ways", seen, "ping_round", None),
        ("append until the row is seen", seen, "seen", "seen_over_ping"),
        ("append until all of the transaction is seen", seen, "whole", None),
        ("append, seen, and back by a bare line", seen, "round", "round_over_round"),
        ("of these the writer's: append and publish", seen, "writer", None),
        ("append and publish, nobody reads", "publish_alone/64", "writer", None),
    ]
    for text, name, what, ratio in rows:
        compared = table.cell(name, ratio, 2) if ratio else "–"
        lines.append(f"| {text} | {table.cell(name, f'{what}_p50_ns')} | {table.cell(name, f'{what}_p99_ns')} | {compared} |")
    return lines


def records(table):
    lines = ["| million records/s | 64 bytes | 512 bytes |", "|---|---:|---:|"]
    rows = [
        ("memcpy, one core", "memcpy_records"),
        ("bare ring of 4 MiB, two cores", "bare_ring"),
        ("the ring: append on one core, apply on the other", "ring_records"),
        ("append alone", "append_records"),
        ("apply alone, joining included", "apply_records"),
    ]
    sizes = ("64", "512")
    for text, name in rows:
        cells = [table.cell(f"{name}/{size}", "items_per_second", 2, 1e-6) for size in sizes]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    for text, other in (("the ring over memcpy", "memcpy_records"), ("the ring over the bare ring", "bare_ring")):
        cells = [table.ratio(f"ring_records/{size}", f"{other}/{size}", "items_per_second", 3) for size in sizes]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    return lines


def wake(table):
    lines = [
        "| reader | append to seen, p50 µs | p99 µs | writer's publish, p50 µs | more than for a spinning one, µs |",
        "|---|---:|---:|---:|---:|",
    ]
    for text, name in (
        ("spinning", "wake_up/spinning/0"),
        ("asleep in poll(2)", "wake_up/poll/1"),
        ("asleep in io_uring", "wake_up/io_uring/2"),
    ):
        more = "–" if name.endswith("/0") else table.difference(name, "wake_up/spinning/0", "writer_p50_ns", 1, 1e-3)
        cells = [table.cell(name, key, 1, 1e-3) for key in ("seen_p50_ns", "seen_p99_ns", "writer_p50_ns")]
        lines.append(f"| {text} | {' | '.join(cells)} | {more} |")
    return lines


def apply(table):
    lines = ["| million rows/s of CPU | one row a transaction | 100 rows |", "|---|---:|---:|"]
    for text, name in (("updates", "follow_updates"), ("inserts", "follow_inserts")):
        cells = [table.cell(f"{name}/{rows}", "items_per_second", 2, 1e-6) for rows in ("1", "100")]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    return lines


def compaction(table):
    lines = [
        "| live, updates | bytes written per byte captured "
        "| longest step, longest millisecond of a bare loop in turn with the steps, µs of CPU | transaction p99 µs, most "
        "| captured MB/s of CPU | without compaction |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for updates in ("uniform", "zipfian"):
        for live in (50, 70, 80, 90):
            name = f"update_{updates}/{live}"
            lines.append(
                f"| {live} %, {updates} | {table.cell(name, 'written_per_captured', 2)} "
                f"| {table.cell(name, 'longest_step_us')}, {table.cell(name, 'longest_bare_us')} "
                f"| {table.cell(name, 'transaction_p99_us')}, {table.cell(name, 'transaction_max_us')} "
                f"| {table.cell(name, 'captured_mb_per_s')} | {table.cell(name, 'captured_mb_per_s_without')} |"
            )
    return lines


STEPS = {
    "latency": ("Append to seen", "ring_bench", ["--benchmark_filter=append_to_seen|publish_alone"], latency),
    "records": ("Records a second", "ring_bench", ["--benchmark_filter=records|bare_ring"], records),
    "wake": ("Waking a sleeper", "ring_bench", ["--benchmark_filter=wake_up"], wake),
    "apply": ("Following, rows applied", "replica_bench", ["--benchmark_filter=follow"], apply),
    "compaction": ("What compaction costs capture", "compaction_bench", [], compaction),
}


def record(step, options):
    title, name, arguments, rows_of = STEPS[step]
    program = options.build / "bench" / name
    if not program.exists():
        raise Failed(f"{program} is missing: cmake --build {options.build}")
    rounds = options.rounds
    if step == "compaction":
        arguments = [*arguments, "--ring-mib", str(options.ring_mib), "--segment-kib", str(options.segment_kib), "--laps", "3"]
        rounds = options.compaction_rounds
    about = machine.describe(program)
    runs = [run(program, *arguments) for _ in range(rounds)]
    noisy = sum(each["others_share"] > NOISY for each in runs)
    text = [f"# {title}", "", *machine.lines(about)]
    text += [
        f"- {rounds} rounds, median (least … most); {noisy} of them noisy (others took more than {NOISY:.0%} of a core, at most "
        f"{max(each['others_share'] for each in runs):.2f})"
    ]
    if step == "compaction":
        text += [f"- a ring of {options.ring_mib} MiB, segments of {options.segment_kib} KiB; the lap after three ring sizes"]
    text += ["", *rows_of(Table(runs))]
    (options.out / f"ring-{step}.md").write_text("\n".join(text) + "\n")
    (options.out / f"ring-{step}.json").write_text(
        machine.as_json({"step": step, "machine": about, "arguments": arguments, "runs": runs})
    )
    print("\n".join(text) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "bench")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", default=",".join(STEPS), help="some of: " + ", ".join(STEPS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compaction-rounds", type=int, default=1)
    parser.add_argument("--ring-mib", type=int, default=1024, help="of the compaction step")
    parser.add_argument("--segment-kib", type=int, default=1024, help="of the compaction step")
    options = parser.parse_args()
    chosen = options.only.split(",")
    unknown = [step for step in chosen if step not in STEPS]
    if unknown:
        parser.error(f"--only: there is no {unknown[0]}")
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for step in chosen:
            print(f"== {step}", file=sys.stderr)
            record(step, options)
    except (Failed, OSError) as problem:
        print(f"ring_figures.py: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
