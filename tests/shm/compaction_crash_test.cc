// The writer dies at its stores while the ring is compacted: victims half carried, finished, freed and not yet reusable,
// slots reused one by one and as runs, chunks given back and taken again; and again while it recovers. A reader follows
// from behind, so that segments wait for it, and others join all the time. Whatever happens, the contents are the
// model's: for who follows, for who joins, and for the writer's index.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "shm/publisher_impl.h"
#include "shm/ring_reader.h"
#include "tests/shm/fault_memory.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

using FaultWriter = BasicTestWriter<FaultMemory>;

// 40 segments, of which some 25 are live at most.
PublisherOptions small_ring(const RingDirectory& directory) {
  PublisherOptions options = directory.options();
  options.ring.segment_bytes = 4096;
  options.ring.chunk_bytes = 8192;
  options.ring.max_bytes = std::uint64_t{40} * 4096;
  options.ring.reserve_bytes = 0;
  options.transaction_buffer_bytes = 8192;
  return options;
}

// --- the workload: a version's transaction is a function of the seed, the version, and the contents before

struct Model {
  std::map<std::string, std::map<std::uint64_t, std::string>> tables = {{"items", {}}};
  bool guest_is_refused = false;
};

struct Change {
  enum Kind { kInsert, kUpdate, kErase, kMove, kLoad, kDrop, kRefuse } kind;
  std::uint64_t id = 0;
  std::string json = {};
  std::uint64_t to = 0;
};

class Workload {
 public:
  Workload(std::uint32_t seed, std::uint64_t version, Model& model)
      : random_(seed * 1'000'003 + version), version_(version), model_(model) {}

  // Changes the model on the way.
  std::vector<Change> changes() {
    const std::uint64_t phase = version_ % 120;
    const std::uint64_t kind = random_() % 16;
    if (phase == 60) {  // the database shrinks
      while (rows().size() > 8)
        erase(std::next(rows().begin(), static_cast<long>(random_() % rows().size()))->first);
    } else if (kind == 0) {
      put(900 + random_() % 4, 4100 + random_() % 5000);  // jumbo
    } else if (kind == 1) {
      change_guest();
    } else if (kind == 2) {
      for (int i = 0; i < 12; ++i) put(random_() % kKeys, random_() % 700);
    } else if (kind == 3) {
      for (int i = 0; i < 4 && !rows().empty(); ++i) erase(rows().begin()->first + 0);
    } else {
      for (std::uint64_t i = random_() % 4; i-- > 0;) change_one();
    }
    return std::move(made_);
  }

 private:
  static constexpr std::uint64_t kKeys = 110;

  std::map<std::uint64_t, std::string>& rows() { return model_.tables.at("items"); }
  std::string json(std::uint64_t size) {
    return json_text(std::to_string(version_) + ":" +
                     std::string(size, static_cast<char>('a' + version_ % 26)));
  }
  void put(std::uint64_t id, std::uint64_t size) {
    const std::string text = json(size);
    made_.push_back({rows().contains(id) ? Change::kUpdate : Change::kInsert, id, text});
    rows()[id] = text;
  }
  void erase(std::uint64_t id) {
    made_.push_back({Change::kErase, id});
    rows().erase(id);
  }
  void change_one() {
    const std::uint64_t id = random_() % kKeys;
    const std::uint64_t to = random_() % kKeys;
    const std::uint64_t kind = random_() % 8;
    if (kind == 0 && rows().contains(id)) {
      erase(id);
    } else if (kind == 1 && rows().contains(id) && !rows().contains(to)) {
      const std::string text = json(50);
      made_.push_back({Change::kMove, id, text, to});
      rows().erase(id);
      rows()[to] = text;
    } else {
      put(id, random_() % 500);
    }
  }
  // A table that comes, is refused, goes, and comes back.
  void change_guest() {
    const bool is_live = model_.tables.contains("guest");
    if (!is_live) {
      const std::string text = json(random_() % 3000);
      made_.push_back({Change::kLoad, 1, text});
      model_.tables["guest"] = {{1, text}};
      model_.guest_is_refused = false;
      return;
    }
    model_.tables.erase("guest");
    model_.guest_is_refused = random_() % 3 == 0;
    made_.push_back({model_.guest_is_refused ? Change::kRefuse : Change::kDrop});
  }

  std::mt19937_64 random_;
  std::uint64_t version_;
  Model& model_;
  std::vector<Change> made_;
};

// --- a ring with its writer, its readers and its model

class Tried {
 public:
  explicit Tried(std::uint32_t seed) : seed_(seed), writer_(small_ring(directory_)) {
    FaultMemory::disarm();
    writer_.use_mysql_gtids();
  }

  bool begin() {
    if (!writer_.start()) return false;
    following_ = join_ring(options());
    return following_ != nullptr;
  }

  // The transactions up to this version, one after the other; a fault may end it.
  void play(std::uint64_t last) {
    while (version_ < last && !::testing::Test::HasFailure()) {
      Model next = model_;
      const std::vector<Change> changes = Workload(seed_, version_ + 1, next).changes();
      pending_ = next;
      perform(changes);
      version_ = version_ + 1;
      model_ = std::move(next);
      if (version_ % 7 == 0) follow();
      join_on(version_ % 3 == 0 ? 40 : 3);
      if (version_ % 4 == 0) {
        EXPECT_TRUE(writer_->tend(version_));
      }
    }
  }

  // The writer has died, perhaps: before anybody continues there are whole transactions only; the next writer knows all of
  // them, and goes on. `recovery_dies`: at each of its stores in turn, before one does not.
  void continue_it(bool died, bool recovery_dies) {
    FaultMemory::disarm();
    follow();
    const auto take_over = [&](std::uint64_t found) {
      ASSERT_TRUE(found == version_ || (died && found == version_ + 1)) << found << " after " << version_;
      if (found == version_) return;
      ++version_;
      died = false;
      model_ = pending_;
    };
    ASSERT_NO_FATAL_FAILURE(take_over(mirror_.version.value()));
    expect_contents(mirror_, "for who followed");
    ASSERT_TRUE(recovery_dies ? open_with_faults() : writer_.open());
    ASSERT_FALSE(writer_->is_fresh()) << writer_->why_fresh();
    // It may have died between the two stores that publish: then the next one does the second.
    ASSERT_NO_FATAL_FAILURE(take_over(writer_->last_commit().version.value()));
    ASSERT_EQ(writer_->last_commit().version, Version(version_));
    ASSERT_EQ(writer_->executed().set().version(), Version(version_)) << writer_->executed().text();
    expect_index();
    expect_contents(mirror_of(options()), "for who joins");
  }

  void finish() {
    follow();
    expect_contents(mirror_, "for who followed to the end");
    expect_contents(mirror_of(options()), "for who joins at the end");
    join_on(100'000);
  }

  FaultWriter& writer() { return writer_; }
  const RingOptions& options() { return writer_.options().ring; }
  std::uint64_t version() const { return version_; }
  std::uint64_t joined = 0;
  std::uint64_t joins_cut = 0;  // by a writer's death

 private:
  // Again and again until there is room; readers that hold it get on.
  template <class Call>
  auto with_room(const Call& call) {
    auto result = call();
    for (int i = 0; i < 10'000 && !result && result.error().kind == ErrorKind::kLimit; ++i) {
      if (writer_->room_state() == RoomState::kReaders) {
        follow();
        join_on(100'000);
      } else if (writer_->room_state() != RoomState::kSoon) {
        break;
      }
      result = call();
    }
    EXPECT_TRUE(result) << why(result) << " at version " << version_ + 1;
    return result;
  }

  void perform(const std::vector<Change>& changes) {
    RowBuilder row;
    for (const Change& change : changes) {
      switch (change.kind) {
        case Change::kInsert:
          writer_.insert(change.id, change.json);
          break;
        case Change::kUpdate:
          writer_.update(change.id, change.json);
          break;
        case Change::kErase:
          writer_.erase(change.id);
          break;
        case Change::kMove:
          EXPECT_TRUE(writer_->update(*writer_->live_table("items"), item_key(change.id),
                                      build_item(row, change.to, change.json)));
          break;
        case Change::kLoad: {
          const TableId id = writer_->new_table(items_table("guest"));
          EXPECT_TRUE(
              writer_->load_row(id, writer_->last_commit().version, build_item(row, change.id, change.json)));
          EXPECT_TRUE(with_room([&] { return writer_->end_load(); }));
          EXPECT_TRUE(writer_->switch_to(id));
          break;
        }
        case Change::kDrop:
          EXPECT_TRUE(writer_->drop("guest"));
          break;
        case Change::kRefuse:
          EXPECT_TRUE(writer_->quarantine("guest", "is refused"));
          break;
      }
    }
    const auto refused = with_room([&] { return writer_.commit_soon(version_ + 1); });
    if (refused) {
      EXPECT_TRUE(refused->empty()) << refused->front().second;
    }
  }

  void follow() { EXPECT_EQ(mirror_.follow(*following_), Step::kCaughtUp) << "at version " << version_; }

  // Somebody who has begun to join and holds the whole log reads on; once he has read it all he goes, and the next time
  // another one comes.
  void join_on(int records) {
    if (joining_ == nullptr) joining_ = join_ring(options());
    Record record;
    for (; records > 0 && joining_ != nullptr; --records) {
      const Step step = joining_->next(record);
      if (step == Step::kRecord) {
        joiner_.apply(record);
        continue;
      }
      if (step == Step::kCaughtUp) {
        EXPECT_LE(joiner_.version.value(), version_ + 1);
        if (joiner_.version.value() == version_) expect_contents(joiner_, "for who has been joining");
        ++joined;
      } else {
        // One that came while a segment was freed may lose it when the writer dies before it has looked again.
        EXPECT_EQ(step, Step::kEvicted);
        EXPECT_GT(deaths_, 0u);
        ++joins_cut;
      }
      joiner_ = Mirror();
      joining_.reset();
    }
  }

  bool open_with_faults() {
    for (std::uint64_t store = 0; store < 1000; store += 1 + store / 8) {
      bool opened = false;
      if (!dies_at(store, [&] { opened = writer_.open(); })) {
        FaultMemory::disarm();
        return opened;
      }
      FaultMemory::disarm();
    }
    ADD_FAILURE() << "recovering takes more stores than that?";
    return false;
  }

  void expect_contents(const Mirror& mirror, const char* whom) {
    for (const char* name : {"items", "guest"}) {
      const auto expected = model_.tables.find(name);
      ASSERT_EQ(mirror.table(name) != nullptr, expected != model_.tables.end()) << name << ' ' << whom;
      if (expected == model_.tables.end()) continue;
      Mirror::Rows rows;
      for (const auto& [id, json] : expected->second) rows[item_key(id)] = json;
      ASSERT_TRUE(*mirror.table(name) == rows) << name << ' ' << whom << " at version " << version_;
    }
    ASSERT_EQ(mirror.quarantined.contains("guest"), model_.guest_is_refused) << whom;
  }

  void expect_index() {
    std::map<std::string, std::uint64_t> rows;
    for (const TableUsage& table : writer_->usage()) rows[table.name] = table.rows;
    ASSERT_EQ(rows.size(), model_.tables.size());
    for (const auto& [name, expected] : model_.tables) ASSERT_EQ(rows[name], expected.size()) << name;
    ASSERT_EQ(writer_->quarantined().size(), model_.guest_is_refused ? 1u : 0u);
  }

 public:
  // Runs `act` up to the store; true when the writer died there.
  bool dies_at(std::uint64_t store, const std::function<void()>& act) {
    FaultMemory::arm(store);
    try {
      act();
    } catch (const FaultPoint&) {
      ++deaths_;
      return true;
    }
    return false;
  }

 private:
  RingDirectory directory_;
  std::uint32_t seed_;
  FaultWriter writer_;
  std::unique_ptr<RingReader> following_;
  std::unique_ptr<RingReader> joining_;
  Mirror mirror_;
  Mirror joiner_;
  std::uint64_t version_ = 1;
  Model model_;
  Model pending_;  // with the transaction that is being performed
  std::uint64_t deaths_ = 0;
};

// Death upon death in one ring, at stores chosen at random.
TEST(CompactionCrash, AWriterThatDiesAgainAndAgainLosesAndShowsNothing) {
  const std::uint32_t seed = test_seed(20260311);
  std::mt19937 random(seed);
  Tried ring(seed);
  ASSERT_TRUE(ring.begin());
  constexpr int kDeaths = 300;
  std::uint64_t freed = 0;
  std::uint64_t given_back = 0;
  std::uint64_t relocated = 0;
  for (int death = 0; death < kDeaths; ++death) {
    const bool died = ring.dies_at(random() % 30'000, [&] { ring.play(ring.version() + 60); });
    freed += ring.writer()->ring().usage().segments_freed;
    given_back += ring.writer()->ring().usage().chunks_given_back;
    relocated += ring.writer()->compaction().relocated_bytes;
    ring.continue_it(died, death % 10 == 0);
    ASSERT_FALSE(::testing::Test::HasFailure()) << "death " << death << ", version " << ring.version();
  }
  FaultMemory::disarm();
  ring.play(ring.version() + 300);
  ring.finish();
  EXPECT_GT(freed, 1000u);
  EXPECT_GT(given_back, 10u);
  std::printf(
      "%lu versions, %lu segments freed, %lu bytes relocated, %lu chunks given back, %lu joins, %lu cut\n",
      ring.version(), freed, relocated, given_back, ring.joined, ring.joins_cut);
}

// One death a run, at every store worth dying at of a stretch in which everything happens. In CI at some of them.
TEST(CompactionCrash, AWriterThatDiesAtAnyStoreOfCompactingIsContinued) {
  constexpr std::uint32_t kSeed = 7;
  constexpr std::uint64_t kFrom = 150;  // by then all of the ring is in use
  constexpr std::uint64_t kTo = 200;    // the database has shrunk on the way
  std::vector<std::uint64_t> points;
  {
    Tried ring(kSeed);
    ASSERT_TRUE(ring.begin());
    ring.play(kFrom);
    const std::uint64_t freed = ring.writer()->ring().usage().segments_freed;
    ASSERT_FALSE(ring.dies_at(FaultMemory::kNever, [&] { ring.play(kTo); }));
    points = FaultMemory::points();
    EXPECT_GT(ring.writer()->ring().usage().segments_freed, freed + 10);
    EXPECT_GT(ring.writer()->ring().usage().chunks_given_back, 0u);
  }
  const std::size_t step = std::getenv("RINGSIDE_CRASH_EVERY") != nullptr ? 1 : points.size() / 150 + 1;
  std::printf("%zu stores worth dying at, one of %zu\n", points.size(), step);
  for (std::size_t i = test_seed(3) % step; i < points.size(); i += step) {
    Tried ring(kSeed);
    ASSERT_TRUE(ring.begin());
    ring.play(kFrom);
    const bool died = ring.dies_at(points[i], [&] { ring.play(kTo); });
    ring.continue_it(died, i % 9 == 0);
    FaultMemory::disarm();
    ring.play(kTo);
    ring.finish();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "at store " << points[i];
  }
}

}  // namespace
}  // namespace ringside::shm
