"""What every recorded figure has to say about where it comes from: machine, kernel, build, commit, noise.

Python's standard library alone. Used by compare.py and restart.py.
"""

import datetime
import json
import os
import pathlib
import platform
import re
import subprocess


def _first_line_with(path, prefix):
    try:
        for line in pathlib.Path(path).read_text().splitlines():
            if line.startswith(prefix):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown"


def _git(*arguments):
    here = pathlib.Path(__file__).resolve().parent
    done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _build(program):
    """Build type and flags of the build tree that `program` lies in, out of its CMakeCache.txt."""
    for folder in pathlib.Path(program).resolve().parents:
        cache = folder / "CMakeCache.txt"
        if not cache.is_file():
            continue
        values = {}
        for line in cache.read_text().splitlines():
            if line[:1] not in ("#", "/") and "=" in line:
                name, value = line.split("=", 1)
                values[name.split(":", 1)[0]] = value
        kind = values.get("CMAKE_BUILD_TYPE", "")
        flags = f"{values.get('CMAKE_CXX_FLAGS', '')} {values.get('CMAKE_CXX_FLAGS_' + kind.upper(), '')}"
        return {"preset": folder.name, "type": kind, "flags": " ".join(flags.split())}
    return {"preset": "unknown", "type": "unknown", "flags": "unknown"}


def describe(program):
    """A dictionary for the record; `program` is the measured program or another one of the same build."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cpu": _first_line_with("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _first_line_with("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()}",
        "virtual": "hypervisor" in _first_line_with("/proc/cpuinfo", "flags"),
        "build": _build(program),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": _git("status", "--porcelain", "--untracked-files=no") not in ("", "unknown"),
        "load_average_before": os.getloadavg()[0],
    }


def as_json(record):
    """A record's text. Where the checkout and temporary files lay on that machine is of no interest to anybody."""
    root = str(pathlib.Path(__file__).resolve().parent.parent) + "/"
    text = json.dumps(record, indent=1).replace(root, "")
    return re.sub(r"/tmp/[^/\s\"]+/", "", text) + "\n"


def lines(about):
    """The same for people, as lines of Markdown."""
    build = about["build"]
    dirty = " with uncommitted changes" if about["uncommitted_changes"] else ""
    machine = "virtual machine" if about["virtual"] else "machine"
    return [
        f"- {about['date']}; {machine} of {about['cores']} cores, {about['cpu']}, {about['memory']}; {about['kernel']}",
        f"- build `{build['preset']}` ({build['type']}, `{build['flags']}`), commit `{about['commit'][:12]}`{dirty}",
        f"- load average before the first run: {about['load_average_before']:.2f}",
    ]


class Disturbance:
    """How much processor time others took, as a share of one core, between its making and share().

    Everything that is neither the server nor the client: another process, the hypervisor (steal). A run next to a
    compiler shows here, and is worth nothing.
    """

    def __init__(self, server_pids):
        self._pids = server_pids
        self._start = self._read()

    def _read(self):
        ticks = os.sysconf("SC_CLK_TCK")
        fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        user, nice, system, _idle, _iowait, irq, softirq, steal = fields
        children = os.times()
        own = children.user + children.system + children.children_user + children.children_system
        servers = sum(self._process_seconds(pid, ticks) for pid in self._pids)
        wall = float(pathlib.Path("/proc/uptime").read_text().split()[0])
        return wall, (user + nice + system + irq + softirq + steal) / ticks - own - servers

    @staticmethod
    def _process_seconds(pid, ticks):
        after_name = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(after_name[11]) + int(after_name[12])) / ticks

    def share(self):
        wall, others = self._read()
        elapsed = wall - self._start[0]
        return max(0.0, (others - self._start[1]) / elapsed) if elapsed > 0 else 0.0
