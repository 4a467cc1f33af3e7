"""deploy/prometheus: valid to promtool, every alert with a case that fires and one that does not, every metric and every
heading of the runbook that is named there is there."""

import re
import subprocess
import unittest
from pathlib import Path
from typing import Dict, List, Set

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "ringside.rules.yml"
CASES = FOLDER / "ringside.rules.test.yml"
OPERATING = ROOT / "docs" / "operating.md"
PROMTOOL = ROOT / "build" / "tools" / "prometheus" / "usr" / "bin" / "promtool"
# Of the language, or of Prometheus itself.
NO_METRIC = {"sum", "rate", "by", "on", "unless", "or", "abs", "absent", "changes", "count", "increase", "histogram_quantile", "up", "job",
             "instance", "route", "le", "version", "commit"}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def rules() -> Dict[str, str]:
    """Each rule's text by its name: a recorded series or an alert."""
    found: Dict[str, str] = {}
    for text in re.split(r"^      - ", read(RULES), flags=re.MULTILINE)[1:]:
        kind, name = re.match(r"(record|alert): (\S+)\n", text).groups()
        assert name not in found, name
        found[name] = kind + text[len(kind):]
    return found


def expression(rule: str) -> str:
    return re.search(r"expr: \|\n((?: {10}.*\n)+)", rule).group(1)


def names_in(text: str) -> Set[str]:
    """What an expression asks for: metrics and recorded series. Labels in braces and durations are none."""
    return set(re.findall(r"[a-z_:][a-z0-9_:]*", re.sub(r"\{[^}]*\}|\[\w+\]|\b\d[\w.]*", " ", text))) - NO_METRIC


def documented() -> Set[str]:
    text = read(OPERATING).split("\n## Metrics")[1].split("\n## ")[0]
    names: Set[str] = set()
    for name, kind in re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|", text, re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


class Rules(unittest.TestCase):
    def promtool(self, *arguments: str) -> str:
        self.assertTrue(PROMTOOL.exists(), f"{PROMTOOL} is missing: run tools/fetch_packages prometheus")
        done = subprocess.run([str(PROMTOOL), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_promtool_finds_nothing_wrong(self):
        self.assertIn(f"SUCCESS: {len(rules())} rules found", self.promtool("check", "rules", "--lint-fatal", RULES.name))
        self.assertIn("valid prometheus config", self.promtool("check", "config", "--lint-fatal", "prometheus.yml"))

    def test_every_case_ends_as_it_says(self):
        self.assertIn("SUCCESS", self.promtool("test", "rules", CASES.name))

    def test_every_alert_has_a_case_that_fires_and_one_that_does_not(self):
        alerts = {name for name, rule in rules().items() if rule.startswith("alert")}
        self.assertGreater(len(alerts), 20)
        outcomes: Dict[str, List[bool]] = {}
        for name, outcome in re.findall(r"^ {8}alertname: (\w+)\n {8}exp_alerts:(.*)$", read(CASES), re.MULTILINE):
            outcomes.setdefault(name, []).append(outcome.strip() != "[]")
        self.assertEqual(set(outcomes), alerts)
        for name, fires in outcomes.items():
            self.assertEqual(set(fires), {True, False}, name)
        # And nothing that a case expects was overlooked by the pattern above.
        self.assertEqual(read(CASES).count("alertname:"), sum(len(fires) for fires in outcomes.values()))

    def test_rules_ask_for_what_there_is(self):
        known = documented() | set(rules())
        self.assertGreater(len(known), 80)
        for name, rule in rules().items():
            asked = names_in(expression(rule))
            self.assertTrue(asked or "up{" in rule, name)
            self.assertEqual(asked - known, set(), name)
        for name in set(re.findall(r"series: '([a-z_:]+)\{", read(CASES))) - {"up"}:
            self.assertIn(name, known, "a case of ringside.rules.test.yml")

    def test_every_alert_says_how_bad_it_is_and_where_to_read_on(self):
        headings = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
                    for heading in re.findall(r"^### (.*)$", read(OPERATING).split("\n## Runbook")[1], re.MULTILINE)}
        for name, rule in rules().items():
            if rule.startswith("alert"):
                self.assertRegex(rule, r"severity: (critical|warning)\n", name)
                self.assertRegex(rule, r"summary: '", name)
                self.assertIn(re.search(r"runbook: docs/operating\.md#(\S+)", rule).group(1), headings, name)


if __name__ == "__main__":
    unittest.main()
