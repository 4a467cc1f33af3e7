"""`deploy/demo.sh --check` on a seeded catalogue: what the README tells a newcomer to run, from start to end, twice,
and its manners: nothing left running, nothing left in shared memory, arguments refused that are none."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Dict

from harness import Database, ROOT

DEMO = str(ROOT / "deploy" / "demo.sh")
SECONDS = 240


class Demo(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="ringside-demo-test-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def environment(self, build: str) -> Dict[str, str]:
        return {**os.environ, "RINGSIDE_DEMO_DIR": str(self.folder), "RINGSIDE_DEMO_SEEDED": "800",
                "RINGSIDE_DEMO_BUILD": build}

    def run_demo(self, *arguments: str, build: str = "") -> subprocess.CompletedProcess:
        return subprocess.run([DEMO, *arguments], env=self.environment(build or os.environ["RINGSIDE_BUILD"]),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)

    def processes(self):
        """The command lines that name this demo's folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue  # it has ended meanwhile
            if str(self.folder) in line:
                found.append(line)
        return found

    def test_the_tour_is_right_and_leaves_nothing_behind(self):
        for start in ("first", "second"):
            done = self.run_demo("--check")
            text = done.stdout + done.stderr
            self.assertEqual(done.returncode, 0, f"{start} start:\n{text}")
            self.assertIn("every answer was right", text)
            self.assertIn("loaded 800 products" if start == "first" else "reusing 800 products", text)
            self.assertEqual(self.processes(), [])
        ring = next(line for line in (self.folder / "ringside.toml").read_text(encoding="utf-8").splitlines()
                    if line.startswith("name = ")).partition('"')[2].rstrip('"')
        self.assertFalse((Path("/dev/shm") / ring).exists())

    def test_it_stays_until_interrupted_and_then_stops_everything(self):
        with subprocess.Popen([DEMO], env=self.environment(os.environ["RINGSIDE_BUILD"]), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
            watchdog = threading.Timer(SECONDS, demo.kill)
            watchdog.start()
            try:
                text = ""
                for line in demo.stdout:
                    text += line
                    if line.strip().startswith("logs"):
                        break
                self.assertIn("Ringside is up", text)
                running = " ".join(self.processes())
                for program in ("mariadbd", "ringside-writer", "--index 0", "--index 1", "live.py"):
                    self.assertIn(program, running)
                demo.send_signal(signal.SIGINT)
                text += demo.stdout.read()
                self.assertEqual(demo.wait(), 0, text)
            finally:
                watchdog.cancel()
                if demo.poll() is None:
                    demo.terminate()  # it stops what it has started
        self.assertEqual(self.processes(), [])

    def test_a_server_of_ones_own_is_used_and_stays_as_it_is(self):
        server = self.folder / "server"
        server.mkdir()
        database = Database(server)
        self.addCleanup(database.stop)
        url = f"mysql://demo:p%40ss%2Fword@localhost/my_shop?socket={database.socket}"
        with database.session() as session:
            session.execute("CREATE USER demo@localhost IDENTIFIED BY 'p@ss/word'; "
                            "GRANT REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR ON *.* TO demo@localhost; "
                            "GRANT ALL ON my_shop.* TO demo@localhost; GRANT ALL ON ringside.* TO demo@localhost")
            for rights in ("ALL", "SELECT, INSERT, UPDATE, DELETE"):
                session.execute("REVOKE ALL ON my_shop.* FROM demo@localhost; "
                                f"GRANT {rights} ON my_shop.* TO demo@localhost")
                done = self.run_demo("--check", "--no-live", "--mysql", url)
                text = done.stdout + done.stderr
                self.assertEqual(done.returncode, 0, text)
                self.assertIn("every answer was right", text)
                self.assertIn("loaded 800 products" if rights == "ALL" else "reusing 800 products", text)
                self.assertTrue(database.process.running())
                self.assertNotIn("p@ss/word", text)
            self.assertEqual(session.value("SELECT COUNT(*) FROM my_shop.products"), "800")

    def test_wrong_arguments_are_refused_before_anything_is_started(self):
        for arguments in (["--chek"], ["--seeded", "many"], ["--mysql"]):
            done = self.run_demo(*arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("demo.sh:", done.stderr)
        self.assertIn("--check", self.run_demo("--help").stdout)

    def test_a_program_that_cannot_start_ends_the_demo_with_its_reason(self):
        done = self.run_demo("--check", build=str(self.folder / "no-such-build"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("writer is not ready", done.stderr)
        self.assertIn("ringside-writer", done.stderr)
        self.assertEqual(self.processes(), [])


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
