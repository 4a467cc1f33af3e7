#!/usr/bin/env python3
"""Prints one free loopback port for each argument, the preferred one where it is free: `7070`, or `9100x2` for the
first of two in a row. A port may be taken between this answer and its use; the program that then cannot listen says so.
"""

import socket
import sys

TRIES = 200


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # The servers set it too: without it a connection of the last run in TIME_WAIT would look like a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
            return True
        except OSError:
            return False


def choose(wish: str, taken: set) -> int:
    first, _, count = wish.partition("x")
    span = int(count or "1")
    for attempt in range(TRIES):
        ports = range(int(first) + 10 * attempt, int(first) + 10 * attempt + span)
        if all(port < 65536 and port not in taken and is_free(port) for port in ports):
            taken.update(ports)
            return ports[0]
    raise SystemExit(f"no free port found from {first} on")


if __name__ == "__main__":
    used: set = set()
    print(*(choose(wish, used) for wish in sys.argv[1:]))
