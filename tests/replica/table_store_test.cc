#include "replica/table_store.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>

#include "tests/replica/replica_fixture.h"

namespace ringside::replica {
namespace {

using Model = std::map<std::uint64_t, std::string>;

// A reader and a store that a test steps by hand.
struct Followed {
  explicit Followed(const TestRing& ring) {
    auto attached = shm::RingReader::attach(ring.directory(), ring.name());
    EXPECT_TRUE(attached) << attached.error().message;
    reader = std::move(*attached);
    const auto joined = reader->join();
    EXPECT_TRUE(joined) << joined.error().message;
    store.emplace(*reader);
  }
  // False: nothing more.
  bool step() {
    EXPECT_TRUE(store->remove_some(1'000'000));
    shm::Record record;
    const shm::Step next = reader->next(record);
    if (next != shm::Step::kRecord) {
      EXPECT_EQ(next, shm::Step::kCaughtUp);
      return false;
    }
    EXPECT_NE(store->apply(record), Applied::kCorrupt) << store->why();
    return true;
  }
  void catch_up() {
    while (step()) {
    }
  }
  std::optional<std::string> item(std::uint64_t id) {
    const Route* route = store->find_route("items");
    if (route == nullptr || route->table == nullptr) return std::nullopt;
    const std::string key = shm::item_key(id);
    const Lookup found = store->lookup(*route->table, shm::key_hash(as_bytes(key)), as_bytes(key), buffer);
    EXPECT_NE(found, Lookup::kLost);
    if (found != Lookup::kRow) return std::nullopt;
    EXPECT_EQ(buffer.row.value(0), std::to_string(id));
    return std::string(buffer.row.value(1));
  }
  void expect_equal(const Model& model, std::uint64_t ids) {
    for (std::uint64_t id = 0; id < ids; ++id) {
      const auto found = model.find(id);
      const std::optional<std::string> shown = item(id);
      ASSERT_EQ(shown.has_value(), found != model.end())
          << "id " << id << " at version " << store->visible_version().value();
      if (shown) {
        ASSERT_EQ(*shown, found->second);
      }
    }
  }

  std::unique_ptr<shm::RingReader> reader;
  std::optional<TableStore> store;
  RowBuffer buffer;
};

TEST(TableStore, ShowsExactlyOneVersionBetweenAnyTwoRecords) {
  constexpr std::uint64_t kIds = 24;
  const unsigned seed = 20260108;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  TestRing ring;
  ring.begin(0, 1);
  std::map<std::uint64_t, Model> versions;
  Model model;
  versions[1] = model;
  Followed followed(ring);
  followed.catch_up();
  for (std::uint64_t version = 2; version < 120; ++version) {
    // Rows changed, deleted, inserted again, several times in one transaction.
    for (std::uint64_t n = 1 + random() % 40; n > 0; --n) {
      const std::uint64_t id = random() % kIds;
      const std::string json = "\"" + std::to_string(version) + "." + std::to_string(n) + "\"";
      const bool exists = model.contains(id);
      if (exists && random() % 3 == 0) {
        ring.erase_item(id);
        model.erase(id);
      } else {
        ring.set_item(id, json, exists);
        model[id] = json;
      }
    }
    ring.commit(version);
    versions[version] = model;
    do {
      followed.expect_equal(versions.at(followed.store->visible_version().value()), kIds);
      if (HasFatalFailure()) return;
    } while (followed.step());
    EXPECT_EQ(followed.store->visible_version(), Version(version));
  }
  const ServedTable& table = *followed.store->find_route("items")->table;
  EXPECT_EQ(table.row_count, model.size());
  EXPECT_EQ(table.index.size(), model.size());
  Followed joiner(ring);
  joiner.catch_up();
  joiner.expect_equal(model, kIds);
  EXPECT_EQ(joiner.store->find_route("items")->table->row_bytes, table.row_bytes);
}

TEST(TableStore, SwitchesAnIncarnationAtItsVersionAndDropsTheOld) {
  TestRing ring;
  ring.begin(10, 5);
  Followed followed(ring);
  followed.catch_up();
  const TableId before = followed.store->find_route("items")->table->id();
  ring.load_items(4, 6);
  ring.commit(6);
  while (followed.store->visible_version() < Version(6)) {
    EXPECT_TRUE(followed.item(7).has_value());
    ASSERT_TRUE(followed.step());
  }
  EXPECT_FALSE(followed.item(7).has_value());
  EXPECT_TRUE(followed.item(3).has_value());
  EXPECT_NE(followed.store->find_route("items")->table->id(), before);
  Followed joiner(ring);
  joiner.catch_up();
  EXPECT_FALSE(joiner.item(7).has_value());
  EXPECT_TRUE(joiner.item(3).has_value());
  EXPECT_EQ(joiner.store->find_route("items")->table->row_count, 4u);
}

// A table may be refused (its rows contradict the ring) while a load that replaces it waits for its version.
TEST(TableStore, AJoinerHasTheRowsOfALoadThatWaitedWhileItsNameWasRefused) {
  TestRing ring;
  ring.begin(10, 5);
  TableId loaded;
  ring.load_items(4, 7, loaded);
  ASSERT_TRUE(ring.publisher().quarantine("items", "contradicted"));
  ring.commit(6);
  ASSERT_TRUE(ring.publisher().switch_to(loaded));
  ring.commit(7);
  Followed joiner(ring);
  joiner.catch_up();
  ASSERT_NE(joiner.store->find_route("items")->table, nullptr);
  EXPECT_TRUE(joiner.item(3).has_value());
  EXPECT_FALSE(joiner.item(7).has_value());
}

TEST(TableStore, ForgetsTheRowsOfALoadThatCameToNothing) {
  TestRing ring;
  ring.begin(10, 5);
  Followed followed(ring);
  TableId first;
  ring.load_items(1000, 6, first);
  followed.catch_up();
  EXPECT_EQ(followed.store->incarnations(), 2u);
  ASSERT_TRUE(ring.publisher().abandon(first));
  TableId second;
  ring.load_items(4, 6, second);
  followed.catch_up();
  EXPECT_EQ(followed.store->incarnations(), 2u) << "the live one and the one being loaded";
  ASSERT_TRUE(ring.publisher().switch_to(second));
  ring.commit(6);
  followed.catch_up();
  EXPECT_EQ(followed.store->incarnations(), 1u);
  EXPECT_TRUE(followed.item(3).has_value());
  EXPECT_FALSE(followed.item(7).has_value());
}

TEST(TableStore, ForgetsADroppedTable) {
  TestRing ring;
  ring.begin(10, 5);
  ring.add_pairs({}, 5);
  ring.commit(6);
  ASSERT_TRUE(ring.publisher().drop("items"));
  ring.commit(7);
  Followed joiner(ring);
  joiner.catch_up();
  EXPECT_EQ(joiner.store->find_route("items"), nullptr);
  ASSERT_NE(joiner.store->find_route("pairs"), nullptr);
  EXPECT_EQ(joiner.store->visible_version(), Version(7));
  EXPECT_EQ(joiner.store->gtid(), "0-1-7");
}

TEST(TableStore, RefusesRecordsThatContradictTheCatalogue) {
  TestRing ring;
  ring.begin(1, 5);
  Followed followed(ring);
  followed.catch_up();
  const ServedTable& items = *followed.store->find_route("items")->table;
  shm::RowBuilder row;
  shm::build_item(row, 9, "\"nine\"");
  const auto make = [&](shm::RecordHeader header, std::string& bytes) {
    std::uint8_t flags = 0;
    const std::string_view payload = row.payload(flags);
    header.flags = flags;
    header.key_bytes = 8;
    header.length = static_cast<std::uint32_t>(shm::record_bytes(payload.size()));
    bytes.assign(header.length, '\0');
    shm::store_header(header, reinterpret_cast<std::byte*>(bytes.data()));
    bytes.replace(shm::kRecordHeaderBytes, payload.size(), payload);
    shm::Record record;
    record.header = header;
    record.bytes = as_bytes(bytes);
    record.address = 8;
    record.position = Position(followed.reader->position());
    return record;
  };
  std::string bytes;
  shm::RecordHeader header;
  header.type = shm::RecordType::kRow;
  header.table_id = items.id();
  header.shape_id = ShapeId(items.description().shape.id.value() + 1);
  header.column_count = 2;
  header.version = Version(6);
  EXPECT_EQ(followed.store->apply(make(header, bytes)), Applied::kCorrupt);
  EXPECT_NE(followed.store->why().find("shape"), std::string::npos);
  header.shape_id = items.description().shape.id;
  header.column_count = 3;
  EXPECT_EQ(followed.store->apply(make(header, bytes)), Applied::kCorrupt);
  header.column_count = 2;
  header.table_id = TableId(77777);
  EXPECT_EQ(followed.store->apply(make(header, bytes)), Applied::kRecord) << "dropped since";
  header.type = shm::RecordType::kCommit;
  header.version = Version(4);
  EXPECT_EQ(followed.store->apply(make(header, bytes)), Applied::kCorrupt);
  header.type = shm::RecordType::kTableEvent;
  EXPECT_EQ(followed.store->apply(make(header, bytes)), Applied::kCorrupt);
}

}  // namespace
}  // namespace ringside::replica
