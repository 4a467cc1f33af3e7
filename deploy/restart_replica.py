#!/usr/bin/env python3
"""Restarts a replica without a refused connection: starts its successor beside it, which joins the ring, gets the
listening sockets of the old one when it is ready, and lets that one answer what it has and end.

    deploy/restart_replica.py --config /etc/ringside/ringside.toml --index 0

For a new binary, a changed configuration (other addresses included), or a replica that somebody mistrusts. When nothing
runs at that index it is simply started. Whatever goes wrong before the successor is ready leaves the old one serving.

Needs replica.admin_port (it asks /status which process answers) and the rights of the replica's user.
Exit codes: 0 done; 1 not done, and the last line says why and what serves now; 2 wrong command line.
"""

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Optional

POLL_SECONDS = 0.02


class Failed(Exception):
    """What could not be done, and what serves now."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0],
                                     epilog="What stands behind -- goes to ringside-replica.")
    parser.add_argument("--config", required=True, type=Path, help="the configuration file, the replica's")
    parser.add_argument("--index", type=int, default=0, help="which replica (default 0)")
    parser.add_argument("--program", help="ringside-replica to start (default: the one on the PATH)")
    parser.add_argument("--log", type=Path, help="file that the successor's log goes to (default: this one's stderr)")
    parser.add_argument("--ready-timeout", type=float, default=300.0, metavar="SECONDS",
                        help="for joining the ring; then the successor is stopped (default 300)")
    parser.add_argument("--end-timeout", type=float, default=120.0, metavar="SECONDS",
                        help="for the old one's last answers (default 120)")
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


class AdminPort:
    """What the replica of that index says about itself."""

    def __init__(self, config: Path, index: int):
        settings = tomllib.loads(config.read_text(encoding="utf-8")).get("replica", {})
        port = settings.get("admin_port", 9100)
        if port == 0:
            raise Failed("replica.admin_port is 0: without it nobody can be asked which process serves")
        host = settings.get("admin_address", "127.0.0.1")
        self._base = f"http://{'[' + host + ']' if ':' in host else host}:{port + index}"
        # Whatever proxy the environment names is not for this.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def status(self) -> Optional[dict]:
        """/status; None: nobody listens, or the one that did has just handed over."""
        try:
            with self._opener.open(self._base + "/status", timeout=10.0) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None


def wait_for_end(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000.0))


def start(args: argparse.Namespace) -> subprocess.Popen:
    program = args.program or shutil.which("ringside-replica")
    if not program:
        raise Failed("ringside-replica is not on the PATH: name it with --program")
    command = [program, "--config", str(args.config), "--index", str(args.index), "--take-over", *args.more]
    if not args.log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    with args.log.open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def who_serves(admin: AdminPort) -> str:
    status = admin.status()
    if status and status.get("state") == "serving":
        return f"process {status.get('pid')} serves on"
    return "nothing serves at this index"


def await_successor(admin: AdminPort, successor: subprocess.Popen, seconds: float, takes_over: bool) -> dict:
    """Its /status once it serves. That is not to say that it is ready: the data may be older than replica.max_staleness,
    and then the old one's were as well."""
    deadline = time.monotonic() + seconds
    reason = "it has not joined yet"
    while True:
        code = successor.poll()
        if code is not None:
            raise Failed(f"the successor has ended with exit code {code}, its log says why; {who_serves(admin)}")
        status = admin.status()
        answers = bool(status) and status.get("pid") == successor.pid
        if answers:
            if status.get("state") == "serving":
                return status
            reason = str(status.get("reason"))
        if time.monotonic() >= deadline:
            if answers and takes_over:
                # The old one has stopped listening: to end this one as well would leave nobody.
                raise Failed(f"process {successor.pid} has taken over, and does not serve after {seconds:g} s: {reason}")
            successor.send_signal(signal.SIGTERM)
            raise Failed(f"not serving within {seconds:g} s: {reason}. The successor was stopped; {who_serves(admin)}")
        time.sleep(POLL_SECONDS)


def restart(args: argparse.Namespace) -> str:
    admin = AdminPort(args.config, args.index)
    before = admin.status()
    pidfd = -1
    if before and before.get("index") == args.index and "pid" in before:
        try:
            pidfd = os.pidfd_open(before["pid"])
        except ProcessLookupError:
            before = None
    elif before:
        raise Failed("something else than this replica answers on its admin port")
    begin = time.monotonic()
    successor = start(args)
    status = await_successor(admin, successor, args.ready_timeout, bool(before))
    took = f"process {successor.pid} serves, {time.monotonic() - begin:.2f} s after its start"
    if not status.get("ready"):
        took += f" (not ready: {status.get('reason')})"
    if not before:
        return f"replica {args.index}: {took}; none ran before"
    begin = time.monotonic()
    if not wait_for_end(pidfd, args.end_timeout):
        raise Failed(f"{took}; but process {before['pid']} has not ended within {args.end_timeout:g} s: look at its log")
    return f"replica {args.index}: {took}; process {before['pid']} ended {time.monotonic() - begin:.2f} s later"


def main() -> int:
    args = arguments()
    try:
        print(restart(args))
        return 0
    except (Failed, OSError, tomllib.TOMLDecodeError) as error:
        print(f"restart_replica: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
