// Random transactions over several tables, against std::map. The writer is closed and opened again, readers
// join and leave meanwhile, tables are loaded anew; every reader's contents are those of the version it is at.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

constexpr std::array<const char*, 3> kTables = {"apples", "pears", "plums"};
using Model = std::map<std::string, Mirror::Rows>;

struct Follower {
  std::unique_ptr<RingReader> reader;
  Mirror mirror;
};

class ModelRun {
 public:
  ModelRun(const PublisherOptions& options, std::uint32_t seed) : writer_(options), random_(seed) {}

  bool start() {
    if (!writer_.open()) return false;
    for (const char* name : kTables) {
      EXPECT_TRUE(writer_->switch_to(writer_->new_table(items_table(name))));
      model_[name];
    }
    return writer_.commit(version_) && writer_.activate();
  }

  void step() {
    const std::uint64_t what = random_() % 100;
    if (what < 4) return restart();
    if (what < 9) return join();
    if (what < 13 && !followers_.empty()) return leave();
    if (what < 18) return check_all();
    if (what < 20) return reload();
    if (what < 30) {
      ASSERT_TRUE(writer_->tend(monotonic_ns()));
      return;
    }
    transaction();
  }

  void check_all() {
    for (Follower& follower : followers_) {
      ASSERT_EQ(follower.mirror.follow(*follower.reader), Step::kCaughtUp);
      expect_model(follower.mirror);
    }
    expect_model(mirror_of(writer_.options().ring));
  }

  std::uint64_t version() const { return version_; }
  std::uint64_t freed() { return freed_before_ + writer_->ring().usage().segments_freed; }
  std::size_t restarts = 0;
  std::size_t waits = 0;

 private:
  std::uint64_t random_id() { return random_() % 300; }
  std::string random_json() {
    if (random_() % 20 == 0) return {};  // NULL
    const std::size_t size = random_() % 40 == 0 ? random_() % 40000 : random_() % 120;
    return json_text(std::string(size, static_cast<char>('a' + random_() % 26)));
  }

  void transaction() {
    Model next = model_;
    const std::uint64_t changes = random_() % 25 == 0 ? 400 : random_() % 8;
    for (std::uint64_t i = 0; i < changes; ++i) {
      const char* name = kTables[random_() % kTables.size()];
      Mirror::Rows& rows = next[name];
      const std::uint64_t id = random_id();
      const std::string json = random_json();
      if (!rows.contains(item_key(id))) {
        ASSERT_TRUE(writer_.insert(id, json, name));
        rows[item_key(id)] = json;
      } else if (random_() % 3 == 0) {
        ASSERT_TRUE(writer_.erase(id, name));
        rows.erase(item_key(id));
      } else if (const std::uint64_t other = random_id();
                 random_() % 5 == 0 && !rows.contains(item_key(other))) {
        ASSERT_TRUE(writer_->update(*writer_->live_table(name), item_key(id), build_item(row_, other, json)));
        rows.erase(item_key(id));
        rows[item_key(other)] = json;
      } else {
        ASSERT_TRUE(writer_.update(id, json, name));
        rows[item_key(id)] = json;
      }
    }
    if (random_() % 10 == 0) {
      writer_->rollback();
      return;
    }
    ASSERT_TRUE(commit());
    model_ = std::move(next);
  }

  // A ring that waits for its readers has them get on. False after a failed expectation.
  template <class Call>
  bool with_room(const Call& call) {
    for (int attempts = 0; attempts < 200; ++attempts) {
      const auto done = call();
      if (done) return true;
      EXPECT_EQ(done.error().kind, ErrorKind::kLimit) << done.error().message;
      EXPECT_NE(writer_->room_state(), RoomState::kFree);
      if (done.error().kind != ErrorKind::kLimit) return false;
      for (Follower& follower : followers_)
        EXPECT_EQ(follower.mirror.follow(*follower.reader), Step::kCaughtUp);
      ++waits;
    }
    ADD_FAILURE() << "no room after all readers have got on";
    return false;
  }
  bool commit() {
    ++version_;
    return with_room([&] {
      auto refused = writer_.try_commit(version_);
      if (refused) {
        EXPECT_TRUE(refused->empty());
      }
      return refused;
    });
  }

  void reload() {
    const char* name = kTables[random_() % kTables.size()];
    const TableId id = writer_->new_table(items_table(name));
    Mirror::Rows rows;
    for (std::uint64_t count = random_() % 300; count-- > 0;) {
      const std::uint64_t key = random_();
      const std::string json = random_json();
      if (!rows.emplace(item_key(key % 1000), json).second) continue;
      ASSERT_TRUE(with_room(
          [&] { return writer_->load_row(id, Version(version_), build_item(row_, key % 1000, json)); }));
    }
    ASSERT_TRUE(with_room([&] { return writer_->end_load(); }));
    if (random_() % 4 == 0) {
      ASSERT_TRUE(writer_->abandon(id));
      return;
    }
    if (random_() % 4 == 0) return restart();  // the load is forgotten
    ASSERT_TRUE(writer_->switch_to(id));
    ASSERT_TRUE(commit());
    model_[name] = std::move(rows);
  }

  void restart() {
    ++restarts;
    freed_before_ += writer_->ring().usage().segments_freed;
    ASSERT_TRUE(writer_.open());
    ASSERT_FALSE(writer_->is_fresh()) << writer_->why_fresh();
    ASSERT_EQ(writer_->last_commit().version, Version(version_));
    for (const TableUsage& usage : writer_->usage()) {
      EXPECT_EQ(usage.rows, model_[usage.name].size()) << usage.name;
    }
  }

  void join() {
    if (followers_.size() == 5) return;
    Follower follower;
    follower.reader = join_ring(writer_.options().ring);
    ASSERT_NE(follower.reader, nullptr);
    followers_.push_back(std::move(follower));
  }
  void leave() {
    followers_.erase(followers_.begin() + static_cast<std::ptrdiff_t>(random_() % followers_.size()));
  }

  void expect_model(const Mirror& mirror) {
    EXPECT_EQ(mirror.version, Version(version_));
    for (const auto& [name, rows] : model_) {
      ASSERT_NE(mirror.table(name), nullptr) << name;
      EXPECT_EQ(*mirror.table(name), rows) << name << " at version " << version_;
    }
  }

  TestWriter writer_;
  std::mt19937_64 random_;
  RowBuilder row_;
  Model model_;
  std::vector<Follower> followers_;
  std::uint64_t version_ = 1;
  std::uint64_t freed_before_ = 0;
};

TEST(PublisherModel, ReadersSeeWhatAMapWould) {
  const std::uint32_t first = test_seed(1000);
  for (std::uint32_t seed = first; seed < first + 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const RingDirectory directory;
    PublisherOptions options = directory.options();
    if (seed % 2 == 0) options.transaction_buffer_bytes = 10000;  // spills now and then
    options.ring.max_bytes = std::uint64_t{256} << 20;
    ModelRun run(options, seed);
    ASSERT_TRUE(run.start());
    for (int i = 0; i < 600; ++i) {
      run.step();
      ASSERT_FALSE(::testing::Test::HasFailure()) << "step " << i;
    }
    run.check_all();
    EXPECT_GT(run.version(), 200u);
    EXPECT_GT(run.restarts, 0u);
  }
}

// The same in a ring that has room for little more than what is live: nearly every transaction compacts.
TEST(PublisherModel, ReadersSeeWhatAMapWouldInARingThatIsNearlyFull) {
  const std::uint32_t first = test_seed(2000);
  std::uint64_t freed = 0;
  for (std::uint32_t seed = first; seed < first + 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const RingDirectory directory;
    PublisherOptions options = directory.options();
    options.ring.max_bytes = std::uint64_t{3} << 20;
    options.ring.reserve_bytes = std::uint64_t{4} << 20;
    options.ring.reader_limit_bytes = std::uint64_t{1} << 30;
    ModelRun run(options, seed);
    ASSERT_TRUE(run.start());
    for (int i = 0; i < 1500; ++i) {
      run.step();
      ASSERT_FALSE(::testing::Test::HasFailure()) << "step " << i;
    }
    run.check_all();
    EXPECT_GT(run.version(), 200u);
    freed += run.freed();
  }
  EXPECT_GT(freed, 1000u);
}

}  // namespace
}  // namespace ringside::shm
