// The simulated memory shows what its model allows and nothing else: the classic litmus tests, each run often enough
// to meet every outcome. A simulation that is too kind would find no bug, and say that there is none.
#include "tests/shm/store_buffer_memory.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "shm/ring_files.h"
#include "tests/shm/interleaving.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

constexpr MemoryModel kModels[] = {MemoryModel::kStoreBuffers, MemoryModel::kViews};

// A page of shared words, mapped once for each process.
class Litmus : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = directory_.path() + "/words";
    const auto fd = create_file(path, 0600);
    ASSERT_TRUE(fd && allocate(fd->get(), path, 0, 4096));
    for (MappedFile& mapping : mappings_) {
      auto mapped = MappedFile::map(path, Access::kReadWrite, 4096);
      ASSERT_TRUE(mapped) << why(mapped);
      mapping = std::move(*mapped);
    }
    memory_.mend();
  }

  using Outcome = std::string;  // what the loads returned, in the order of the processes
  using Body = std::function<Outcome(std::uint64_t* x, std::uint64_t* y)>;

  // Every outcome that these processes were seen to have.
  std::set<Outcome> outcomes(MemoryModel model, const std::vector<Body>& bodies) {
    std::set<Outcome> seen;
    for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
      memory_.restore();
      is_unlocked_ = false;
      std::vector<Outcome> results(bodies.size());
      Interleaving run(model, seed);
      for (std::size_t p = 0; p < bodies.size(); ++p) {
        auto* words = static_cast<std::uint64_t*>(mappings_[p].data());
        run.add([&, p, words] {
          run.yield();
          results[p] = bodies[p](words, words + 64);
        });
      }
      run.run([] {});
      Outcome all;
      for (const Outcome& result : results) all += result;
      seen.insert(all);
    }
    return seen;
  }

  bool is_unlocked_ = false;  // for ALockHandsOnWhatWasKnown
  RingDirectory directory_;
  SimulatedMemory& memory_ = SimulatedMemory::instance();
  std::array<MappedFile, SimulatedMemory::kProcesses> mappings_;
};

using M = StoreBufferMemory;

std::string text(std::uint64_t value) {
  return std::to_string(value);
}

TEST_F(Litmus, StoreThenLoadOnBothSidesNeedsSeqCstOfAllFour) {
  const auto both = [](bool strong_store, bool strong_load) {
    return [=](std::uint64_t* mine, std::uint64_t* other) {
      strong_store ? M::store_seq_cst(mine, 1) : M::store_release(mine, 1);
      return text(strong_load ? M::load_seq_cst(other) : M::load_acquire(other));
    };
  };
  const auto swapped = [](const Body& body) {
    return [=](std::uint64_t* x, std::uint64_t* y) { return body(y, x); };
  };
  for (const MemoryModel model : kModels) {
    const bool views = model == MemoryModel::kViews;
    const Body strong = swapped(both(true, true));
    EXPECT_EQ(outcomes(model, {both(true, true), strong}), (std::set<Outcome>{"01", "10", "11"}));
    EXPECT_EQ(outcomes(model, {both(false, false), swapped(both(false, false))}).count("00"), 1u);
    EXPECT_EQ(outcomes(model, {both(false, true), strong}).count("00"), 1u);
    // x86's seq_cst load is an ordinary one.
    EXPECT_EQ(outcomes(model, {both(true, false), strong}).count("00"), views ? 1u : 0u);
  }
}

TEST_F(Litmus, AMessageIsWholeWhenItsFlagIsSeen) {
  const Body sender = [](std::uint64_t* x, std::uint64_t* y) {
    M::store_release(x, 1);
    M::store_release(y, 1);
    return Outcome();
  };
  const Body receiver = [](std::uint64_t* x, std::uint64_t* y) {
    const std::uint64_t flag = M::load_acquire(y);
    return text(flag) + text(M::load_acquire(x));
  };
  for (const MemoryModel model : kModels) {
    EXPECT_EQ(outcomes(model, {sender, receiver}), (std::set<Outcome>{"00", "01", "11"}));
  }
  memory_.weaken({Word::kOther, Op::kLoad, Order::kAcquireRelease, Order::kRelaxed});
  EXPECT_EQ(outcomes(MemoryModel::kViews, {sender, receiver}).count("10"), 1u);
  memory_.mend();
  memory_.weaken({Word::kOther, Op::kStore, Order::kAcquireRelease, Order::kRelaxed});
  EXPECT_EQ(outcomes(MemoryModel::kViews, {sender, receiver}).count("10"), 1u);
}

TEST_F(Litmus, ReadersAgreeOnTheOrderOfTwoWritersWhenAllIsSeqCst) {
  const auto writer = [](bool first, bool strong) {
    return [=](std::uint64_t* x, std::uint64_t* y) {
      strong ? M::store_seq_cst(first ? x : y, 1) : M::store_release(first ? x : y, 1);
      return Outcome();
    };
  };
  const auto reader = [](bool first, bool strong) {
    return [=](std::uint64_t* x, std::uint64_t* y) {
      const auto load = [&](const std::uint64_t* word) {
        return text(strong ? M::load_seq_cst(word) : M::load_acquire(word));
      };
      const Outcome one = load(first ? x : y);
      return one + load(first ? y : x);
    };
  };
  for (const MemoryModel model : kModels) {
    const bool views = model == MemoryModel::kViews;
    EXPECT_EQ(
        outcomes(model, {writer(true, true), writer(false, true), reader(true, true), reader(false, true)})
            .count("1010"),
        0u);
    EXPECT_EQ(outcomes(model,
                       {writer(true, false), writer(false, false), reader(true, false), reader(false, false)})
                  .count("1010"),
              views ? 1u : 0u);
  }
}

TEST_F(Litmus, OneWordNeverGoesBackAndAProcessSeesItsOwnStores) {
  const Body writer = [](std::uint64_t* x, std::uint64_t*) {
    for (std::uint64_t i = 1; i <= 3; ++i) {
      M::store_release(x, i);
      if (M::load_acquire(x) != i) return Outcome("lost");
    }
    return Outcome();
  };
  const Body reader = [](std::uint64_t* x, std::uint64_t*) {
    std::uint64_t before = 0;
    for (int i = 0; i < 4; ++i) {
      const std::uint64_t now = M::load_acquire(x);
      if (now < before) return Outcome("back");
      before = now;
    }
    return Outcome("good");
  };
  memory_.weaken({Word::kOther, Op::kLoad, Order::kAcquireRelease, Order::kRelaxed});
  for (const MemoryModel model : kModels) {
    EXPECT_EQ(outcomes(model, {writer, reader, reader}), (std::set<Outcome>{"goodgood"}));
  }
}

TEST_F(Litmus, ALockHandsOnWhatWasKnown) {
  const Body first = [this](std::uint64_t* x, std::uint64_t*) {
    M::store_release(x, 1);
    memory_.unlock();
    is_unlocked_ = true;
    return Outcome();
  };
  const Body second = [this](std::uint64_t* x, std::uint64_t*) {
    if (!is_unlocked_) return Outcome("early");
    memory_.lock();
    return text(M::load_acquire(x));
  };
  for (const MemoryModel model : kModels) {
    EXPECT_EQ(outcomes(model, {first, second}), (std::set<Outcome>{"1", "early"}));
  }
}

TEST_F(Litmus, TheMappingItselfMayNotBeTouched) {
  testing::GTEST_FLAG(death_test_style) = "fast";
  const auto* word = static_cast<const std::uint64_t*>(mappings_[0].data());
  EXPECT_EXIT(static_cast<void>(ProcessMemory::load_acquire(word)), testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
}  // namespace ringside::shm
