#!/usr/bin/env python3
"""A replica over a ring of made-up rows, compared with the responder and joined again, each for an instant: the way of
every recorded figure that needs no database. Fails when any of the programs does, or says nothing.

    replica_smoke.py SOURCE_FOLDER RINGSIDE_BENCH RINGSIDE_REPLICA
"""

import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

ROWS = 2000


def main() -> int:
    source, bench, replica = map(pathlib.Path, sys.argv[1:4])
    ports = subprocess.run([sys.executable, source / "deploy/demo/free_ports.py", "18390", "18490"],
                           capture_output=True, text=True, check=True).stdout.split()
    with tempfile.TemporaryDirectory(prefix="ringside-bench-") as work, \
            subprocess.Popen([bench, "ring", "--rows", str(ROWS)], stdout=subprocess.PIPE, text=True) as ring:
        try:
            made = json.loads(ring.stdout.readline())
            settings = pathlib.Path(work) / "ringside.toml"
            settings.write_text(f'[ring]\nname = "{made["name"]}"\ndirectory = "{made["directory"]}"\n'
                                f'[replica]\nlisten = "127.0.0.1:{ports[0]}"\nadmin_port = {ports[1]}\n')
            command = shlex.join([str(replica), "--config", str(settings), "--index", "0"])
            admin = f"http://127.0.0.1:{ports[1]}"
            subprocess.run(
                [sys.executable, source / "bench/compare.py", "--bench", bench, "--command", command,
                 "--ready", admin + "/readyz", "--url", f"http://127.0.0.1:{ports[0]}/v1/products/{{key}}",
                 "--keys", f"1..{ROWS}", "--pairs", "1", "--seconds", "0.05", "--warmup", "0", "--connections", "1,4",
                 "--out", f"{work}/compared"], check=True)
            subprocess.run(
                [sys.executable, source / "bench/restart.py", "join", "--command", command, "--admin", admin,
                 "--ring", f'{made["directory"]}/{made["name"]}', "--runs", "1", "--out", f"{work}/joined"], check=True)
            compared = json.loads(pathlib.Path(f"{work}/compared.json").read_text())
            joined = json.loads(pathlib.Path(f"{work}/joined.json").read_text())
        finally:
            ring.terminate()
    if not all(row["a_rps"] > 0 and row["b_rps"] > 0 for row in compared["summary"]):
        print("a run has no requests", file=sys.stderr)
        return 1
    if joined["runs"][0]["rows"] != ROWS:
        print(f"the replica joined {joined['runs'][0]['rows']} rows of {ROWS}", file=sys.stderr)
        return 1
    return ring.returncode


if __name__ == "__main__":
    sys.exit(main())
