"""No room: the disk of the spill file, and the tmpfs of the ring. An error that names the place and the way out, never a
signal; replicas answer on; with room again everything goes on by itself, and nothing was ever half there.

The small file systems are mounted in a mount namespace of this process: nobody else sees them, and they go with it.
"""

import shutil
import sys
import unittest

from faults import FAST, NEEDS_ROOT, FaultsCase, SmallDisk
from harness import metric, wait_until

BODY_BYTES = 100_000
SMALL_RING = ("[ring]\nmax_size = \"64MiB\"\nsegment_size = \"256KiB\"\nchunk_size = \"1MiB\"\nmax_record_size = \"1MiB\"\n"
              "transaction_reserve = \"64MiB\"\n")


class SmallDiskCase(FaultsCase):
    """With a small tmpfs at `disk`, made before the programs start."""

    DISK = ""  # its name in the stack's folder
    SIZE = ""

    @classmethod
    def prepare(cls) -> None:
        cls.disk = SmallDisk(cls.stack.folder / cls.DISK, cls.SIZE)
        cls.addClassCleanup(cls.disk.close)
        text = cls.stack.config.read_text(encoding="utf-8")
        cls.stack.config.write_text(text.replace("/nowhere", str(cls.disk.path)), encoding="utf-8")
        super().prepare()

    def large(self, n: int, rows: int = 100) -> str:
        return f"UPDATE items SET n = {n}, body = REPEAT('x', {BODY_BYTES}) WHERE id <= {rows}"

    def items_seen(self, index: int, rows: int):
        with self.stack.to_replica(index) as replica:
            keys = ",".join(str(i) for i in range(1, rows + 1))
            response = self.expect(replica.request("GET", f"/v1/items?fields=n&keys={keys}"), 200)
            return {row["n"] for row in response.json()["data"]}


@NEEDS_ROOT
class SpillDiskIsFull(SmallDiskCase):
    DISK, SIZE = "spill", "1M"
    SETTINGS = FAST + "[writer]\nspill_directory = \"/nowhere\"\ntransaction_buffer = \"256KiB\"\n"

    def test_the_transaction_waits_and_passes_when_there_is_room(self):
        load = self.start_load()
        writer, replica = self.mark("writer"), self.mark("replica0")
        epoch = self.stack.epoch()
        with self.stack.session() as sql:
            sql.execute(self.large(1, rows=20))  # 2.7 MB in their stored form
            self.await_line("writer", writer, "the source cannot be followed", "cannot write a transaction's spill file in "
                            f"{self.disk.path}: No space left on device", "writer.spill_directory")
            reason = self.await_writer("capture is full: cannot write a transaction's spill file")
            self.assertIn("No space left on device", reason)
            with self.stack.to_writer() as connection:
                self.assertEqual(metric(connection, "ringside_writer_capture_state", state="full"), 1)
            # While it is tried again, it is not said to be well in between.
            self.await_line("writer", self.mark("writer"), "following the binlog")
            self.assertIn("capture is full", self.writer_reason())
            self.await_replicas("capture is full, the writer is alive")
            for index in range(self.REPLICAS):
                load.advance_reads(index)
                self.assertEqual(self.items_seen(index, rows=20), {0})
            load.advance("late", by=1)  # commands commit, their version comes later
            self.disk.resize("64M")
            self.await_line("writer", writer, "the transaction that found no room has passed")
            self.finish(load)
            for index in range(self.REPLICAS):
                self.assertEqual(self.items_seen(index, rows=20), {1})
            self.assertEqual(self.stack.epoch(), epoch)
            self.assertEqual(self.lines("replica0", replica, " "), [])

            # The same with a directory that is not there at all.
            self.stack.catch_up(sql)
            writer = self.mark("writer")
            self.disk.close()
            shutil.rmtree(self.disk.path)
            sql.execute(self.large(2, rows=20))
            self.await_writer("cannot create a transaction's spill file in")
            type(self).disk = SmallDisk(self.disk.path, "64M")
            self.await_line("writer", writer, "the transaction that found no room has passed")
            self.await_all_ready()
            self.compare()


@NEEDS_ROOT
class RingsTmpfsIsFull(SmallDiskCase):
    DISK, SIZE = "shm", "12M"
    SETTINGS = FAST + "[ring]\ndirectory = \"/nowhere\"\n" + SMALL_RING.replace("[ring]\n", "")

    def setUp(self) -> None:
        self.writer_mark = self.mark("writer")

    def test_1_capture_pauses_and_goes_on_when_it_is_enlarged(self):
        load = self.start_load()
        epoch = self.stack.epoch()
        with self.stack.session() as sql:
            for n in range(1, 200):
                sql.execute(f"INSERT INTO items SELECT {1000 + 3 * n} + seq, {n}, REPEAT('x', {BODY_BYTES}) FROM seq_1_to_3")
                if "capture is full" in self.writer_reason():
                    break
            reason = self.await_writer("capture is full: cannot allocate")
            for text in ("No space left on device", str(self.disk.path), "enlarge the filesystem", "ring.directory"):
                self.assertIn(text, reason)
            self.await_line("writer", self.writer_mark, "capture pauses, replicas go on answering", "cannot allocate")
            self.await_replicas("capture is full, the writer is alive")
            self.assertEqual(self.replica_status(0)["source"]["capture"], "full")
            load.advance("late", by=1)
            for index in range(self.REPLICAS):
                load.advance_reads(index)

            # With nothing at all left: a replica starts, since what it writes is there already.
            filler = self.disk.fill()
            self.stack.replicas[1].kill()
            self.stack.start_replica(1, ready=False)
            load.advance_reads(1)
            # And the writer, which finds its ring again.
            mark = self.mark("writer")
            self.stack.writer.kill()
            self.stack.start_writer(ready=False)
            self.await_line("writer", mark, "continuing the ring")
            self.await_writer("capture is full: cannot allocate")
            for index in range(self.REPLICAS):
                load.advance_reads(index)

            filler.unlink()
            self.disk.resize("256M")
            self.await_line("writer", mark, "the ring has room again")
            self.finish(load)
            self.assertEqual(self.stack.epoch(), epoch)

    def test_2_a_new_ring_waits_for_room(self):
        """The tmpfs is full when there is no ring yet: the writer waits, replicas wait for the ring."""
        for process in (self.stack.writer, *self.stack.replicas.values()):
            process.terminate()
        shutil.rmtree(self.disk.path / self.stack.ring_path.name)
        filler = self.disk.fill()
        writer, replica = self.mark("writer"), self.mark("replica0")
        self.stack.start_writer(ready=False)
        for index in range(self.REPLICAS):
            self.stack.start_replica(index, ready=False)
        self.await_writer("No space left on device")
        self.await_line("writer", writer, "the source cannot be followed", "cannot allocate")
        self.await_line("replica0", replica, "waiting for the ring", "is its writer running?")
        self.await_replicas("there is no ring")
        filler.unlink()
        self.await_all_ready()
        self.compare()

    def test_3_a_ring_too_small_for_its_first_snapshot(self):
        """Room for the ring's files, and not for the rows."""
        for process in (self.stack.writer, *self.stack.replicas.values()):
            process.terminate()
        shutil.rmtree(self.disk.path / self.stack.ring_path.name)
        with self.stack.session() as sql:
            sql.execute(self.large(1000))
        self.disk.resize("6M")
        writer = self.mark("writer")
        self.stack.start_writer(ready=False)
        for index in range(self.REPLICAS):
            self.stack.start_replica(index, ready=False)
        self.await_writer("capture is full: cannot allocate")
        self.await_line("writer", writer, "the source cannot be followed", "cannot allocate")
        self.await_replicas("there is no ring")
        # What did not come to anything has not stayed behind.
        wait_until(lambda: self.disk.used() < 2 << 20, "the unfinished ring's memory is given back")
        self.disk.resize("256M")
        self.await_all_ready()
        self.compare()


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
