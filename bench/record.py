#!/usr/bin/env python3
"""Records every end-to-end figure of docs/performance.md against a running demo, one command for all of them.

  ./deploy/demo.sh --no-live             (in another terminal; leave it running, and let nothing write to it)
  cmake --preset bench && cmake --build build/bench
  bench/record.py --out bench/results/2026-01-08-machine

What it does: takes the demo's settings, starts a further replica on a port of its own from the `bench` build (so that
one process answers), and then
  point        point reads against the bare responder, 1, 16 and 64 connections, other core and same core
  pipelined    the same with 16 requests in flight on each of 16 connections
  self-check   the responder against itself: what the method cannot tell apart
  visible      commit to visible, of a sleeping and of a busy-polling replica, read by a spinning and by a sleeping
               client, in turn
  join         a replica's start from the ring alone
  snapshot     a writer's start without a ring; it has a ring of its own beside the demo's
Each leaves OUT/<name>.json with every run and OUT/<name>.md with the table. `--only point,visible` does some of them.

The demo's database is written to by `visible` (64 products' stock, put back at the end) and by the writer of `snapshot`
(which only reads). Python's standard library alone.
"""

import argparse
import json
import pathlib
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import compare  # noqa: E402  (beside this file)
import machine  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = ["point", "pipelined", "self-check", "visible", "join", "snapshot"]


class Setup:
    """The demo as it runs, and the settings of what is measured beside it."""

    def __init__(self, options, work):
        self.options = options
        self.work = pathlib.Path(work)
        self.demo = options.demo
        text = (self.demo / "ringside.toml").read_text()
        self.settings = tomllib.loads(text)
        self._text = text
        self.bench = options.build / "bench/ringside-bench"
        self.replica = options.build / "replica/ringside-replica"
        self.writer = options.build / "writer/ringside-writer"
        ports = subprocess.run(
            [sys.executable, ROOT / "deploy/demo/free_ports.py", "8190", "9190x8", "7190"],
            capture_output=True, text=True, check=True,
        ).stdout.split()
        self.data_port, self.admin_port, self.writer_port = map(int, ports)
        self.keys = self.work / "keys"
        with self.keys.open("w") as out:
            subprocess.run(
                ["mariadb", f"--defaults-file={self.demo / 'client.cnf'}", "-N", "-B", "-e",
                 "SELECT id FROM products ORDER BY id", self.settings["mysql"]["database"]],
                stdout=out, check=True,
            )
        self.rows = len(self.keys.read_text().split())

    def write_settings(self, name, ring=None, busy_poll=False):
        """The demo's settings with other ports; returns the file."""

        def put(text, section, key, value):
            body = re.search(rf"(?ms)^\[{section}\]\n(.*?)(?=^\[|\Z)", text)
            lines = [line for line in body.group(1).splitlines() if not re.match(rf"{key}\s*=", line)]
            new = "\n".join([f"{key} = {json.dumps(value)}"] + lines).rstrip() + "\n\n"
            return text[: body.start(1)] + new + text[body.end(1) :]

        text = put(self._text, "replica", "listen", f"127.0.0.1:{self.data_port}")
        text = put(text, "replica", "unix_socket", str(self.work / "{index}.sock"))
        text = put(text, "replica", "admin_port", self.admin_port)
        text = put(text, "replica", "busy_poll", busy_poll)
        text = put(text, "writer", "listen", f"127.0.0.1:{self.writer_port}")
        if ring:
            text = put(text, "ring", "name", ring)
        path = self.work / f"{name}.toml"
        path.write_text(text)
        return path

    def replica_command(self, settings):
        # Not one of the demo's indexes, in case the two sets of ports should ever be close.
        return shlex.join([str(self.replica), "--config", str(settings), "--index", "7"])

    @property
    def replica_admin(self):
        return f"http://127.0.0.1:{self.admin_port + 7}"

    @property
    def ring_path(self):
        ring = self.settings["ring"]
        return pathlib.Path(ring.get("directory", "/dev/shm")) / ring["name"]

    def url(self, suffix=""):
        return f"http://127.0.0.1:{self.data_port}/v1/products/{{key}}{suffix}"


def run_script(name, *arguments):
    subprocess.run([sys.executable, ROOT / "bench" / name, *map(str, arguments)], check=True)


def compare_step(setup, name, *arguments):
    settings = setup.write_settings("measured")
    run_script(
        "compare.py", "--bench", setup.bench, "--command", setup.replica_command(settings),
        "--ready", setup.replica_admin + "/readyz", "--url", setup.url(), "--keys", setup.keys,
        "--keys-are", f"of all {setup.rows:,} products, at random", "--pairs", setup.options.pairs, "--seconds", setup.options.seconds, "--out", setup.options.out / name, *arguments,
    )


def point(setup):
    compare_step(setup, "point")


def pipelined(setup):
    compare_step(setup, "pipelined", "--connections", "16", "--pipeline", "16",
                 "--title", "Pipelined point reads against the bare responder")


def self_check(setup):
    run_script("compare.py", "--bench", setup.bench, "--self-check", "--pairs", setup.options.pairs,
               "--seconds", setup.options.seconds, "--out", setup.options.out / "self-check",
               "--title", "The responder against itself")


def visible_round(setup, busy_poll, reader):
    settings = setup.write_settings("busy" if busy_poll else "sleeping", busy_poll=busy_poll)
    mysql = setup.settings["mysql"]
    where = (["--mysql-socket", mysql["socket"]] if "socket" in mysql
             else ["--mysql-host", mysql["host"], "--mysql-port", str(mysql["port"])])
    with compare.started_server(setup.replica_command(settings), setup.replica_admin + "/readyz"):
        done = subprocess.run(
            [setup.bench, "visible", "--json", *where, "--user", mysql["user"], "--password-file",
             mysql["password_file"], "--database", mysql["database"], "--table", "products", "--key-column", "id",
             "--column", "stock", "--keys", setup.keys, "--commits", str(setup.options.commits),
             "--reader", reader, "--replica", f"replica={setup.url('?fields=stock')}"],
            capture_output=True, text=True, check=False,
        )
    if done.returncode != 0:
        raise compare.Failed(done.stderr)
    return json.loads(done.stdout)[0]


def visible(setup):
    about = machine.describe(setup.bench)
    rounds = {(replica, reader): [] for replica in ("sleeping", "busy-polling") for reader in ("spin", "sleep")}
    for _ in range(setup.options.rounds):
        for (replica, reader), runs in rounds.items():
            runs.append(visible_round(setup, replica == "busy-polling", reader))
    lines = ["# Commit to visible", "", *machine.lines(about)]
    lines += [
        f"- {setup.options.rounds} rounds of {setup.options.commits} commits each, the four kinds in turn; median over "
        "rounds (least … most), in µs",
        "- from COMMIT's return to the receipt of the first answer with the new value; the demo's own replicas follow too, "
        "asleep",
        "",
        "| replica | client | visible p50 | visible p99 | COMMIT itself p50 | a read's round trip p50 (the resolution) "
        "| new in the first answer |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (replica, reader), runs in rounds.items():
        def spread(*keys):
            values = [run[keys[0]][keys[1]] for run in runs]
            return f"{statistics.median(values):.1f} ({min(values):.1f} … {max(values):.1f})"

        at_once = sum(run["at_once"] for run in runs) / sum(run["visible_us"]["count"] for run in runs)
        lines.append(f"| {replica} | {'spinning' if reader == 'spin' else 'sleeping'} | {spread('visible_us', 'p50')} "
                     f"| {spread('visible_us', 'p99')} | {spread('commit_us', 'p50')} "
                     f"| {spread('round_trip_us', 'p50')} | {at_once:.0%} |")
    text = "\n".join(lines) + "\n"
    print(text)
    (setup.options.out / "visible.md").write_text(text)
    (setup.options.out / "visible.json").write_text(
        machine.as_json({"machine": about, "commits": setup.options.commits,
                         "rounds": [{"replica": replica, "client": reader, "runs": runs}
                                    for (replica, reader), runs in rounds.items()]}))


def join(setup):
    settings = setup.write_settings("measured")
    run_script("restart.py", "join", "--command", setup.replica_command(settings), "--admin", setup.replica_admin,
               "--ring", setup.ring_path, "--runs", setup.options.pairs, "--out", setup.options.out / "join")


def snapshot(setup):
    ring = setup.settings["ring"]["name"] + "-bench"
    settings = setup.write_settings("snapshot", ring=ring)
    path = setup.ring_path.with_name(ring)
    try:
        run_script("restart.py", "snapshot", "--command", shlex.join([str(setup.writer), "--config", str(settings)]),
                   "--admin", f"http://127.0.0.1:{setup.writer_port}", "--ring", path, "--remove-ring", "--runs", setup.options.rounds, "--out", setup.options.out / "snapshot")
    finally:
        shutil.rmtree(path, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=pathlib.Path, default=ROOT / "build/demo", help="the running demo's folder")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/bench", help="the build to measure")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a folder for the results")
    parser.add_argument("--only", default=",".join(STEPS), help=f"of {', '.join(STEPS)}")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run of a comparison")
    parser.add_argument("--commits", type=int, default=2000, help="of each round of `visible`")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := [step for step in chosen if step not in STEPS]:
        parser.error(f"--only: there is no {unknown[0]}")
    options.out.mkdir(parents=True, exist_ok=True)
    # Ctrl-C and SIGTERM unwind alike, so that what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    steps = {"point": point, "pipelined": pipelined, "self-check": self_check, "visible": visible, "join": join,
             "snapshot": snapshot}
    try:
        with tempfile.TemporaryDirectory(prefix="ringside-bench-") as work:
            setup = Setup(options, work)
            for step in chosen:
                print(f"== {step}", file=sys.stderr)
                steps[step](setup)
    except FileNotFoundError as missing:
        print(f"record.py: {missing.filename} is missing: is the demo running, and the bench preset built?", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as problem:
        command = shlex.join(map(str, problem.cmd))
        print(f"record.py: this failed, its own message is above: {command}", file=sys.stderr)
        return 1
    except (compare.Failed, OSError) as problem:
        print(f"record.py: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
