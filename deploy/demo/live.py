#!/usr/bin/env python3
"""The demo's live traffic: one transaction after the other by plain SQL, until stopped.

    live.py --socket S --user U --database shop --work DIR [--rate 20] [--transactions N] [--seeded]

Where the shop was loaded from Debian's index, the next release's index (fetched from the same mirror by a private apt
configuration into DIR) is compared with the shop, and every difference is replayed as one transaction: a changed
package, a new one, one that was dropped. What was replayed is not found again at the next start. When nothing is
left, when the index cannot be fetched, or with --seeded: a seeded stream of price and stock changes.
SIGTERM ends it between two transactions, exit code 0.
"""

import argparse
import random
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Dict, Iterator, List, Union

import apt_index
import catalogue
from load import add_connection_options, client_arguments
from mariadb_pipe import Session, SqlError, quote

MAX_REPLAY = 20_000  # differences held in memory; the next start finds the others
REPORT_SECONDS = 10.0


def say(text: str) -> None:
    print(f"live: {text}", flush=True)


class Shop:
    """What is in the tables, as far as making new rows needs it."""

    def __init__(self, session: Session):
        self._session = session
        self.refresh()

    def refresh(self) -> None:
        """Reads it all again: after a refused transaction what was remembered of it is wrong."""
        session = self._session
        self.products = {name: (int(i), version) for i, name, version in
                         session.query("SELECT id, name, version FROM products")}
        self.categories = {slug: int(i) for i, slug in session.query("SELECT id, slug FROM categories")}
        self.maintainers = {(email, name): int(i) for i, email, name in
                            session.query("SELECT id, email, name FROM maintainers")}
        self.tags = {tag for tag, in session.query("SELECT tag FROM tags")}
        self.next_id = 1 + max((i for i, _ in self.products.values()), default=0)

    def replay(self, product: catalogue.Product) -> List[str]:
        """The statements that make the shop's product this one, new or changed."""
        statements = self._parents(product)
        known = self.products.get(product.name)
        product_id = known[0] if known else self.next_id
        values = self._values(product)
        if known:
            # What commands may have changed in the meantime stays: stock is not in the index.
            changes = ", ".join(f"{c}={v}" for c, v in values.items() if c not in ("name", "stock", "listed_on"))
            statements += [f"UPDATE products SET {changes} WHERE id={product_id}",
                           f"UPDATE descriptions SET body={quote(product.body)} WHERE product_id={product_id}",
                           f"DELETE FROM product_tags WHERE product_id={product_id}",
                           f"DELETE FROM relations WHERE product_id={product_id}"]
        else:
            self.next_id += 1
            statements += [f"INSERT INTO products (id, {', '.join(values)}) "
                           f"VALUES ({product_id}, {', '.join(values.values())})",
                           f"INSERT INTO slugs (slug, product_id) VALUES ({quote(product.name)}, {product_id})",
                           f"INSERT INTO descriptions VALUES ({product_id}, {quote(product.body)})"]
        if product.tags:
            statements.append("INSERT INTO product_tags VALUES " + ", ".join(
                f"({product_id}, {quote(tag)})" for tag in product.tags))
        if product.relations:
            statements.append("INSERT INTO relations VALUES " + ", ".join(
                f"({product_id}, {quote(r.kind)}, {r.position}, {r.choice}, {quote(r.target)}, {quote(r.constraint)})"
                for r in product.relations))
        self.products[product.name] = (product_id, product.version)
        return statements

    def remove(self, name: str) -> List[str]:
        """The statements that take a product out, children first: the foreign keys restrict."""
        product_id = self.products.pop(name)[0]
        return [f"DELETE FROM {table} WHERE product_id={product_id}"
                for table in ("relations", "product_tags", "descriptions", "slugs")] + [
                    f"DELETE FROM products WHERE id={product_id}"]

    def _parents(self, product: catalogue.Product) -> List[str]:
        statements = []
        if product.section not in self.categories:
            self.categories[product.section] = 1 + max(self.categories.values(), default=0)
            statements.append("INSERT INTO categories VALUES (%d, %s, %s, %d)" % (
                self.categories[product.section], quote(product.section),
                quote(product.section.replace("-", " ").capitalize()), product.section in catalogue.LIBRARY_SECTIONS))
        person = (product.maintainer_email, product.maintainer_name)
        if person not in self.maintainers:
            self.maintainers[person] = 1 + max(self.maintainers.values(), default=0)
            statements.append("INSERT INTO maintainers (id, name, email, is_team) VALUES (%d, %s, %s, %d)" % (
                self.maintainers[person], quote(person[1]), quote(person[0]), product.is_team))
        new_tags = [tag for tag in product.tags if tag not in self.tags]
        if new_tags:
            self.tags.update(new_tags)
            statements.append("INSERT INTO tags VALUES " + ", ".join(
                f"({quote(tag)}, {quote(tag.partition('::')[0][:50])})" for tag in new_tags))
        return statements

    def _values(self, p: catalogue.Product) -> Dict[str, str]:
        values = (p.name, p.version, p.summary, self.categories[p.section],
                  self.maintainers[(p.maintainer_email, p.maintainer_name)], p.price, p.stock, p.weight_kg, p.size,
                  p.installed_size_kib, p.priority, p.multi_arch, ",".join(p.badges + ["new"]), p.essential,
                  p.homepage, bytes.fromhex(p.sha256), p.listed_on, p.handling_time)
        return dict(zip(catalogue.product_columns(), map(quote, values)))


def differences(shop: Shop, codename: str, work: Path) -> List[Union[catalogue.Product, str]]:
    """The products of release `codename` that the shop does not have like that, and the names that it must drop."""
    targets = apt_index.fetch(work / "apt-next", apt_index.mirror_of(
        apt_index.system_targets(), apt_index.release_codename()), codename)
    packages = [t.filename for t in targets if t.created_by == "Packages"]
    texts = [t.filename for t in targets if t.created_by == "Translations"]
    latest: Dict[str, str] = {}
    for filename in packages:
        for stanza in apt_index.stanzas(filename):
            name, version = stanza["Package"], stanza.get("Version", "0")
            if name not in latest or apt_index.compare_versions(version, latest[name]) > 0:
                latest[name] = version
    changed = [name for name, version in latest.items()
               if name not in shop.products or shop.products[name][1] != version[:120]]
    removed = [name for name in shop.products if name not in latest]
    # Mixed by a hash of the name: new, changed and dropped packages of all letters take turns.
    chosen = sorted(changed + removed, key=lambda n: zlib.crc32(n.encode()))[:MAX_REPLAY]
    wanted = {name for name in chosen if name in latest}
    found: Dict[str, apt_index.Stanza] = {}
    for filename in packages:
        for stanza in apt_index.stanzas(filename):
            if stanza["Package"] in wanted and stanza.get("Version", "0") == latest[stanza["Package"]]:
                found[stanza["Package"]] = stanza
    long_wanted = {stanza.get("Description-md5", "") for stanza in found.values()}
    bodies = {s["Description-md5"]: s.get("Description-en", "") for filename in texts
              for s in apt_index.stanzas(filename) if s.get("Description-md5") in long_wanted}
    say(f"{codename}: {len(changed)} packages new or changed, {len(removed)} dropped")
    return [catalogue.product_from(found[name], bodies) if name in found else name for name in chosen]


def release_changes(shop: Shop, session: Session, work: Path) -> Iterator[List[str]]:
    source = session.value("SELECT value FROM demo_info WHERE name='source'").split()
    codename = apt_index.NEXT_RELEASE.get(source[1]) if source[0] == "debian" else None
    if not codename:
        say(f"the shop was made from {' '.join(source)}: no later release to replay")
        return
    try:
        changes = differences(shop, codename, work)
    except apt_index.IndexUnavailable as error:
        say(str(error))
        return
    for change in changes:
        yield shop.remove(change) if isinstance(change, str) else shop.replay(change)


def seeded_changes(shop: Shop, seed: int) -> Iterator[List[str]]:
    """Sales, restocking and new prices, for ever."""
    rng = random.Random(seed)
    ids = sorted(i for i, _ in shop.products.values())
    while ids:
        kind = rng.random()
        one = rng.choice(ids)
        if kind < 0.5:
            yield [f"UPDATE products SET stock = GREATEST(0, stock - {rng.randrange(1, 5)}) WHERE id = {one}"]
        elif kind < 0.8:
            yield [f"UPDATE products SET price = GREATEST(0.01, price + {rng.randrange(-99, 100)} / 100) "
                   f"WHERE id = {one}"]
        elif kind < 0.95:
            basket = sorted(rng.sample(ids, min(len(ids), 5)))
            yield [f"UPDATE products SET stock = GREATEST(0, stock - 1) WHERE id = {i}" for i in basket]
        else:
            yield [f"UPDATE products SET stock = stock + 100 WHERE id BETWEEN {one} AND {one + 20}"]


class Pace:
    """At most `rate` transactions a second, without catching up after a pause."""

    def __init__(self, rate: float):
        self._interval = 1.0 / rate
        self._next = time.monotonic()

    def wait(self) -> None:
        now = time.monotonic()
        if now < self._next:
            time.sleep(self._next - now)
        self._next = max(now, self._next) + self._interval


def run(session: Session, options: argparse.Namespace) -> int:
    stopping: List[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    signal.signal(signal.SIGINT, lambda number, _frame: stopping.append(number))
    shop = Shop(session)
    pace = Pace(options.rate)
    done = failed = 0
    reported = 0.0
    sources = [] if options.seeded else [release_changes(shop, session, Path(options.work))]
    for source in sources + [seeded_changes(shop, options.seed)]:
        for statements in source:
            if stopping or (options.transactions and done >= options.transactions):
                say(f"{done} transactions, {failed} refused")
                return 0
            pace.wait()
            reported = reported or time.monotonic()  # making the first one may have taken a fetch
            try:
                session.transaction(statements)
                done += 1
            except SqlError as error:
                if not session.alive:
                    raise
                # Somebody else's command may have taken the row or the name: the shop's own rules decide.
                failed += 1
                shop.refresh()
                say(f"refused: {error}")
            if time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                say(f"{done} transactions, {failed} refused")
    say("the shop is empty: nothing to change")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_connection_options(parser)
    parser.add_argument("--work", required=True, help="folder for what is fetched")
    parser.add_argument("--rate", type=float, default=20.0, help="transactions a second, at most (default 20)")
    parser.add_argument("--transactions", type=int, help="end after so many")
    parser.add_argument("--seeded", action="store_true", help="do not fetch the next release")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.rate <= 0:
        parser.error("--rate must be above 0")
    try:
        with Session(client_arguments(options), options.database) as session:
            return run(session, options)
    except (SqlError, OSError) as error:
        print(f"live.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
