"""The documents say what the code does: settings with defaults and bounds, metrics, problem types, tests, files, links."""

import re
import unittest
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

ROOT = Path(__file__).resolve().parents[2]
OPERATING = ROOT / "docs" / "operating.md"
HTTP = ROOT / "docs" / "http.md"
PROGRAM_FOLDERS = ("base", "shm", "http", "writer", "replica")
SECTIONS = ("mysql", "ring", "writer", "replica")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def sources(*folders: str) -> Iterator[Tuple[Path, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".cc", ".h"):
                yield path, read(path)


def documents() -> List[Path]:
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and folder.name not in ("build", ".git")]
    return sorted([*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))])


def without_code_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def table_rows(text: str) -> Iterator[List[str]]:
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


# --- settings

UNITS = {"kKiB": 1 << 10, "kMiB": 1 << 20, "kGiB": 1 << 30, "kLargest": 4096 << 30, "milliseconds": 1, "seconds": 1000,
         "minutes": 60_000, "hours": 3_600_000}


def evaluate(expression: str) -> int:
    """A constant of config.cc or config.h as a number: bytes, milliseconds, or a count."""
    plain = re.sub(r"\b(std|chrono|uint64_t|size_t)::|'|\{\}", "", expression).replace("std::chrono::", "")
    plain = re.sub(r"\b(milliseconds|seconds|minutes|hours)\b\s*\(([^()]*)\)", r"(\2)*\1", plain)
    plain = re.sub(r"[a-zA-Z_]\w*", lambda word: str(UNITS[word.group(0)]), plain)
    if not re.fullmatch(r"[\d\s()*]+", plain):
        raise ValueError(f"not a constant: {expression}")
    return int(eval(" ".join(plain.split())))  # digits, parentheses and * only, as just checked


def shown(text: str) -> int:
    """`4GiB`, `250ms`, `1000`, as the tables have them, as a number."""
    match = re.fullmatch(r"(\d+)(KiB|MiB|GiB|TiB|ms|s|m|h)?", text)
    if match is None:
        raise ValueError(f"neither number, size nor duration: {text}")
    factors = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "ms": 1, "s": 1000, "m": 60_000,
               "h": 3_600_000, None: 1}
    return int(match.group(1)) * factors[match.group(2)]


class Setting:
    def __init__(self, kind: str, member: str, bounds: List[str]):
        self.kind, self.member, self.bounds = kind, member, bounds


def settings_of_the_code() -> Dict[str, Setting]:
    code = read(ROOT / "base" / "config.cc")
    found = {}
    for section in SECTIONS:
        body = re.search(rf"^Result<void> read_{section}\(.*?^}}", code, re.DOTALL | re.MULTILINE).group(0)
        for kind, arguments in re.findall(r"settings\.(text|secret|flag|number|size|duration|address|patterns)\((.*?)\);",
                                          body, re.DOTALL):
            key, member, *bounds = [part.strip() for part in arguments.split(",")]
            found[f"{section}.{key.strip(chr(34))}"] = Setting(kind, member.removeprefix("out."), bounds)
    return found


def settings_of_the_reference() -> Dict[str, List[str]]:
    rows = {}
    for cells in table_rows(read(OPERATING).split("\n## Configuration")[1].split("\n## ")[0]):
        match = re.fullmatch(r"`((?:%s)\.[a-z_]+)`" % "|".join(SECTIONS), cells[0])
        if match:
            assert match.group(1) not in rows, f"{match.group(1)} stands in two tables"
            rows[match.group(1)] = cells[1:]
    return rows


class Settings(unittest.TestCase):
    def test_every_setting_has_its_line_and_no_other_has_one(self):
        self.assertGreater(len(settings_of_the_code()), 40)
        self.assertEqual(sorted(settings_of_the_reference()), sorted(settings_of_the_code()))

    def test_bounds_are_those_of_the_code(self):
        reference = settings_of_the_reference()
        for name, setting in settings_of_the_code().items():
            if setting.kind not in ("number", "size", "duration"):
                continue
            low, high = reference[name][1].split(" – ")
            self.assertEqual([shown(low), shown(high)], [evaluate(bound) for bound in setting.bounds], name)

    def test_defaults_are_those_of_the_code(self):
        header = read(ROOT / "base" / "config.h")
        reference = settings_of_the_reference()
        checked = 0
        for name, setting in settings_of_the_code().items():
            struct = re.search(rf"^struct {name.split('.')[0].capitalize()}Config {{.*?^}};", header,
                               re.DOTALL | re.MULTILINE).group(0)
            if setting.kind in ("number", "size", "duration", "flag"):
                match = re.search(rf"\b{setting.member}\s*(?:=\s*([^;]+)|\{{([^;]+)\}});", struct)
                self.assertIsNotNone(match, name)
                default = reference[name][0].strip("`")
                default = reference.get(default, [default])[0].strip("`")  # that of another setting
                if setting.kind == "flag":
                    self.assertEqual(default, match.group(1), name)
                else:
                    self.assertEqual(shown(default), evaluate(match.group(1) or match.group(2)), name)
                checked += 1
        self.assertGreater(checked, 25)

    def test_documents_name_no_setting_that_there_is_not(self):
        known = set(settings_of_the_code())
        named = re.compile(r"`((?:%s)\.[a-z_]+)`" % "|".join(SECTIONS))
        files = {"writer.lock"}
        for path in documents():
            for name in named.findall(read(path)):
                self.assertIn(name, known | files, path)
        for path, text in sources("base", "shm", "writer", "replica"):
            for name in re.findall(r'"[^"\n]*\b((?:%s)\.[a-z_]{3,})\b[^"\n]*"' % "|".join(SECTIONS), text):
                if "#include" not in name and not name.endswith((".lock", ".toml")):
                    self.assertIn(name, known, f"{path}: an error names a setting that there is not")


# --- metrics, problems

METRIC = re.compile(r"\b(?:ringside_(?:writer|replica|build)_[a-z_]+|process_[a-z_]+_(?:total|seconds|bytes|fds))\b")
METRIC_CELL = ("`ringside_", "`process_")


def metric_sources() -> Iterator[str]:
    for _, text in sources("writer", "replica"):
        yield text
    yield read(ROOT / "http" / "process_metrics.cc")


def metrics_of_the_code() -> Set[str]:
    return {name for text in metric_sources() for name in re.findall(r'"((?:ringside|process)_[a-z_]+)"', text)}


class Metrics(unittest.TestCase):
    def test_every_metric_has_its_line_and_no_other_has_one(self):
        rows = [cells[0].strip("`") for cells in table_rows(read(OPERATING)) if cells[0].startswith(METRIC_CELL)]
        self.assertEqual(len(rows), len(set(rows)))
        self.assertGreater(len(rows), 80)
        self.assertEqual(sorted(rows), sorted(metrics_of_the_code()))

    def test_types_are_those_of_the_code(self):
        types = {cells[0].strip("`"): cells[1] for cells in table_rows(read(OPERATING))
                 if cells[0].startswith(METRIC_CELL)}
        said = [(name, kind) for text in metric_sources()
                for kind, name in re.findall(r'\b(counter|gauge|histogram)\(\s*(?:metrics,\s*)?"((?:ringside|process)_[a-z_]+)"', text)]
        self.assertGreater(len(said), 80)
        for name, kind in said:
            self.assertEqual(types[name], kind, name)

    def test_documents_name_no_metric_that_there_is_not(self):
        for path in documents():
            for name in METRIC.findall(read(path)):
                base = re.sub(r"_(bucket|sum|count)$", "", name)
                self.assertTrue({name, base} & metrics_of_the_code(), f"{path}: {name}")


PROBLEMS = [r"urn:ringside:problem:([a-z-]+)", r'\.type = "([a-z-]+)"', r'\bproblem\(\s*\d+, "([a-z-]+)"',
            r'\bunavailable\(\s*"([a-z-]+)"', r'\bfail\(\s*\d+, "([a-z-]+)"', r'\{\d{3}, "([a-z-]+)"',
            r'\bverdict\([^;"]*"([a-z-]+)"', r'\bslug = status == 408 \? std::string_view\("([a-z-]+)"\)',
            r': std::string_view\("([a-z]+-request)"\)']


class Problems(unittest.TestCase):
    def check(self, heading: str, folder: str):
        text = read(HTTP).split("## Problem types")[1].split("\n## ")[0]
        rows = table_rows(text.split(f"**{heading}**")[1].split("\n**")[0])
        documented = {name for cells in rows for name in re.findall(r"`([a-z-]+)`", cells[0])}
        code = {name for _, text in sources(folder) for pattern in PROBLEMS for name in re.findall(pattern, text)}
        self.assertGreater(len(code), 15)
        self.assertEqual(sorted(documented), sorted(code))

    def test_every_problem_of_a_replica_has_its_line_and_no_other(self):
        self.check("Replica", "replica")

    def test_every_problem_of_the_writer_has_its_line_and_no_other(self):
        self.check("Writer", "writer")


# --- what the documents point at

class References(unittest.TestCase):
    def test_links_lead_somewhere(self):
        links = 0
        for path in documents():
            for target in re.findall(r"\]\(([^)\s]+)\)", without_code_blocks(read(path))):
                if re.match(r"[a-z]+:", target):
                    continue
                links += 1
                file, _, anchor = target.partition("#")
                to = (path.parent / file).resolve() if file else path
                self.assertTrue(to.exists(), f"{path}: {target}")
                if anchor:
                    headings = re.findall(r"^#+ (.*)$", without_code_blocks(read(to)), re.MULTILINE)
                    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
                    self.assertIn(anchor, anchors, path)
        self.assertGreater(links, 40)

    def test_files_that_are_named_are_there(self):
        named = re.compile(r"`((?:%s|tests|bench|deploy|docs|tools)/[\w./-]+\.(?:h|cc|py|sh|md|toml|sql|txt))`"
                           % "|".join(PROGRAM_FOLDERS))
        for path in documents():
            for name in named.findall(read(path)):
                self.assertTrue((ROOT / name).exists(), f"{path}: {name}")

    def test_tests_that_are_named_are_there(self):
        known = set()
        for _, text in sources("tests"):
            known.update(f"{suite}.{name}" for suite, name in re.findall(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)", text,
                                                                         re.MULTILINE))
        for path in (ROOT / "tests").rglob("*_test.py"):
            suite = ""
            tests = {}  # by class: a class has those of its bases in the same file as well
            for line in read(path).splitlines():
                match = re.match(r"class (\w+)(?:\(([^)]*)\))?|    def (test_\w+)", line)
                if match and match.group(1):
                    suite = match.group(1)
                    bases = re.findall(r"\w+", match.group(2) or "")
                    tests[suite] = {name for base in bases for name in tests.get(base, ())}
                elif match:
                    tests[suite].add(match.group(3))
            known.update(f"{suite}.{name}" for suite, names in tests.items() for name in names)
        text = read(ROOT / "docs" / "testing.md")
        named = re.findall(r"`([A-Z]\w+\.(?:[A-Z]|test_)\w+)`", text)
        self.assertGreater(len(named), 50)
        self.assertEqual(sorted(set(named) - known), [])

    def test_functions_that_are_named_are_in_their_files(self):
        steps = 0
        for name in ("life-of-a-write.md", "life-of-a-read.md"):
            for cells in table_rows(read(ROOT / "docs" / name)):
                files = [cell for cell in cells if re.fullmatch(r"`[\w/]+\.(?:h|cc)`", cell)]
                for file in files:
                    text = read(ROOT / file.strip("`"))
                    for function in re.findall(r"`(?:\w+::)*(\w+)\(\)`", " ".join(cells)):
                        self.assertTrue(re.search(rf"\b{function}\(", text), f"{name}: {function}() in {file}")
                        steps += 1
        self.assertGreater(steps, 40)


if __name__ == "__main__":
    unittest.main()
