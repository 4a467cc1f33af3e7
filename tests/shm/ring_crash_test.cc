// The writer dies at the stores of a scripted workload of everything that it does to the ring: transactions small,
// spilled and jumbo, loads and switches, quarantines, drops, loads taken back, a ring that is full, epochs begun and
// replaced, readers evicted; and again while it recovers. Nothing committed is lost, nothing uncommitted is seen, no
// sleeper is forgotten, and the next writer goes on in the same epoch.
#include <gtest/gtest.h>
#include <poll.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shm/publisher_impl.h"
#include "shm/ring_files.h"
#include "shm/ring_reader.h"
#include "tests/shm/fault_memory.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

using FaultWriter = BasicTestWriter<FaultMemory>;

constexpr std::uint64_t kMaxBytes = 256 * 1024;

PublisherOptions small_ring(const RingDirectory& directory) {
  PublisherOptions options = directory.options();
  options.ring.segment_bytes = 4096;
  options.ring.chunk_bytes = 8192;
  options.ring.max_bytes = kMaxBytes;
  options.ring.reserve_bytes = 0;
  options.transaction_buffer_bytes = 8192;
  return options;
}

// --- the script, played by a writer and by a model of maps

struct Model {
  std::map<std::string, Mirror::Rows> tables;  // those that are served
  std::map<std::string, bool> refused;

  void insert(std::uint64_t id, const std::string& json, const std::string& table = "items") {
    tables.at(table)[item_key(id)] = json;
  }
  void update(std::uint64_t id, const std::string& json) { insert(id, json); }
  void erase(std::uint64_t id) { tables.at("items").erase(item_key(id)); }
  void move(std::uint64_t from, std::uint64_t to, const std::string& json) {
    erase(from);
    insert(to, json);
  }
  void load(const std::string& table, const std::map<std::uint64_t, std::string>& rows) {
    Mirror::Rows& loaded = tables[table] = {};
    for (const auto& [id, json] : rows) loaded[item_key(id)] = json;
    refused.erase(table);
  }
  void load_in_vain(const std::string&) {}
  void quarantine(const std::string& table) {
    tables.erase(table);
    refused[table] = true;
  }
  void contradict(std::uint64_t) { quarantine("items"); }
  void drop(const std::string& table) {
    tables.erase(table);
    refused.erase(table);
  }
  void fail_for_want_of_room() {}
};

// The same for a writer.
struct Actor {
  FaultWriter& writer;
  RowBuilder row = {};
  bool contradicts = false;

  void insert(std::uint64_t id, const std::string& json, const std::string& table = "items") {
    writer.insert(id, json, table);
  }
  void update(std::uint64_t id, const std::string& json) { writer.update(id, json); }
  void erase(std::uint64_t id) { writer.erase(id); }
  void move(std::uint64_t from, std::uint64_t to, const std::string& json) {
    const Table& items = *writer->live_table("items");
    EXPECT_TRUE(writer->update(items, item_key(from), build_item(row, to, json)));
  }
  TableId load_rows(const std::string& table, const std::map<std::uint64_t, std::string>& rows) {
    const TableId id = writer->new_table(items_table(table));
    for (const auto& [key, json] : rows) {
      EXPECT_TRUE(writer->load_row(id, writer->last_commit().version, build_item(row, key, json)));
    }
    EXPECT_TRUE(writer->end_load());
    return id;
  }
  void load(const std::string& table, const std::map<std::uint64_t, std::string>& rows) {
    EXPECT_TRUE(writer->switch_to(load_rows(table, rows)));
  }
  void load_in_vain(const std::string& table) {
    EXPECT_TRUE(writer->abandon(load_rows(table, {{7, json_text("never seen")}})));
  }
  void quarantine(const std::string& table) { EXPECT_TRUE(writer->quarantine(table, "is loaded anew")); }
  void contradict(std::uint64_t id) {
    writer.insert(id, json_text("twice"));
    contradicts = true;
  }
  void drop(const std::string& table) { EXPECT_TRUE(writer->drop(table)); }
  void fail_for_want_of_room() {
    writer.insert(999, filler(kMaxBytes + 1));
    const std::uint64_t version = writer->last_commit().version.value();
    const auto refused = writer.try_commit(version + 1);
    EXPECT_FALSE(refused);
    if (!refused) {
      EXPECT_EQ(refused.error().kind, ErrorKind::kLimit) << refused.error().message;
    }
    writer->rollback();
  }
};

constexpr std::uint64_t kLastScripted = 16;

// The transaction of this version, and what is done before it outside of transactions. (Loads come first in a step:
// they may not begin inside a transaction.)
template <class Ring>
void play_step(Ring& ring, std::uint64_t version) {
  switch (version) {
    case 2:  // behind the tail
      ring.insert(10, json_text("ten"));
      return ring.update(1, json_text("one again"));
    case 3:  // changes segments, takes a new chunk; just within the buffer
      for (std::uint64_t id = 20; id < 28; ++id) ring.insert(id, filler(900));
      return;
    case 4:  // jumbo, and a small one behind it
      ring.insert(30, filler(5000));
      ring.erase(10);
      return ring.insert(31, json_text("behind"));
    case 5:  // a load of its own batch, then live: catalogue and events
      return ring.load("second", {{1, json_text("loaded")}, {2, json_text("too")}});
    case 6:  // a transaction without changes
      return;
    case 7:
      ring.erase(30);
      ring.update(31, filler(2000));
      return ring.move(27, 270, json_text("moved"));
    case 8:  // refused, to be loaded anew: as at DDL
      ring.insert(3, json_text("goes on"), "second");
      return ring.quarantine("items");
    case 9:
      ring.load_in_vain("third");
      return ring.load("items", {{1, json_text("anew")}, {2, filler(3000)}, {3, filler(4500)}, {4, ""}});
    case 10:  // through the spill file, with two jumbos between small ones
      for (std::uint64_t id = 40; id < 48; ++id) ring.insert(id, filler(700));
      ring.insert(50, filler(5000));
      ring.insert(51, filler(9000));
      ring.update(2, json_text("small now"));
      return ring.erase(3);
    case 11:  // in place of what serves the name
      return ring.load("second", {{1, json_text("loaded again")}});
    case 12:
      ring.fail_for_want_of_room();
      return ring.insert(60, json_text("in spite of it"));
    case 13:  // the row is there already: quarantined on the way
      ring.insert(61, json_text("not seen any more"));
      return ring.contradict(60);
    case 14:
      return ring.drop("second");
    case 15:
      return ring.drop("items");
    case kLastScripted:
      return ring.load("items", {{1, json_text("another life")}});
    default:
      FAIL() << "no step " << version;
  }
}

void run_step(FaultWriter& writer, std::uint64_t version) {
  Actor actor{writer};
  play_step(actor, version);
  const auto refused = writer.try_commit(version);
  EXPECT_TRUE(refused) << why(refused);
  if (refused) {
    EXPECT_EQ(refused->size(), actor.contradicts ? 1u : 0u);
  }
}

const Model& model_at(std::uint64_t version) {
  static const std::vector<Model> models = [] {
    std::vector<Model> all(2);
    all[1].tables["items"][item_key(1)] = json_text("one");
    for (std::uint64_t v = 2; v <= kLastScripted; ++v) {
      all.push_back(all.back());
      play_step(all.back(), v);
    }
    return all;
  }();
  return models.at(version);
}

void expect_contents(const Mirror& mirror, std::uint64_t version) {
  const Model& model = model_at(version);
  EXPECT_EQ(mirror.version, Version(version));
  for (const char* name : {"items", "second", "third"}) {
    EXPECT_EQ(mirror.quarantined.contains(name), model.refused.contains(name)) << name << " at " << version;
    const auto rows = model.tables.find(name);
    ASSERT_EQ(mirror.table(name) != nullptr, rows != model.tables.end()) << name << " at " << version;
    if (rows != model.tables.end()) {
      EXPECT_EQ(*mirror.table(name), rows->second) << name << " at " << version;
    }
  }
}

// What the writer knows after it has recovered.
void expect_index(FaultWriter& writer, std::uint64_t version) {
  const Model& model = model_at(version);
  std::map<std::string, std::size_t> rows;
  for (const TableUsage& table : writer->usage()) rows[table.name] = table.rows;
  ASSERT_EQ(rows.size(), model.tables.size());
  for (const auto& [name, expected] : model.tables) EXPECT_EQ(rows[name], expected.size()) << name;
  EXPECT_EQ(writer->quarantined().size(), model.refused.size());
}

// --- a reader that sleeps whenever it may

class Sleeper {
 public:
  explicit Sleeper(const RingOptions& options) : reader_(join_ring(options)) {}
  explicit operator bool() const { return reader_ != nullptr; }

  void sleep() {
    do {
      Record record;
      while (reader_->next(record) == Step::kRecord) {
      }
      char bytes[64];
      while (is_woken()) EXPECT_GT(::read(reader_->wake_fd(), bytes, sizeof bytes), 0);
    } while (!reader_->prepare_sleep());
  }
  bool is_woken() const {
    pollfd fd{reader_->wake_fd(), POLLIN, 0};
    return ::poll(&fd, 1, 0) == 1;
  }
  void awake() { reader_->awake(); }

 private:
  std::unique_ptr<RingReader> reader_;
};

// --- faults

// Runs `act` up to the store; true when it died there.
bool dies_at(std::uint64_t store, const std::function<void()>& act) {
  FaultMemory::arm(store);
  bool died = false;
  try {
    act();
  } catch (const FaultPoint&) {
    died = true;
  }
  return died;
}

// Opens the ring for a writer that dies at each of its stores in turn, before one does not.
bool open_with_faults(FaultWriter& writer) {
  for (std::uint64_t store = 0; store < 100; ++store) {
    bool opened = false;
    const bool died = dies_at(store, [&] { opened = writer.open(); });
    FaultMemory::disarm();
    if (!died) return opened;
  }
  ADD_FAILURE() << "recovering takes more stores than that?";
  return false;
}

struct Begun {
  std::unique_ptr<RingDirectory> directory = std::make_unique<RingDirectory>();
  FaultWriter writer{small_ring(*directory)};

  bool begin() {
    FaultMemory::disarm();
    writer.use_mysql_gtids();  // which need more to be recovered: the whole executed set
    if (!writer.open()) return false;
    writer->describe("history", "test");
    EXPECT_TRUE(writer->switch_to(writer->new_table(items_table())));
    return writer.commit(1) && writer.activate() && writer.insert(1, json_text("one")) && writer.commit(1);
  }
};

void play_rest(FaultWriter& writer, Sleeper& sleeper, std::uint64_t& done) {
  while (done < kLastScripted) {
    sleeper.sleep();
    run_step(writer, done + 1);
    ++done;
    EXPECT_TRUE(sleeper.is_woken()) << "by version " << done;
    sleeper.awake();
  }
}

// One run of the script that dies before store number `fault`.
void dies_and_is_continued(std::uint64_t fault, bool with_recovery_faults) {
  Begun ring;
  if (!ring.begin()) return;
  FaultWriter& writer = ring.writer;
  const RingOptions& options = writer.options().ring;
  const Epoch epoch = writer->ring().epoch();
  const std::unique_ptr<RingReader> reader = join_ring(options);
  Sleeper sleeper(options);
  if (reader == nullptr || !sleeper) return;
  Mirror follower;
  std::uint64_t done = 1;
  const bool died = dies_at(fault, [&] { play_rest(writer, sleeper, done); });
  FaultMemory::disarm();
  // Before anybody continues: whole transactions only.
  EXPECT_EQ(follower.follow(*reader), Step::kCaughtUp);
  expect_contents(follower, follower.version.value());
  if (!(with_recovery_faults ? open_with_faults(writer) : writer.open())) return;
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  EXPECT_EQ(writer->ring().epoch(), epoch);
  EXPECT_TRUE(sleeper.is_woken() || !died) << "the next writer wakes whom this one did not";
  sleeper.awake();
  const std::uint64_t version = writer->last_commit().version.value();
  EXPECT_TRUE(version == done || (died && version == done + 1)) << version << " after " << done;
  EXPECT_EQ(writer->last_commit().gtid, FaultWriter::kUuid + (":" + std::to_string(version)));
  EXPECT_EQ(writer->executed().set().version(), Version(version)) << writer->executed().text();
  EXPECT_EQ(follower.follow(*reader), Step::kCaughtUp);  // a P3 that the next writer made up for
  EXPECT_EQ(follower.version, Version(version));
  expect_index(writer, version);
  expect_contents(mirror_of(options), version);
  // And it goes on, to the script's end.
  done = version;
  play_rest(writer, sleeper, done);
  EXPECT_EQ(follower.follow(*reader), Step::kCaughtUp);
  expect_contents(follower, kLastScripted);
  expect_contents(mirror_of(options), kLastScripted);
}

TEST(RingCrash, AWriterThatDiesAtAnyStoreLosesAndShowsNothing) {
  std::vector<std::uint64_t> points;
  std::uint64_t stores = 0;
  {
    Begun ring;
    ASSERT_TRUE(ring.begin());
    Sleeper sleeper(ring.writer.options().ring);
    std::uint64_t done = 1;
    ASSERT_FALSE(dies_at(FaultMemory::kNever, [&] { play_rest(ring.writer, sleeper, done); }));
    points = FaultMemory::points();
    stores = FaultMemory::stores;
    EXPECT_GT(ring.writer->spilled_bytes(), 0u);
    EXPECT_GT(ring.writer->ring().usage().chunk_bytes, std::uint64_t{10} * 8192) << "chunks of both kinds";
  }
  EXPECT_GT(points.size(), 150u);
  std::printf("%zu of %zu stores\n", points.size(), static_cast<std::size_t>(stores));
  for (std::size_t i = 0; i < points.size(); ++i) {
    dies_and_is_continued(points[i], i % 5 == 0);
    ASSERT_FALSE(::testing::Test::HasFailure()) << "at store " << points[i];
  }
}

// --- epochs

void load_epoch(BasicPublisher<FaultMemory>& fresh, std::uint64_t version, const std::string& json) {
  fresh.describe("history", "test");
  const TableId id = fresh.new_table(items_table());
  RowBuilder row;
  EXPECT_TRUE(fresh.load_row(id, Version(version), build_item(row, 1, json)));
  EXPECT_TRUE(fresh.switch_to(id));
  const std::string gtid = "0-1-" + std::to_string(version);
  EXPECT_TRUE(fresh.commit(Version(version), Commit{0, 1, 0, gtid}));
}

// The very first epoch: there is none, or this one whole.
bool beginning_dies(std::uint64_t fault) {
  const RingDirectory directory;
  FaultWriter writer(small_ring(directory));
  const auto begin = [&] {
    if (!writer.open()) return;
    if (writer->is_fresh()) {
      load_epoch(*writer, 3, json_text("new"));
      EXPECT_TRUE(writer.activate());
    }
  };
  const bool died = dies_at(fault, begin);
  FaultMemory::disarm();
  {
    auto reader = RingReader::attach(directory.path(), "test");
    if (!reader) {
      EXPECT_EQ(reader.error().kind, ErrorKind::kUnavailable)
          << "a reader waits for a ring that is being made";
    } else if ((*reader)->join()) {
      Mirror mirror;
      EXPECT_EQ(mirror.follow(**reader), Step::kCaughtUp);
      EXPECT_EQ(mirror.version, Version(3));
    }
  }
  begin();
  EXPECT_EQ(writer->last_commit().version, Version(3));
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->at(item_key(1)), json_text("new"));
  EXPECT_EQ(list_epochs(RingPath(directory.path(), "test"))->size(), 1u);
  return died;
}

// A new epoch beside the one in force, up to its activation; by the writer that holds the old one, or by one that does
// not have it open.
bool replacing_dies(std::uint64_t fault, bool holds_the_old_one) {
  const RingDirectory directory;
  FaultMemory::disarm();
  FaultWriter writer(small_ring(directory));
  if (!writer.start()) return false;
  EXPECT_TRUE(writer.insert(1, json_text("old")) && writer.commit(2));
  const std::unique_ptr<RingReader> reader = join_ring(writer.options().ring);
  if (reader == nullptr) return false;
  std::unique_ptr<BasicPublisher<FaultMemory>> fresh;
  const bool died = dies_at(fault, [&] {
    writer->ring().set_capture_state(CaptureState::kReplacing);
    auto created = BasicPublisher<FaultMemory>::create(writer.options(), writer.lock());
    EXPECT_TRUE(created) << why(created);
    fresh = std::move(*created);
    load_epoch(*fresh, 3, json_text("new"));
    EXPECT_TRUE(fresh->activate(holds_the_old_one ? &*writer : nullptr));
  });
  FaultMemory::disarm();
  fresh.reset();
  Mirror old;
  EXPECT_EQ(old.follow(*reader), Step::kCaughtUp) << "what it has is served until it has the next";
  EXPECT_EQ(old.table("items")->at(item_key(1)), json_text("old"));
  if (!open_with_faults(writer)) return false;
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  const Mirror now = mirror_of(writer.options().ring);
  const bool is_old = writer->ring().epoch() == reader->epoch();
  EXPECT_TRUE(died || !is_old);
  EXPECT_EQ(now.version, Version(is_old ? 2 : 3));
  EXPECT_EQ(now.table("items")->at(item_key(1)), json_text(is_old ? "old" : "new"));
  EXPECT_EQ(reader->is_superseded(), !is_old) << "a reader knows whether its epoch is in force";
  EXPECT_EQ(list_epochs(RingPath(directory.path(), "test"))->size(), 1u);
  return died;
}

// All the stores there are: an epoch is made of few. The number of them.
std::uint64_t die_at_every_store(const std::function<bool(std::uint64_t)>& dies) {
  std::uint64_t fault = 0;
  while (dies(fault)) {
    if (::testing::Test::HasFailure()) break;
    ++fault;
  }
  EXPECT_FALSE(::testing::Test::HasFailure()) << "at store " << fault;
  return fault;
}

TEST(RingCrash, AWriterThatDiesWhileItMakesTheFirstEpochLeavesNoneOrAWholeOne) {
  EXPECT_GT(die_at_every_store(beginning_dies), 50u);
}

TEST(RingCrash, AWriterThatDiesWhileItReplacesTheEpochLeavesOneOfTheTwo) {
  EXPECT_GT(die_at_every_store([](std::uint64_t fault) { return replacing_dies(fault, true); }), 50u);
  EXPECT_GT(die_at_every_store([](std::uint64_t fault) { return replacing_dies(fault, false); }), 50u);
}

// --- readers

// One is stuck, one has died, one follows; the writer dies while it evicts.
bool evicting_dies(std::uint64_t fault) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  Begun ring;
  PublisherOptions& options = ring.writer.options();
  options.ring.reader_limit_bytes = 4096;
  options.ring.reader_grace_ns = kSecond;
  if (!ring.begin()) return false;
  FaultWriter& writer = ring.writer;
  const std::unique_ptr<RingReader> stuck = join_ring(options.ring);
  const std::unique_ptr<RingReader> following = join_ring(options.ring);
  std::unique_ptr<RingReader> dead = join_ring(options.ring);
  if (!stuck || !following || !dead) return false;
  Mirror mirror;
  std::uint64_t version = 1;
  std::uint64_t now = kSecond;
  const auto write_and_look = [&] {
    for (; version < 3; ++version) run_step(writer, version + 1);
    EXPECT_EQ(mirror.follow(*following), Step::kCaughtUp);
    for (int look = 0; look < 2; ++look, now += 2 * kSecond) {
      following->count_progress();
      writer->ring().beat(now);
      writer->ring().set_source(Version(version), 0, now);
      writer->ring().check_readers(now);
    }
  };
  dead.reset();  // its lock is free, its place is not
  const bool died = dies_at(fault, write_and_look);
  if (!open_with_faults(writer)) return false;
  version = writer->last_commit().version.value();
  write_and_look();
  EXPECT_TRUE(stuck->is_evicted());
  EXPECT_FALSE(following->is_evicted());
  EXPECT_EQ(writer->ring().readers().size(), 1u) << "and the dead one is not waited for";
  run_step(writer, ++version);
  EXPECT_EQ(mirror.follow(*following), Step::kCaughtUp);
  expect_contents(mirror, version);
  const std::unique_ptr<RingReader> again = join_ring(options.ring);
  EXPECT_TRUE(again != nullptr && !again->is_evicted());
  return died;
}

TEST(RingCrash, AWriterThatDiesWhileItEvictsIsFollowedByOneThatDoes) {
  std::uint64_t fault = 0;
  // The transactions' own stores have been died at above: here every fortieth will do, and every one of the looks.
  while (evicting_dies(fault)) {
    ASSERT_FALSE(::testing::Test::HasFailure()) << "at store " << fault;
    fault += fault < 1000 ? 37 : 1;
  }
  ASSERT_FALSE(::testing::Test::HasFailure()) << "at store " << fault;
  EXPECT_GT(fault, 1000u);
}

}  // namespace
}  // namespace ringside::shm
