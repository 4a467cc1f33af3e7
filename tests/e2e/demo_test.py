"""`deploy/demo.sh --check` on a seeded catalogue: what the README tells a newcomer to run, from start to end, twice,
and its manners: nothing left running, nothing left in shared memory, arguments refused that are none."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from harness import ROOT

DEMO = str(ROOT / "deploy" / "demo.sh")
SECONDS = 240


class Demo(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="ringside-demo-test-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_demo(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "RINGSIDE_DEMO_DIR": str(self.folder), "RINGSIDE_DEMO_SEEDED": "800",
                       "RINGSIDE_DEMO_BUILD": os.environ["RINGSIDE_BUILD"]}
        return subprocess.run([DEMO, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=SECONDS, check=False)

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

    def test_wrong_arguments_are_refused_before_anything_is_started(self):
        for arguments in (["--chek"], ["--seeded", "many"], ["--mysql"]):
            done = self.run_demo(*arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("demo.sh:", done.stderr)
        self.assertIn("--check", self.run_demo("--help").stdout)

    def test_a_program_that_cannot_start_ends_the_demo_with_its_reason(self):
        environment = {**os.environ, "RINGSIDE_DEMO_DIR": str(self.folder), "RINGSIDE_DEMO_SEEDED": "50",
                       "RINGSIDE_DEMO_BUILD": str(self.folder / "no-such-build")}
        done = subprocess.run([DEMO, "--check"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=SECONDS, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("writer is not ready", done.stderr)
        self.assertIn("ringside-writer", done.stderr)
        self.assertEqual(self.processes(), [])


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
