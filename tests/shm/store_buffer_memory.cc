#include "tests/shm/store_buffer_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/assert.h"
#include "shm/layout.h"

namespace {

// The path of a file that the simulated memory stands for; empty for any other.
std::string shared_path(int fd) {
  if (fd < 0) return "";
  char path[256];
  const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
  const std::string_view name(path, static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  return std::string(name.starts_with("/dev/shm/ringside-test-") ? name : "");
}

}  // namespace

extern "C" {
// Given their names by the linker (--wrap).
void* __real_mmap(void* address, std::size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void* address, std::size_t size);
int __real_fallocate(int fd, int mode, off_t offset, off_t size);
void* __wrap_mmap(void* address, std::size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void* address, std::size_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);

void* __wrap_mmap(void* address, std::size_t size, int protection, int flags, int fd, off_t offset) {
  const std::string path = shared_path(fd);
  void* const base = __real_mmap(address, size, path.empty() ? protection : PROT_NONE, flags, fd, offset);
  if (!path.empty() && base != MAP_FAILED) {
    ringside::shm::SimulatedMemory::instance().add_mapping(path, reinterpret_cast<std::uintptr_t>(base), size,
                                                           static_cast<std::uint64_t>(offset));
  }
  return base;
}

int __wrap_munmap(void* address, std::size_t size) {
  ringside::shm::SimulatedMemory::instance().remove_mappings(reinterpret_cast<std::uintptr_t>(address), size);
  return __real_munmap(address, size);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size) {
  const std::string path = (mode & FALLOC_FL_PUNCH_HOLE) != 0 ? shared_path(fd) : "";
  if (!path.empty()) {
    ringside::shm::SimulatedMemory::instance().punch(path, static_cast<std::uint64_t>(offset),
                                                     static_cast<std::uint64_t>(size));
  }
  return __real_fallocate(fd, mode, offset, size);
}
}

namespace ringside::shm {

std::uint64_t Random::next() {
  state_ += 0x9e3779b97f4a7c15;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

SimulatedMemory& SimulatedMemory::instance() {
  static SimulatedMemory memory;
  return memory;
}

// ---------------------------------------------------------------------- addresses

void SimulatedMemory::add_mapping(const std::string& path, std::uintptr_t base, std::size_t size,
                                  std::uint64_t offset) {
  remove_mappings(base, size);
  const auto [at, is_new] = files_.try_emplace(path);
  File& file = at->second;
  if (is_new) {
    const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
    file.number = files_.size();
    if (name == "header") {
      file.kind = Kind::kHeader;
    } else if (name.starts_with("chunk.")) {
      file.kind = Kind::kChunk;
    } else if (path.find("/readers/") != std::string::npos) {
      file.kind = Kind::kReader;
      file.number = std::strtoull(name.data(), nullptr, 10);
    }
  }
  mappings_.emplace(base, Mapping{size, &file, offset});
}

void SimulatedMemory::remove_mappings(std::uintptr_t base, std::size_t size) {
  auto at = mappings_.lower_bound(base);
  while (at != mappings_.end() && at->first < base + size) at = mappings_.erase(at);
  known_.fill(Known{});
}

SimulatedMemory::Place SimulatedMemory::find(const std::uint64_t* word) {
  const auto address = reinterpret_cast<std::uintptr_t>(word);
  Known& known = known_[address / 4096 % known_.size()];
  if (known.page != address / 4096) {
    auto at = mappings_.upper_bound(address);
    RINGSIDE_ASSERT(at != mappings_.begin());
    --at;
    const std::uintptr_t inside = address / 4096 * 4096 - at->first;
    RINGSIDE_ASSERT(inside < at->second.size);
    known = Known{address / 4096, at->second.file, at->second.offset + inside};
  }
  return Place{known.file, (known.offset + address % 4096) / 8};
}

Word SimulatedMemory::word_of(const Place& place) {
  const std::size_t offset = place.index * 8;
  switch (place.file->kind) {
    case Kind::kHeader:
      if (offset == offsetof(RingHeader, committed_position.word)) return Word::kCommitted;
      if (offset >= kHeaderBytes) return offset % sizeof(SlotEntry) == 0 ? Word::kGeneration : Word::kOther;
      if (offset < offsetof(RingHeader, evicted) || offset >= sizeof(RingHeader)) return Word::kOther;
      return (offset - offsetof(RingHeader, evicted)) % sizeof(TwinWord) == 0 ? Word::kEvicted : Word::kOther;
    case Kind::kReader:
      if (offset == offsetof(ReaderFile, incarnation.word)) return Word::kIncarnation;
      if (offset == offsetof(ReaderFile, reclaim_position.word)) return Word::kReclaim;
      return offset == offsetof(ReaderFile, sleep_word) ? Word::kSleep : Word::kOther;
    case Kind::kChunk:
      return Word::kPayload;
    case Kind::kOther:
      break;
  }
  return Word::kOther;
}

bool SimulatedMemory::is_handshake(const Place& place, Word word) const {
  if (word >= Word::kOther) return false;
  if (place.file->kind == Kind::kReader) return place.file->number < reader_slots_;
  return word != Word::kEvicted ||
         place.index * 8 - offsetof(RingHeader, evicted) < reader_slots_ * sizeof(TwinWord);
}

std::uint64_t SimulatedMemory::plain(const Place& place) {
  const auto found = place.file->plain.find(place.index / kPageWords);
  return found == place.file->plain.end() ? 0 : found->second[place.index % kPageWords];
}

SimulatedMemory::Cell* SimulatedMemory::existing(const Place& place) {
  const auto found = place.file->pages.find(place.index / kPageWords);
  return found == place.file->pages.end() ? nullptr : &(*found->second)[place.index % kPageWords];
}

SimulatedMemory::Cell& SimulatedMemory::cell(const Place& place) {
  std::unique_ptr<Page>& page = place.file->pages[place.index / kPageWords];
  if (!page) {
    page = std::make_unique<Page>();
    const std::size_t first = place.index / kPageWords * kPageWords;
    for (std::size_t i = 0; i < kPageWords; ++i) {
      Cell& each = (*page)[i];
      each.value = plain(Place{place.file, first + i});
      each.last.fill(each.value);
    }
  }
  return (*page)[place.index % kPageWords];
}

// ---------------------------------------------------------------------- accesses

std::uint64_t SimulatedMemory::load(const std::uint64_t* word, Order order) {
  const Place place = find(word);
  if (is_running_) {
    const Word what = word_of(place);
    before(place, what, Op::kLoad);
    if (Cell* found = existing(place)) {
      std::uint64_t& last = found->last[self_];
      order = made(what, Op::kLoad, order);
      if (order == Order::kNotMade) return last;
      last = model_ == MemoryModel::kViews ? load_of_views(*found, plain(place), order)
                                           : load_of_buffers(*found);
      return last;
    }
  }
  return plain(place);
}

void SimulatedMemory::store(std::uint64_t* word, std::uint64_t value, Order order) {
  const Place place = find(word);
  if (!is_running_) {
    place.file->plain[place.index / kPageWords][place.index % kPageWords] = value;
    return;
  }
  const Word what = word_of(place);
  before(place, what, Op::kStore);
  order = made(what, Op::kStore, order);
  Cell& stored = cell(place);
  stored.last[self_] = value;
  if (model_ == MemoryModel::kViews) {
    store_of_views(stored, value, order);
  } else {
    store_of_buffers(stored, value, order);
  }
}

// Somebody else's turn, perhaps; and perhaps a buffer's.
void SimulatedMemory::before(const Place& place, Word word, Op op) {
  scheduler_->step(is_handshake(place, word));
  trace_ = (trace_ ^
            (self_ << 48 | static_cast<std::uint64_t>(op) << 40 | place.file->number << 32 | place.index)) *
           0x100000001b3;
  if (model_ != MemoryModel::kStoreBuffers || random_->chance(laziness_)) return;
  const std::size_t process = random_->below(kProcesses);
  if (!buffers_[process].empty()) drain(process, 1 + random_->below(buffers_[process].size()));
}

Order& SimulatedMemory::made(Word word, Op op, Order written) {
  return made_[static_cast<std::size_t>(word)][static_cast<std::size_t>(op)]
              [static_cast<std::size_t>(written)];
}

std::uint64_t SimulatedMemory::load_of_views(Cell& cell, std::uint64_t first, Order order) {
  Clock& mine = clocks_[self_];
  const auto newest = static_cast<std::uint32_t>(cell.history.size());
  std::uint32_t oldest = cell.floor[self_];
  if (order == Order::kSeqCst) oldest = std::max(oldest, cell.seq_cst_floor);
  for (std::uint32_t i = newest; i > oldest; --i) {
    const Message& message = cell.history[i - 1];
    if (message.stamp <= mine[message.process]) oldest = i;
  }
  std::uint32_t chosen = newest;
  if (oldest < newest && random_->chance(laziness_)) {
    chosen = oldest + static_cast<std::uint32_t>(random_->below(newest - oldest + 1));
  }
  cell.floor[self_] = chosen;
  if (order == Order::kSeqCst) cell.seq_cst_floor = std::max(cell.seq_cst_floor, chosen);
  if (chosen == 0) return first;
  const Message& message = cell.history[chosen - 1];
  if (order != Order::kRelaxed) {
    for (std::size_t p = 0; p < kProcesses; ++p) mine[p] = std::max(mine[p], message.clock[p]);
  }
  return message.value;
}

void SimulatedMemory::store_of_views(Cell& cell, std::uint64_t value, Order order) {
  Clock& mine = clocks_[self_];
  Message message;
  message.value = value;
  message.process = static_cast<std::uint32_t>(self_);
  message.stamp = ++mine[self_];
  if (order != Order::kRelaxed) message.clock = mine;
  cell.history.push_back(message);
  cell.value = value;
  cell.floor[self_] = static_cast<std::uint32_t>(cell.history.size());
  if (order == Order::kSeqCst) cell.seq_cst_floor = cell.floor[self_];
}

std::uint64_t SimulatedMemory::load_of_buffers(Cell& cell) const {
  if (cell.pending[self_] == 0) return cell.value;
  const auto& own = buffers_[self_];
  return std::find_if(own.rbegin(), own.rend(), [&](const Waiting& each) { return each.cell == &cell; })
      ->value;
}

void SimulatedMemory::store_of_buffers(Cell& cell, std::uint64_t value, Order order) {
  auto& own = buffers_[self_];
  if (order == Order::kSeqCst) {
    drain(self_, own.size());
    cell.value = value;
    return;
  }
  own.push_back(Waiting{&cell, value});
  ++cell.pending[self_];
  if (own.size() > capacity_) drain(self_, 1);
}

void SimulatedMemory::drain(std::size_t process, std::size_t entries) {
  for (; entries > 0; --entries) {
    const Waiting& oldest = buffers_[process].front();
    oldest.cell->value = oldest.value;
    --oldest.cell->pending[process];
    buffers_[process].pop_front();
  }
}

void SimulatedMemory::punch(const std::string& path, std::uint64_t offset, std::uint64_t size) {
  File& file = files_[path];
  if (!is_running_) {
    file.plain.erase(file.plain.lower_bound(offset / 8 / kPageWords),
                     file.plain.lower_bound((offset + size) / 8 / kPageWords));
    return;
  }
  drain(self_, buffers_[self_].size());
  for (std::size_t index = offset / 8; index < (offset + size) / 8; ++index) {
    const Place place{&file, index};
    const Cell* const found = existing(place);
    if ((found == nullptr ? plain(place) : found->value) == 0) continue;
    Cell& hole = cell(place);
    store_of_views(hole, 0, Order::kSeqCst);
    hole.floor.fill(hole.seq_cst_floor);
  }
}

// ---------------------------------------------------------------------- runs

void SimulatedMemory::weaken(const Weakening& bug) {
  made(bug.word, bug.op, bug.written) = bug.made;
}

void SimulatedMemory::mend() {
  for (auto& word : made_) {
    for (auto& op : word) {
      for (std::size_t order = 0; order < kOrders; ++order) op[order] = static_cast<Order>(order);
    }
  }
}

void SimulatedMemory::save() {
  saved_.clear();
  for (const auto& [path, file] : files_) saved_.emplace(path, file.plain);
}

void SimulatedMemory::restore() {
  for (auto& [path, file] : files_) {
    const auto found = saved_.find(path);
    if (found == saved_.end()) {
      file.plain.clear();
    } else {
      file.plain = found->second;
    }
  }
}

void SimulatedMemory::begin(MemoryModel model, Scheduler& scheduler, Random& random) {
  model_ = model;
  scheduler_ = &scheduler;
  random_ = &random;
  static constexpr std::uint64_t kLaziness[] = {128, 512, 896, 1000};
  static constexpr std::size_t kCapacities[] = {4, 64, 1024};
  laziness_ = kLaziness[random.below(std::size(kLaziness))];
  capacity_ = kCapacities[random.below(std::size(kCapacities))];
  clocks_ = {};
  kernel_ = {};
  trace_ = 0;
  is_running_ = true;
}

void SimulatedMemory::end() {
  flush();
  is_running_ = false;
  for (auto& [path, file] : files_) {
    for (const auto& [number, page] : file.pages) {
      for (std::size_t i = 0; i < kPageWords; ++i) file.plain[number][i] = (*page)[i].value;
    }
    file.pages.clear();
  }
  self_ = 0;
}

void SimulatedMemory::flush() {
  for (std::size_t p = 0; p < kProcesses; ++p) drain(p, buffers_[p].size());
}

void SimulatedMemory::unlock() {
  drain(self_, buffers_[self_].size());
  for (std::size_t p = 0; p < kProcesses; ++p) kernel_[p] = std::max(kernel_[p], clocks_[self_][p]);
}

void SimulatedMemory::lock() {
  for (std::size_t p = 0; p < kProcesses; ++p) clocks_[self_][p] = std::max(clocks_[self_][p], kernel_[p]);
}

}  // namespace ringside::shm
