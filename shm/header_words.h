// HeaderWords: the hand of the writer on the header's words that are stored twice. It keeps what it stored last, so that
// nothing is ever decided by what a word has become meanwhile, and so that a word that has changed of itself shows.
//
// Threads: the writer's.   Ownership: borrows the header's mapping.
// Errors: none: adopt() says what it made of words that differ, spoilt() names one.   No allocation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "shm/layout.h"
#include "shm/memory.h"
#include "shm/twin_word.h"

namespace ringside::shm {

template <class Memory>
class HeaderWords {
 public:
  using Word = TwinWord RingHeader::*;

  HeaderWords() = default;
  // Takes the words as they are found. Of one whose two halves differ the smaller is taken; the committed position, the
  // slot count and the marks of evicted readers are not for this rule: their holder looks at both himself.
  explicit HeaderWords(RingHeader* shared) : shared_(shared) {
    copy_out<Memory>(&own_, shared, sizeof own_);
    for (const auto& [name, word] : kWords) {
      const std::uint64_t value = std::min((own_.*word).word, (own_.*word).copy);
      own_.*word = TwinWord{value, value};
    }
    for (TwinWord& mark : own_.evicted) mark.copy = mark.word;
  }

  std::uint64_t get(Word word) const { return (own_.*word).word; }
  void set(Word word, std::uint64_t value) {
    own_.*word = TwinWord{value, value};
    store_twin<Memory>(shared_->*word, value);
  }
  void set_seq_cst(Word word, std::uint64_t value) {
    own_.*word = TwinWord{value, value};
    store_twin_seq_cst<Memory>(shared_->*word, value);
  }
  // Stores again what differs in the header: after a writer that was killed between two stores.
  void mend() {
    for (const auto& [name, word] : kWords) {
      if (!is_intact(shared_->*word, own_.*word)) store_twin<Memory>(shared_->*word, (own_.*word).word);
    }
  }

  std::uint64_t evicted(std::size_t reader) const { return own_.evicted[reader].word; }
  void set_evicted(std::size_t reader, std::uint64_t incarnation) {
    own_.evicted[reader] = TwinWord{incarnation, incarnation};
    store_twin_seq_cst<Memory>(shared_->evicted[reader], incarnation);
  }

  // The name of a word that is not what was stored last, or an empty one.
  std::string_view spoilt() const {
    const std::uint64_t* found = &shared_->magic;
    const std::uint64_t* own = &own_.magic;
    for (std::size_t i = 0; i < offsetof(RingHeader, epoch) / 8; ++i) {
      if (Memory::load_acquire(found + i) != own[i]) return "identity";
    }
    if (Memory::load_acquire(&shared_->epoch) != own_.epoch) return "epoch";
    for (const auto& [name, word] : kWords) {
      if (!is_intact(shared_->*word, own_.*word)) return name;
    }
    for (std::size_t i = 0; i < kMaxReaders; ++i) {
      if (!is_intact(shared_->evicted[i], own_.evicted[i])) return "evicted";
    }
    return {};
  }

  std::uint64_t epoch() const { return own_.epoch; }
  // The epoch is put in force (N3).
  void set_epoch(std::uint64_t epoch) {
    own_.epoch = epoch;
    Memory::store_seq_cst(&shared_->epoch, epoch);
  }

 private:
  static constexpr std::pair<std::string_view, Word> kWords[] = {
      {"committed_position", &RingHeader::committed_position},
      {"source_version", &RingHeader::source_version},
      {"source_alive_ns", &RingHeader::source_alive_ns},
      {"source_time_us", &RingHeader::source_time_us},
      {"writer_heartbeat_ns", &RingHeader::writer_heartbeat_ns},
      {"capture_state", &RingHeader::capture_state},
      {"superseded_by", &RingHeader::superseded_by},
      {"server_id", &RingHeader::server_id},
      {"slot_count", &RingHeader::slot_count},
      {"used_bytes", &RingHeader::used_bytes},
      {"limit_bytes", &RingHeader::limit_bytes},
      {"source_clock_offset_us", &RingHeader::source_clock_offset_us},
      {"source_clock_error_us", &RingHeader::source_clock_error_us},
      {"commit_time_resolution_us", &RingHeader::commit_time_resolution_us},
      {"boot_id", &RingHeader::boot_id},
      {"clean_stop", &RingHeader::clean_stop},
  };

  static bool is_intact(const TwinWord& found, const TwinWord& own) {
    return Memory::load_acquire(&found.word) == own.word && Memory::load_acquire(&found.copy) == own.copy;
  }

  RingHeader* shared_ = nullptr;
  RingHeader own_{};
};

}  // namespace ringside::shm
