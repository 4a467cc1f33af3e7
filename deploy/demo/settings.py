#!/usr/bin/env python3
"""Writes ringside.toml, and the option file with which the plain client reaches the same server.

    settings.py --out DIR --database shop --socket S --user U --password-file F …      the private server
    settings.py --out DIR --mysql mysql://user:password@host:3306/shop[?socket=PATH] …   another one

Prints the database's name. The password goes into files that only their owner may read, never into ringside.toml.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Optional
from urllib.parse import parse_qs, unquote, urlsplit


def write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    path.chmod(0o600)


def from_url(options: argparse.Namespace) -> Optional[str]:
    """Takes the server's settings from --mysql. What is wrong with the URL, or None."""
    url = urlsplit(options.mysql)
    query = parse_qs(url.query)
    if url.scheme not in ("mysql", "mariadb"):
        return "it must begin with mysql://"
    if set(query) - {"socket"}:
        return f"unknown parameter {sorted(set(query) - {'socket'})[0]}; socket= is the only one"
    options.socket = query["socket"][0] if "socket" in query else None
    options.host = None if options.socket else url.hostname
    options.port = None if options.socket else url.port or 3306
    options.user = unquote(url.username or "")
    options.database = unquote(url.path.strip("/"))
    options.password = unquote(url.password or "")
    if not (options.socket or options.host):
        return "it names neither a host nor a socket"
    if not options.user:
        return "it names no user"
    if not options.database or "/" in options.database or "`" in options.database:
        return "it names no database"
    return None


def client_file(options: argparse.Namespace) -> str:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = ["[client]", f"user={quoted(options.user)}", f"password={quoted(options.password)}"]
    if options.socket:
        lines.append(f"socket={quoted(options.socket)}")
    else:
        lines += [f"host={quoted(options.host)}", f"port={options.port}", "protocol=tcp"]
    return "\n".join(lines) + "\n"


def toml(options: argparse.Namespace, password_file: Path) -> str:
    # A JSON string is a TOML basic string for every character that can occur here.
    text = json.dumps
    where = f"socket = {text(options.socket)}" if options.socket else (
        f"host = {text(options.host)}\nport = {options.port}")
    return f"""# Written by deploy/demo.sh at each start. Every setting is explained in the configuration reference (docs/operating.md).

[mysql]
{where}
user = {text(options.user)}
password_file = {text(str(password_file))}
database = {text(options.database)}

[ring]
name = {text(options.ring_name)}
directory = {text(options.ring_directory)}
max_size = "{options.ring_mib}MiB"

[writer]
listen = "127.0.0.1:{options.writer_port}"

[replica]
listen = "127.0.0.1:{options.replica_port}"
unix_socket = {text(options.replica_socket)}
admin_port = {options.admin_port}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--mysql")
    parser.add_argument("--database")
    parser.add_argument("--socket")
    parser.add_argument("--user")
    parser.add_argument("--password-file")
    parser.add_argument("--ring-name", required=True)
    parser.add_argument("--ring-directory", required=True)
    parser.add_argument("--ring-mib", required=True, type=int)
    parser.add_argument("--writer-port", required=True, type=int)
    parser.add_argument("--replica-port", required=True, type=int)
    parser.add_argument("--replica-socket", required=True)
    parser.add_argument("--admin-port", required=True, type=int)
    options = parser.parse_args()
    if options.mysql:
        wrong = from_url(options)
        if wrong:
            print(f"--mysql: {wrong}; write mysql://user:password@host:3306/database "
                  "or mysql://user:password@localhost/database?socket=/run/mysqld/mysqld.sock", file=sys.stderr)
            return 1
    else:
        options.host, options.port = None, None
        options.password = Path(options.password_file).read_text(encoding="utf-8").strip()
    password_file = Path(options.password_file) if options.password_file else options.out / "server.password"
    if options.mysql:
        write_private(password_file, options.password + "\n")
    write_private(options.out / "client.cnf", client_file(options))
    (options.out / "ringside.toml").write_text(toml(options, password_file), encoding="utf-8")
    print(options.database)
    return 0


if __name__ == "__main__":
    sys.exit(main())
