"""nginx, HAProxy and Node as HTTP servers on loopback that answer 200 to whatever they accept: what the differential test
compares ours with. Their programs are Debian's, unpacked by tools/fetch_packages, or installed ones; nothing of them is
stood in for.

Threads: start and stop in the main thread.   Errors: AssertionError naming what is missing.
"""

import os
import platform
import shutil
from pathlib import Path
from typing import Dict, List

from harness import ROOT, Process
from http_raw import Address, RawClient, Unanswered, wait_for

NGINX = """daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx.error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }}
}}
"""

HAPROXY = """global
  maxconn 512
defaults
  mode http
  timeout client 30s
  timeout connect 5s
  timeout server 30s
frontend all
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string ok
"""

NODE = """const server = require('http').createServer((request, response) => {
  request.resume();
  request.on('end', () => response.end('ok'));
});
server.listen(PORT, '127.0.0.1');
"""


def find(program: str, package: str) -> Path:
    for folder in ("usr/sbin", "usr/bin"):
        unpacked = ROOT / "build" / "tools" / package / folder / program
        if unpacked.exists():
            return unpacked
    installed = shutil.which(program)
    if not installed:
        raise AssertionError(f"{program} is missing: run tools/fetch_packages {package}")
    return Path(installed)


def _environment(program: Path) -> Dict[str, str]:
    libraries = program.parents[1] / "lib" / f"{platform.machine()}-linux-gnu"
    return {**os.environ, "LD_LIBRARY_PATH": str(libraries)} if ROOT in program.parents else dict(os.environ)


class Peers:
    def __init__(self, folder: Path, ports: List[int]):
        self.processes: List[Process] = []
        self.addresses: Dict[str, Address] = {}
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=ports[0], user=user), encoding="utf-8")
        (folder / "haproxy.cfg").write_text(HAPROXY.format(port=ports[1]), encoding="utf-8")
        (folder / "node.js").write_text(NODE.replace("PORT", str(ports[2])), encoding="utf-8")
        nginx, haproxy, node = find("nginx", "nginx-light"), find("haproxy", "haproxy"), find("node", "nodejs")
        commands = {
            "nginx": [str(nginx), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e",
                      str(folder / "nginx.error.log")],
            "haproxy": [str(haproxy), "-db", "-f", str(folder / "haproxy.cfg")],
            "node": [str(node), str(folder / "node.js")],
        }
        try:
            for (name, command), port, program in zip(commands.items(), ports, (nginx, haproxy, node)):
                environment = [f"{key}={value}" for key, value in _environment(program).items() if key == "LD_LIBRARY_PATH"]
                process = Process(name, ["/usr/bin/env", *environment, *command], folder / f"{name}.log")
                self.processes.append(process)
                self.addresses[name] = ("127.0.0.1", port)
                wait_for(lambda process=process, port=port: self._answers(process, port), f"{name} answers", 30)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _answers(process: Process, port: int) -> bool:
        if not process.running():
            raise AssertionError(f"{process.name} did not start:\n{process.tail()}")
        try:
            with RawClient(("127.0.0.1", port)) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                return client.receive().status == 200
        except (ConnectionRefusedError, Unanswered):
            return False

    def close(self) -> None:
        for process in self.processes:
            if process.running():
                process.kill()
