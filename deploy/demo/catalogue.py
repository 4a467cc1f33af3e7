"""The shop's rows, made from package index entries: the real ones (apt_index.py) or seeded ones of the same shape.

What an index entry does not have is derived from name and size by fixed rules, so that two loads of one index give
the same rows: price, stock, weight_kg, listed_on, handling_time and some badges are Ringside's invention.
"""

import random
import re
import zlib
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

from apt_index import Stanza, compare_versions

# The table `relations`' ENUM, in its order; the index spells them with capitals.
RELATION_KINDS = ("pre-depends", "depends", "recommends", "suggests", "enhances", "provides", "replaces", "breaks",
                  "conflicts")
PRIORITIES = ("required", "important", "standard", "optional", "extra")
LIBRARY_SECTIONS = ("libs", "libdevel", "oldlibs")

_RELATION = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9.+_-]*)(?::[a-z0-9-]+)?\s*(?:\(([^)]*)\))?")
_MAINTAINER = re.compile(r"^\s*(.*?)\s*<([^>]*)>")
_TAG_WITH_CHOICES = re.compile(r"^(.*)\{(.*)\}$")


@dataclass
class Relation:
    kind: str
    position: int
    choice: int
    target: str
    constraint: Optional[str]


@dataclass
class Product:
    """One package, with all that hangs on it. Identities are given by whoever writes it to tables."""

    name: str
    version: str
    summary: str
    body: str
    section: str
    maintainer_name: str
    maintainer_email: str
    size: int
    installed_size_kib: Optional[int]
    priority: str
    multi_arch: Optional[str]
    essential: bool
    protected: bool
    homepage: Optional[str]
    sha256: str
    tags: List[str] = field(default_factory=list)
    relations: List[Relation] = field(default_factory=list)

    @property
    def price(self) -> Decimal:
        """0.99 to 49.98 by name, and a cent for each 100,000 bytes."""
        return Decimal(99 + _hash(self.name) % 4900 + self.size // 100_000).scaleb(-2)

    @property
    def stock(self) -> int:
        """0 to 499 by name."""
        return _hash("stock:" + self.name) % 500

    @property
    def weight_kg(self) -> float:
        return self.size / 1_000_000

    @property
    def listed_on(self) -> str:
        """A day of the years 2005 to 2024, by name."""
        h = _hash("listed:" + self.name)
        return f"{2005 + h % 20:04}-{1 + h // 20 % 12:02}-{1 + h // 240 % 28:02}"

    @property
    def handling_time(self) -> str:
        """A second for each 10,000 bytes, at least 30, at most a day."""
        seconds = min(max(30, self.size // 10_000), 86_400)
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    @property
    def badges(self) -> List[str]:
        marks = [("essential", self.essential), ("protected", self.protected),
                 ("bestseller", _hash("best:" + self.name) % 50 == 0), ("heavy", self.size >= 50_000_000)]
        return [name for name, has in marks if has]

    @property
    def is_team(self) -> bool:
        return bool(re.search(r"team|group|maintainers|lists\.|packages@qa", self.maintainer_name + " <" +
                              self.maintainer_email, re.IGNORECASE))


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8"))


def _ascii(text: str, limit: int) -> str:
    return text.encode("ascii", "replace").decode("ascii")[:limit]


def _relations(stanza: Stanza) -> List[Relation]:
    found = []
    for kind in RELATION_KINDS:
        text = stanza.get("-".join(part.capitalize() for part in kind.split("-")), "")
        position = 0
        for choice, alternatives in enumerate(text.split(",") if text else []):
            for alternative in alternatives.split("|"):
                match = _RELATION.match(alternative)
                if not match:
                    continue
                constraint = _ascii(match.group(2), 160) if match.group(2) else None
                found.append(Relation(kind, position, choice, _ascii(match.group(1), 200), constraint))
                position += 1
    return found


def _tags(text: str) -> List[str]:
    # "role::program, use::{viewing,gameplaying}": braces stand for several values of one facet.
    tags = set()
    depth = 0
    word = ""
    for character in text.replace("\n", " ") + ",":
        depth += (character == "{") - (character == "}")
        if character != "," or depth > 0:
            word += character
            continue
        word = word.strip()
        choices = _TAG_WITH_CHOICES.match(word)
        if choices:
            tags.update(choices.group(1) + value.strip() for value in choices.group(2).split(","))
        elif word:
            tags.add(word)
        word = ""
    return sorted(_ascii(tag, 100) for tag in tags)


def _long_text(text: str) -> str:
    # An index writes empty lines as a single dot.
    return "\n".join("" if line.strip() == "." else line for line in text.split("\n")).strip()


def product_from(stanza: Stanza, long_descriptions: Dict[str, str]) -> Product:
    summary = stanza.get("Description", "").split("\n", 1)[0]
    body = long_descriptions.get(stanza.get("Description-md5", "")) or stanza.get("Description", "")
    maintainer = _MAINTAINER.match(stanza.get("Maintainer", ""))
    name, email = maintainer.groups() if maintainer else (stanza.get("Maintainer", "unknown"), "")
    priority = stanza.get("Priority", "optional")
    multi_arch = stanza.get("Multi-Arch")
    installed = stanza.get("Installed-Size", "")
    sha256 = stanza.get("SHA256", "")
    return Product(
        name=_ascii(stanza["Package"], 150), version=_ascii(stanza.get("Version", "0"), 120), summary=summary[:300],
        body=_long_text(body), section=_ascii(stanza.get("Section", "misc"), 40),
        maintainer_name=name.strip('" ')[:200], maintainer_email=_ascii(email, 200).lower(),
        size=int(stanza.get("Size", "0")), installed_size_kib=int(installed) if installed.isdigit() else None,
        priority=priority if priority in PRIORITIES else "optional",
        multi_arch=multi_arch if multi_arch in ("no", "same", "foreign", "allowed") else None,
        essential=stanza.get("Essential") == "yes",
        protected="yes" in (stanza.get("Protected"), stanza.get("Important")),
        homepage=stanza["Homepage"][:500] if stanza.get("Homepage") else None,
        sha256=sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else "0" * 64,
        tags=_tags(stanza.get("Tag", "")), relations=_relations(stanza))


def newest(entries: Iterable[Stanza]) -> List[Stanza]:
    """One entry for each package name, the newest version, by name: the index, its updates and its security
    archive often list one package several times."""
    best: Dict[str, Stanza] = {}
    for stanza in entries:
        name = stanza.get("Package")
        if not name:
            continue
        known = best.get(name)
        if known is None or compare_versions(stanza.get("Version", "0"), known.get("Version", "0")) > 0:
            best[name] = stanza
    return [best[name] for name in sorted(best)]


def seeded_stanzas(count: int, seed: int = 1) -> Iterator[Stanza]:
    """`count` invented packages of the shape of Debian's: for machines that have no package index, and for tests."""
    rng = random.Random(seed)
    stems = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "indigo", "juniper", "kelp",
             "lumen", "maple", "nimbus", "orchid", "pebble", "quartz", "raven", "sorrel", "tundra", "umber", "vesper",
             "willow", "xenon", "yarrow", "zephyr")
    endings = ("", "", "-dev", "-doc", "-common", "-data", "-utils", "-bin", "1", "2", "3")
    sections = ("admin", "devel", "doc", "games", "graphics", "libs", "libdevel", "net", "python", "science", "sound",
                "text", "utils", "video", "web", "x11")
    facets = {"role": ("program", "shared-lib", "devel-lib", "documentation", "app-data"),
              "interface": ("commandline", "graphical", "x11", "text-mode", "web"),
              "use": ("browsing", "editing", "viewing", "converting", "gameplaying")}
    people = [f"{rng.choice(stems).capitalize()} {rng.choice(stems).capitalize()} <person{n}@example.org>"
              for n in range(max(3, count // 40))]
    people += [f"{stem.capitalize()} Team – ñandú 漢字 <team-{stem}@lists.example.org>" for stem in stems[:5]]
    names: List[str] = []
    taken = set()
    while len(names) < count:
        name = f"{rng.choice(stems)}-{rng.choice(stems)}{rng.choice(endings)}"
        while name in taken:
            name = f"{name.rstrip('0123456789')}{rng.randrange(10 * count)}"
        taken.add(name)
        names.append(name)
    for name in sorted(names):
        yield _seeded_stanza(rng, name, names, sections, facets, people)


def _seeded_stanza(rng, name, names, sections, facets, people) -> Stanza:
    def links(most: int) -> str:
        chosen = []
        for _ in range(rng.randrange(most + 1)):
            target = rng.choice(names)
            text = target + (f" (>= {rng.randrange(9)}.{rng.randrange(20)})" if rng.random() < 0.6 else "")
            chosen.append(text + (f" | {rng.choice(names)}" if rng.random() < 0.1 else ""))
        return ", ".join(chosen)

    summary = f"seeded product {name}"
    stanza = {
        "Package": name, "Version": f"{rng.randrange(10)}.{rng.randrange(30)}-{rng.randrange(1, 9)}",
        "Maintainer": rng.choice(people), "Section": rng.choice(sections),
        "Priority": rng.choices(PRIORITIES, (1, 2, 3, 90, 1))[0], "Size": str(int(10 ** rng.uniform(3, 8))),
        "Installed-Size": str(int(10 ** rng.uniform(1, 6))), "SHA256": f"{rng.getrandbits(256):064x}",
        "Description": "\n".join([summary] + [" ".join(rng.choices(names, k=8)) for _ in range(rng.randrange(1, 12))]),
        "Tag": ", ".join(f"{facet}::{rng.choice(values)}" for facet, values in facets.items() if rng.random() < 0.5),
        "Depends": links(10), "Recommends": links(2), "Suggests": links(2)}
    if rng.random() < 0.9:
        stanza["Homepage"] = f"https://example.org/{name}"
    if rng.random() < 0.4:
        stanza["Multi-Arch"] = rng.choice(("same", "foreign"))
    if rng.random() < 0.01:
        stanza["Essential"] = "yes"
    return {key: value for key, value in stanza.items() if value}


def product_columns() -> Tuple[str, ...]:
    """The columns of `products` as load.py and live.py write them, without id and updated_at."""
    return ("name", "version", "summary", "category_id", "maintainer_id", "price", "stock", "weight_kg", "size",
            "installed_size_kib", "priority", "multi_arch", "badges", "essential", "homepage", "sha256", "listed_on",
            "handling_time")
