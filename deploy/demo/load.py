#!/usr/bin/env python3
"""Loads the demo's shop into an empty database, with a progress line. See catalogue.py for what the rows are.

    load.py --socket S --user U [--host H --port P --defaults-file F] --database shop --work DIR [--seeded N]

Sources, in this order: --packages FILE, or --seeded N; else the system's package index; else the same index fetched
into DIR by a private apt configuration; else a seeded catalogue of 20,000 products, and the progress line says so.
Exit code 0 when the data is there (loaded now or before), 1 with the reason otherwise.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

import apt_index
import catalogue
from mariadb_pipe import Session, SqlError

DATA_VERSION = "1"  # of schema.sql and catalogue.py; a database with another one is refused
SEEDED_DEFAULT = 20_000
NULL = "\\N"


class Progress:
    """One line that is rewritten on a terminal, one line a step elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        line = f"  data  {time.monotonic() - self._start:5.1f} s  {text}"
        print(f"\r\033[K{line}" if self._live else line, end="" if self._live else "\n", flush=True)

    def end(self) -> None:
        if self._live:
            print(flush=True)


def client_arguments(options: argparse.Namespace) -> List[str]:
    arguments = []
    for name in ("defaults_file", "socket", "host", "port", "user"):
        value = getattr(options, name)
        if value:
            arguments.append(f"--{name.replace('_', '-')}={value}")
    return arguments


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--defaults-file", help="option file with the password")
    parser.add_argument("--socket")
    parser.add_argument("--host")
    parser.add_argument("--port")
    parser.add_argument("--user")
    parser.add_argument("--database", required=True)


def read_source(options: argparse.Namespace, progress: Progress) -> Tuple[str, List[catalogue.Product]]:
    """The products, and what they were made from."""
    if options.seeded:
        stanzas = catalogue.seeded_stanzas(options.seeded, options.seed)
        return f"seeded {options.seeded} {options.seed}", [catalogue.product_from(s, {}) for s in stanzas]
    if options.packages:
        progress.say(f"reading {options.packages}")
        entries = catalogue.newest(apt_index.read_file(Path(options.packages)))
        return f"file {Path(options.packages).name}", [catalogue.product_from(s, {}) for s in entries]
    try:
        return read_index(options, progress)
    except apt_index.IndexUnavailable as error:
        progress.say(f"no package index ({error}): seeded data instead")
        stanzas = catalogue.seeded_stanzas(SEEDED_DEFAULT, options.seed)
        return f"seeded {SEEDED_DEFAULT} {options.seed}", [catalogue.product_from(s, {}) for s in stanzas]


def read_index(options: argparse.Namespace, progress: Progress) -> Tuple[str, List[catalogue.Product]]:
    codename = apt_index.release_codename()
    work = Path(options.work)
    # The mirror also carries other releases' indexes and vendors' repositories; the shop sells Debian's `main`.
    known = [t for t in apt_index.system_targets()
             if t.component == "main" and t.codename.split("-")[0] == codename]
    if not any(t.created_by == "Packages" and t.codename == codename for t in known):
        progress.say(f"fetching Debian's {codename} index")
        known = apt_index.fetch(work / "apt-current", apt_index.mirror_of(known, codename), codename)
    if not any(t.created_by == "Translations" for t in known):
        progress.say("fetching the long descriptions")
        try:
            known += apt_index.fetch(work / "apt-descriptions", apt_index.mirror_of(known, codename), codename,
                                     packages=False)
        except apt_index.IndexUnavailable as error:
            progress.say(f"short descriptions only ({error})")
    texts: Dict[str, str] = {}
    for target in known:
        if target.created_by == "Translations":
            for stanza in apt_index.stanzas(target.filename):
                texts[stanza.get("Description-md5", "")] = stanza.get("Description-en", "")
    progress.say("reading the index")
    entries = (s for t in known if t.created_by == "Packages" for s in apt_index.stanzas(t.filename))
    return f"debian {codename}", [catalogue.product_from(s, texts) for s in catalogue.newest(entries)]


def _field(value) -> str:
    if value is None:
        return NULL
    text = str(value)
    if "\\" in text or "\t" in text or "\n" in text:
        text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return text


class Tables:
    """The rows of every table as files for LOAD DATA, in the order in which foreign keys allow them."""

    def __init__(self, products: List[catalogue.Product], folder: Path):
        self._products = products
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.category_ids = {s: i for i, s in enumerate(sorted({p.section for p in products}), 1)}
        people = sorted({(p.maintainer_email, p.maintainer_name) for p in products})
        self.maintainer_ids = {person: i for i, person in enumerate(people, 1)}

    def all(self) -> Iterable[Tuple[str, str, str, Iterable[tuple]]]:
        """Table, column list, SET clause, rows."""
        ids = list(enumerate(self._products, 1))
        yield "categories", "(id,slug,title,is_library)", "", (
            (i, slug, slug.replace("-", " ").capitalize(), int(slug in catalogue.LIBRARY_SECTIONS))
            for slug, i in self.category_ids.items())
        teams = {(p.maintainer_email, p.maintainer_name): p.is_team for p in self._products}
        yield "maintainers", "(id,name,email,is_team)", "", (
            (i, name, email, int(teams[(email, name)])) for (email, name), i in self.maintainer_ids.items())
        columns = ",".join(f"@{c}" if c in ("sha256", "essential") else c for c in catalogue.product_columns())
        yield "products", f"(id,{columns})", "SET sha256=UNHEX(@sha256), essential=@essential+0", (
            (i, *self._product(p)) for i, p in ids)
        yield "slugs", "(slug,product_id)", "", ((p.name, i) for i, p in ids)
        yield "descriptions", "(product_id,body)", "", ((i, p.body) for i, p in ids)
        tags = sorted({tag for p in self._products for tag in p.tags})
        yield "tags", "(tag,facet)", "", ((tag, tag.partition("::")[0][:50]) for tag in tags)
        yield "product_tags", "(product_id,tag)", "", ((i, tag) for i, p in ids for tag in p.tags)
        yield "relations", "(product_id,kind,position,choice,target,version_constraint)", "", (
            (i, r.kind, r.position, r.choice, r.target, r.constraint) for i, p in ids for r in p.relations)

    def _product(self, p: catalogue.Product) -> tuple:
        return (p.name, p.version, p.summary, self.category_ids[p.section],
                self.maintainer_ids[(p.maintainer_email, p.maintainer_name)], p.price, p.stock, p.weight_kg, p.size,
                p.installed_size_kib, p.priority, p.multi_arch, ",".join(p.badges), int(p.essential), p.homepage,
                p.sha256, p.listed_on, p.handling_time)

    def write(self, table: str, rows: Iterable[tuple]) -> Tuple[Path, int]:
        path = self._folder / f"{table}.tsv"
        count = 0
        with path.open("w", encoding="utf-8", newline="") as out:
            for row in rows:
                out.write("\t".join(map(_field, row)) + "\n")
                count += 1
        return path, count


def load(session: Session, products: List[catalogue.Product], source: str, work: Path, progress: Progress) -> int:
    """Creates the tables and fills them, one transaction a table. The number of rows."""
    session.execute((Path(__file__).parent / "schema.sql").read_text(encoding="utf-8"))
    tables = Tables(products, work / "tsv")
    total = 0
    for table, columns, assign, rows in tables.all():
        path, count = tables.write(table, rows)
        progress.say(f"{table}: {count:,} rows")
        literal = str(path.resolve()).replace("\\", "\\\\").replace("'", "\\'")
        session.execute(f"LOAD DATA LOCAL INFILE '{literal}' INTO TABLE {table} CHARACTER SET utf8mb4 "
                        f"{columns} {assign}")
        loaded = int(session.value(f"SELECT COUNT(*) FROM {table}"))
        if loaded != count:
            raise SqlError(f"{table}: {count} rows were sent and {loaded} arrived")
        path.unlink()
        total += count
    session.execute("INSERT INTO demo_info VALUES ('data_version', '%s'), ('source', '%s'), ('products', '%d')"
                    % (DATA_VERSION, source, len(products)))
    return total


def wanted_source(options: argparse.Namespace) -> str:
    """How the source's name must begin for data that is there to be reused."""
    return f"seeded {options.seeded} {options.seed}" if options.seeded else ""


def is_loaded(session: Session, options: argparse.Namespace) -> bool:
    """True when the demo's data is there. Raises when the database holds something else; with --own, empties it."""
    database = options.database
    tables = {row[0] for row in session.query(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema='{database}'")}
    if not tables:
        return False
    if "demo_info" in tables:
        version = session.query("SELECT value FROM demo_info WHERE name='data_version'")
        source = session.query("SELECT value FROM demo_info WHERE name='source'")
        if version == [[DATA_VERSION]] and source[0][0].startswith(wanted_source(options)):
            return True
        state = (f"demo data of version {version[0][0]} ({source[0][0]})" if version and source
                 else "demo data whose load was broken off")
    else:
        state = "tables that are not the demo's"
    if options.own:
        session.execute(f"DROP DATABASE `{database}`; CREATE DATABASE `{database}` CHARACTER SET utf8mb4; "
                        f"USE `{database}`")
        return False
    raise SqlError(f"database {database} holds {state}; the demo wants an empty one or its own of version "
                   f"{DATA_VERSION}. Nothing was changed. Name another database, or drop this one yourself")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_connection_options(parser)
    parser.add_argument("--work", required=True, help="folder for what is fetched and for files to load")
    parser.add_argument("--packages", help="a Packages file (plain or .gz) instead of the system's index")
    parser.add_argument("--seeded", type=int, help="this many invented products instead of Debian's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--own", action="store_true",
                        help="the database is the demo's own: drop and load it again when it holds something else")
    options = parser.parse_args()
    progress = Progress()
    try:
        with Session(client_arguments(options)) as session:
            # Asked first: where the data is there already, the user needs no right to create anything.
            if not session.query(f"SHOW DATABASES WHERE `Database` = '{options.database}'"):
                session.execute(f"CREATE DATABASE `{options.database}` CHARACTER SET utf8mb4")
            session.execute(f"USE `{options.database}`")
            if is_loaded(session, options):
                count = session.value("SELECT value FROM demo_info WHERE name='products'")
                source = session.value("SELECT value FROM demo_info WHERE name='source'")
                progress.say(f"reusing {count} products ({source})")
                progress.end()
                return 0
            source, products = read_source(options, progress)
            if not products:
                raise SqlError("the package index is empty; run apt-get update, or use --seeded 20000")
            total = load(session, products, source, Path(options.work), progress)
            progress.say(f"loaded {len(products):,} products, {total:,} rows in all ({source})")
            progress.end()
            return 0
    except (SqlError, OSError) as error:
        progress.end()
        print(f"load.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
