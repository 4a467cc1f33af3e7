"""A ring on a disk's filesystem outlives its programs and the host: what is found again, what is made anew, and what two
versions of the programs say to each other."""

import struct
import sys
import unittest
from pathlib import Path

from faults import FAST, FaultsCase
from harness import metric

LAYOUT_VERSION_AT, SOURCE_ALIVE_AT, BOOT_ID_AT = 8, 144, 336  # in the header: docs/ring-format.md
YEAR_NS = 366 * 86_400 * 10**9


class RingOnADisk(FaultsCase):
    REPLICAS = 1
    SETTINGS = FAST + "[ring]\ndirectory = \"/nowhere\"\nmax_size = \"64MiB\"\n"

    @classmethod
    def prepare(cls) -> None:
        folder = cls.stack.folder / "rings"
        folder.mkdir()
        text = cls.stack.config.read_text(encoding="utf-8")
        cls.stack.config.write_text(text.replace("/nowhere", str(folder)), encoding="utf-8")
        cls.ring = folder / cls.stack.ring_path.name
        super().prepare()

    def setUp(self) -> None:
        self.writer_mark = self.mark("writer")
        self.replica_mark = self.mark("replica0")

    def header(self) -> Path:
        return self.ring / (self.ring / "current").readlink() / "header"

    def snapshots(self) -> float:
        with self.stack.to_writer() as writer:
            return metric(writer, "ringside_writer_snapshots_total")

    def change_rows(self, n: int) -> None:
        with self.stack.session() as sql:
            sql.execute(f"UPDATE items SET n = {n}, body = REPEAT('y', 1000) WHERE id <= 50; DELETE FROM items WHERE id = {50 + n}; "
                        f"INSERT INTO items VALUES ({1000 + n}, {n}, NULL)")

    def start_all(self) -> None:
        self.stack.start_writer()
        self.stack.start_replica(0)

    def test_1_after_an_orderly_stop_it_is_caught_up_without_a_snapshot(self):
        epoch = self.stack.epoch()
        self.assertEqual(self.snapshots(), 1)
        for process in (self.stack.replicas[0], self.stack.writer):
            self.assertEqual(process.terminate(), 0)
        self.change_rows(1)
        self.start_all()
        self.await_line("writer", self.writer_mark, "continuing the ring")
        self.compare()
        self.assertEqual(self.snapshots(), 0)
        self.assertEqual(self.stack.epoch(), epoch)

    def test_2_after_a_kill_it_is_checked_and_caught_up(self):
        epoch = self.stack.epoch()
        for process in (self.stack.replicas[0], self.stack.writer):
            process.kill()
        self.change_rows(2)
        self.start_all()
        self.await_line("writer", self.writer_mark, "continuing the ring")
        self.compare()
        self.assertEqual(self.snapshots(), 0)
        self.assertEqual(self.stack.epoch(), epoch)

    def seem_restarted(self) -> None:
        """The header says that a writer last had the ring in another boot of the host, which had lasted for long."""
        with self.header().open("r+b") as header:
            header.seek(BOOT_ID_AT)
            word, copy = struct.unpack("<QQ", header.read(16))
            self.assertNotEqual(word, 0)
            self.assertEqual(word, copy)
            header.seek(BOOT_ID_AT)
            header.write(struct.pack("<QQ", word ^ 1, word ^ 1))
            header.seek(SOURCE_ALIVE_AT)
            alive, copy = struct.unpack("<QQ", header.read(16))
            self.assertEqual(alive, copy)
            header.seek(SOURCE_ALIVE_AT)
            header.write(struct.pack("<QQ", alive + YEAR_NS, alive + YEAR_NS))

    def test_3_after_an_orderly_stop_and_another_boot_it_is_caught_up(self):
        epoch = self.stack.epoch()
        for process in (self.stack.replicas[0], self.stack.writer):
            self.assertEqual(process.terminate(), 0)
        self.await_line("writer", self.writer_mark, "the ring is kept as it is")
        self.seem_restarted()
        self.change_rows(3)
        self.stack.start_replica(0, ready=False)
        self.await_replicas("no sign of life")  # what it has may be of long ago
        self.stack.start_writer()
        self.await_all_ready()
        self.await_line("writer", self.writer_mark, "continuing the ring")
        self.compare()
        self.assertEqual(self.snapshots(), 0)
        self.assertEqual(self.stack.epoch(), epoch)

    def test_4_after_a_crash_and_another_boot_it_is_made_anew(self):
        epoch = self.stack.epoch()
        for process in (self.stack.replicas[0], self.stack.writer):
            process.kill()
        self.seem_restarted()
        self.change_rows(4)
        self.start_all()
        self.await_line("writer", self.writer_mark, "loading a new ring", "the host has restarted uncleanly")
        self.compare()
        self.assertEqual(self.snapshots(), 1)
        self.assertNotEqual(self.stack.epoch(), epoch)

    def test_5_a_ring_of_another_layout_is_refused_by_replicas_and_made_anew_by_the_writer(self):
        epoch = self.stack.epoch()
        for process in (self.stack.replicas[0], self.stack.writer):
            self.assertEqual(process.terminate(), 0)
        with self.header().open("r+b") as header:
            header.seek(LAYOUT_VERSION_AT)
            layout, = struct.unpack("<Q", header.read(8))
            header.seek(LAYOUT_VERSION_AT)
            header.write(struct.pack("<Q", layout - 1))
        said = f"has layout {layout - 1}, this program reads layout {layout}: start a writer of"
        self.stack.start_replica(0, ready=False)
        self.await_line("replica0", self.replica_mark, said)
        self.await_replicas(said)
        self.change_rows(5)
        self.stack.start_writer()
        self.await_line("writer", self.writer_mark, "loading a new ring", said)
        self.await_all_ready()
        self.compare()
        self.assertEqual(self.snapshots(), 1)
        self.assertNotEqual(self.stack.epoch(), epoch)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
