"""The ring's protocols as Promela models (model/*.pml): spin goes through all interleavings of each, and finds each known mistake.

A model is searched to its end: an error, a search cut short, or a statement that no run gets to is a failure. So is a
mutation (a model with one step missing or misplaced, -DBUG_…) in which spin finds nothing: it shows that the model sees that
step. spin and gcc are needed; nothing is written but below a temporary directory.
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Set

MODELS = Path(__file__).resolve().parent / "model"
MEMORY_MIB = 1500  # of one search
DEPTH = 200_000


class Search(NamedTuple):
    """One model with its configuration, and the mutations that are looked for in it."""
    model: str
    defines: str
    mutations: List[str]


SEARCHES = [
    # Joining while two segments are compacted and freed: the dead copy in one, the tombstone in the other.
    Search("log", "TRANSACTIONS=4 VICTIMS=2", [
        "P3_BEFORE_P2", "TOMBSTONE_DROPPED", "LAST_COMMIT_COMPACTED", "FREE_POSITION", "VICTIM_ABANDONED", "NOT_FIFO",
        "NO_F0", "F0_ONCE", "NO_F2", "J3_BEFORE_J2", "J4_UNCOMMITTED", "RECLAIM_EARLY"]),
    Search("log", "READERS=2 SLOTS=3 TRANSACTIONS=4 VICTIMS=1", ["ONE_READER_SEEN"]),
    Search("log", "TRANSACTIONS=4 VICTIMS=1 EVICTIONS=1", ["E1_LATE", "NO_R4", "NO_R2", "R2_FIRST", "GENERATION_LATE"]),
    Search("log", "TRANSACTIONS=4 VICTIMS=1 EVICTIONS=1 PUNCHES=1", ["PUNCH_UNSEEN"]),
    Search("log", "TRANSACTIONS=4 VICTIMS=1 KILLS=1", ["RESTART_REUSES", "RESTART_KEEPS_TAKEN"]),
    Search("sleep", "READERS=1 PUBLISHES=2 EVICTIONS=1 SUPERSEDES=1 KILLS=1 OTHERS=1", [
        "P4_BEFORE_P3", "S2_BEFORE_S1", "WOKEN_ONCE", "NO_E2", "E2_BEFORE_E1", "EMPTIED_LATE", "RESTART_DOES_NOT_WAKE"]),
    # One behind a reader that has locked its slot and is not yet in use: for it the writer looks at all of them.
    Search("sleep", "READERS=2 PUBLISHES=1 EVICTIONS=0 SUPERSEDES=0 KILLS=0 OTHERS=0 LOOKS=1", [
        "LOOK_ENDS_AT_A_FREE_ONE", "LOOK_WAKES_NOBODY"]),
    Search("sleep", "READERS=1 PUBLISHES=2 EVICTIONS=0 SUPERSEDES=0 KILLS=0 OTHERS=0 LEAVES=1", ["SLEEP_WORD_STARTS_AGAIN"]),
    Search("sleep", "READERS=1 PUBLISHES=1 EVICTIONS=0 SUPERSEDES=0 KILLS=1 OTHERS=0 LOOKS=1", []),
    Search("catalogue", "READERS=1 KILLS=1", [
        "EVENT_FIRST", "ACTIVE_FIRST", "SINGLE_HALF", "UNCHECKED", "NOT_READ_AGAIN", "POSITION_AFTER"]),
]


class Result(NamedTuple):
    command: str
    output: str

    def figures(self) -> str:
        def first(pattern: str) -> str:
            found = re.search(pattern, self.output)
            return found.group(1) if found else "?"
        states, depth = first(r"(\d+) states, stored"), first(r"depth reached (\d+)")
        memory, seconds = first(r"([\d.]+)\s+total actual memory"), first(r"elapsed time ([\d.]+)")
        return f"{states} states, depth {depth}, {memory} MB, {seconds} s"

    def error(self) -> str:
        found = re.search(r"^pan:\d+: (.*)$", self.output, re.MULTILINE)
        return found.group(1) if found else ""

    def is_complete(self) -> bool:
        return ("errors: 0" in self.output and "Search not completed" not in self.output and
                "max search depth too small" not in self.output)

    def unreached(self) -> Set[str]:
        """Statements by line and text: state numbers differ between configurations."""
        return {f"{file}:{line} {text}" for file, line, text in
                re.findall(r'^\t([\w.]+\.pml):(\d+), state \d+, "(.*)"$', self.output, re.MULTILINE)}


def run_search(model: str, defines: List[str], optimise: str) -> Result:
    with tempfile.TemporaryDirectory(prefix="ringside-model-") as folder:
        def call(*command: str) -> str:
            done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}")
            return done.stdout

        Path(folder, f"{model}.pml").write_text((MODELS / f"{model}.pml").read_text(encoding="utf-8"), encoding="utf-8")
        flags = [f"-D{define}" for define in defines]
        call("spin", *flags, "-a", f"{model}.pml")
        call("gcc", optimise, "-w", "-DSAFETY", "-DCOLLAPSE", "-DNOFAIR", f"-DMEMLIM={MEMORY_MIB}", "-o", "pan", "pan.c")
        output = call("./pan", f"-m{DEPTH}", "-w20")
        if "errors: 0" not in output and "NOTRAIL" not in os.environ and not any(d.startswith("BUG_") for d in defines):
            output += call("spin", *flags, "-t", "-p", "-g", f"{model}.pml")[-20_000:]
        return Result(f"spin {' '.join(flags)} -a {model}.pml", output)


class Models(unittest.TestCase):
    whole: Dict[Search, Result] = {}
    mutated: Dict[str, Result] = {}

    @classmethod
    def setUpClass(cls):
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            whole = [pool.submit(run_search, search.model, search.defines.split(), "-O1") for search in SEARCHES]
            mutated = {f"{search.model} {search.defines} BUG_{mutation}":
                       pool.submit(run_search, search.model, [*search.defines.split(), f"BUG_{mutation}"], "-O0")
                       for search in SEARCHES for mutation in search.mutations}
            cls.whole = [each.result() for each in whole]
            cls.mutated = {name: each.result() for name, each in mutated.items()}

    def test_every_model_holds_in_all_interleavings(self):
        for result in self.whole:
            print(f"{result.command}: {result.figures()}", file=sys.stderr)
            with self.subTest(result.command):
                self.assertTrue(result.is_complete(), result.output)

    def test_every_mutation_is_found(self):
        for name, result in self.mutated.items():
            print(f"{name}: {result.error()}", file=sys.stderr)
            with self.subTest(name):
                self.assertRegex(result.error(), r"^assertion violated", result.output)

    def test_every_mutation_of_the_models_is_looked_for(self):
        for path in sorted(MODELS.glob("*.pml")):
            there = set(re.findall(r"^#\s*(?:el)?if.*?\bBUG_(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
            self.assertEqual(there, {mutation for search in SEARCHES if search.model == path.stem for mutation in search.mutations})

    def test_every_statement_is_reached_by_some_run(self):
        for model in sorted({search.model for search in SEARCHES}):
            never = set.intersection(*(result.unreached() for search, result in zip(SEARCHES, self.whole) if search.model == model))
            self.assertEqual({each for each in never if not each.endswith("-end-")}, set())


if __name__ == "__main__":
    unittest.main()
