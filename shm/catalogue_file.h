// CatalogueFile: the catalogue's file, double-buffered (shm/catalogue.h has its bytes).
//
// Threads: one writer (publish), any number of reading processes (read).   Ownership: owns the mapping.
// Errors: kIo, kLimit, kCorrupt (also: a writer that published faster than this could read, many times over).
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/crc32c.h"
#include "shm/catalogue.h"
#include "shm/memory.h"
#include "shm/ring_files.h"

namespace ringside::shm {

inline constexpr std::uint64_t kCatalogueMagic = 0x4547554f4c415443;
inline constexpr std::uint64_t kCatalogueHeaderBytes = 4096;

// What is to be said of the half that is not in force.
enum class HalfState : std::uint8_t {
  kEmpty,       // never filled
  kWhole,       // the generation before, with the right checksum
  kUnfinished,  // being filled, or its writer died meanwhile: nobody reads it before it is whole
  kCorrupt,     // the generation before, and its checksum does not fit
};
struct HalfStatus {
  HalfState state = HalfState::kEmpty;
  std::uint64_t generation = 0;
  std::uint64_t offset = 0;  // in the file
};

template <class Memory>
class CatalogueFile {
 public:
  // Makes an empty one. Memory for the halves is allocated when they are filled.
  static Result<void> create(const std::string& path) {
    RINGSIDE_ASSIGN(const UniqueFd fd, create_file(path, 0640));
    RINGSIDE_TRY(set_file_size(fd.get(), path, kCatalogueHeaderBytes + 2 * kHalfBytes));
    RINGSIDE_TRY(allocate(fd.get(), path, 0, kCatalogueHeaderBytes));
    RINGSIDE_ASSIGN(const MappedFile file, MappedFile::map(path, Access::kReadWrite, kCatalogueHeaderBytes));
    auto* words = static_cast<std::uint64_t*>(file.data());
    Memory::store_release(words + 1, kHalfBytes);
    Memory::store_release(words + 0, kCatalogueMagic);
    return {};
  }

  static Result<CatalogueFile> open(const std::string& path, Access access) {
    CatalogueFile file;
    file.path_ = path;
    RINGSIDE_ASSIGN(file.fd_, open_file(path, access));
    RINGSIDE_ASSIGN(const std::uint64_t size, file_size(file.fd_.get(), path));
    if (size != kCatalogueHeaderBytes + 2 * kHalfBytes) {
      return Error{ErrorKind::kCorrupt, path + " does not have a catalogue's size"};
    }
    RINGSIDE_ASSIGN(file.mapping_, MappedFile::map(path, access, size));
    if (Memory::load_acquire(file.words()) != kCatalogueMagic ||
        Memory::load_acquire(file.words() + 1) != kHalfBytes) {
      return Error{ErrorKind::kCorrupt, path + " is no catalogue"};
    }
    const std::uint64_t active = file.generation();
    const std::uint64_t* half = file.words() + half_offset(active) / 8;
    if (active != 0) {
      file.own_ = Own{active, std::min(Memory::load_acquire(half + 1), kHalfBytes - kHalfHeaderBytes),
                      Memory::load_acquire(half + 2)};
    }
    return file;
  }

  std::uint64_t generation() const { return Memory::load_acquire(words() + 2); }

  // Makes this the active catalogue. Precondition: its generation is the file's plus one.
  Result<void> publish(const Catalogue& catalogue) {
    RINGSIDE_ASSERT(catalogue.generation == generation() + 1);
    std::string text = catalogue_to_json(catalogue);
    const std::uint64_t length = text.size();
    if (length > kMaxCatalogueBytes) {
      return Error{ErrorKind::kLimit,
                   "the catalogue is too large: mirror fewer tables (mysql.tables, mysql.exclude)"};
    }
    const std::uint64_t crc = crc32c(text.data(), text.size());
    text.resize((text.size() + 7) / 8 * 8);
    const std::uint64_t offset = half_offset(catalogue.generation);
    RINGSIDE_TRY(allocate(fd_.get(), path_, offset, kHalfHeaderBytes + text.size()));
    auto* half = words() + offset / 8;
    // The generation goes first, so that a reader still copying this half's old contents finds out; then the
    // rest.
    Memory::store_release(half + 0, catalogue.generation);
    Memory::store_release(half + 1, length);
    Memory::store_release(half + 2, crc);
    copy_in<Memory>(half + 3, text.data(), text.size());
    Memory::store_release(words() + 2, catalogue.generation);  // pairs with generation() in read()
    own_ = Own{catalogue.generation, length, crc};
    return {};
  }

  // Whether the file still has what this writer found when it opened it, or has published since.
  bool is_intact() const {
    const std::uint64_t* half = words() + half_offset(own_.generation) / 8;
    const bool is_active = Memory::load_acquire(words()) == kCatalogueMagic &&
                           Memory::load_acquire(words() + 1) == kHalfBytes && generation() == own_.generation;
    if (!is_active || own_.generation == 0) return is_active;
    if (Memory::load_acquire(half + 0) != own_.generation || Memory::load_acquire(half + 1) != own_.length ||
        Memory::load_acquire(half + 2) != own_.crc) {
      return false;
    }
    return crc32c(half + 3, own_.length) == own_.crc;  // by the one who writes it: nobody stores meanwhile
  }

  // For those who verify a ring: nobody who serves from one reads that half.
  HalfStatus check_inactive_half() const {
    const std::uint64_t active = generation();
    if (active < 2) return {};  // its pages were never allocated
    HalfStatus status{HalfState::kUnfinished, 0, half_offset(active - 1)};
    const std::uint64_t* half = words() + status.offset / 8;
    status.generation = Memory::load_acquire(half + 0);
    const std::uint64_t length = Memory::load_acquire(half + 1);
    const std::uint64_t crc = Memory::load_acquire(half + 2);
    if (status.generation != active - 1) return status;
    status.state = HalfState::kCorrupt;
    if (length <= kMaxCatalogueBytes) {
      std::string text((length + 7) / 8 * 8, '\0');
      copy_out<Memory>(text.data(), half + 3, text.size());
      if (crc32c(text.data(), length) == crc) status.state = HalfState::kWhole;
    }
    // Overwritten meanwhile: the generation goes first.
    if (Memory::load_acquire(half + 0) != status.generation) status.state = HalfState::kUnfinished;
    return status;
  }

  Result<Catalogue> read() const {
    constexpr int kAttempts = 100;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const std::uint64_t active = generation();
      if (active == 0) return Error{ErrorKind::kUnavailable, path_ + " is empty"};
      const std::uint64_t* half = words() + half_offset(active) / 8;
      const std::uint64_t found = Memory::load_acquire(half + 0);
      const std::uint64_t length = Memory::load_acquire(half + 1);
      const std::uint64_t crc = Memory::load_acquire(half + 2);
      if (found != active || length > kMaxCatalogueBytes) continue;
      std::string text((length + 7) / 8 * 8, '\0');
      copy_out<Memory>(text.data(), half + 3, text.size());
      text.resize(length);
      if (Memory::load_acquire(half + 0) != active || crc32c(text.data(), length) != crc) continue;
      RINGSIDE_ASSIGN(Catalogue catalogue, parse_catalogue(text));
      if (catalogue.generation != active) break;
      return catalogue;
    }
    return Error{ErrorKind::kCorrupt, path_ + " does not hold a whole catalogue"};
  }

 private:
  static constexpr std::uint64_t kHalfHeaderBytes = 24;
  static constexpr std::uint64_t kHalfBytes = kMaxCatalogueBytes + 4096;

  static std::uint64_t half_offset(std::uint64_t generation) {
    return kCatalogueHeaderBytes + generation % 2 * kHalfBytes;
  }
  std::uint64_t* words() const { return static_cast<std::uint64_t*>(mapping_.data()); }

  // Of the half that the writer holds for the active one.
  struct Own {
    std::uint64_t generation = 0;
    std::uint64_t length = 0;
    std::uint64_t crc = 0;
  };

  std::string path_;
  UniqueFd fd_;
  MappedFile mapping_;
  Own own_;
};

}  // namespace ringside::shm
