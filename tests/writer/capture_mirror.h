// CaptureMirror: what a replica would serve, made from the ring alone by a RingReader: every table's rows with all their
// values, and what became of each version.
//
// Threads: one.   Ownership: owns the reader.   Errors: gtest expectations.   Limits: none of its own.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "shm/ring_reader.h"

namespace ringside::writer::testing {

class CaptureMirror {
 public:
  using Rows = std::map<std::string, std::vector<std::string>>;  // normalised key → JSON, empty for NULL

  CaptureMirror(std::string directory, std::string name)
      : directory_(std::move(directory)), name_(std::move(name)) {}

  // Attaches, again when the epoch has changed, and reads all there is. False while there is no ring.
  bool follow() {
    if (reader_ && reader_->is_superseded()) {
      ++superseded;
      detach();
    }
    if (!reader_ && !attach()) return false;
    shm::Record record;
    shm::Step step = shm::Step::kRecord;
    while ((step = reader_->next(record)) == shm::Step::kRecord) apply(record);
    EXPECT_EQ(step, shm::Step::kCaughtUp);
    reader_->set_reclaim_position(reader_->position());
    return step == shm::Step::kCaughtUp;
  }

  // What the ring says of capture.
  shm::CaptureState state() const {
    return reader_ ? reader_->source().capture : shm::CaptureState::kStarting;
  }

  // As a replica that is killed.
  void detach() {
    reader_.reset();
    rows_.clear();
    live.clear();
    quarantined.clear();
    versions.clear();
    refused_at.clear();
    version = 0;
    gtid.clear();
    executed_ = {};
  }

  // The rows served under that name; nullptr when there are none to serve.
  const Rows* table(std::string_view name) const {
    const auto id = live.find(std::string(name));
    if (id == live.end()) return nullptr;
    static const Rows kEmpty;
    const auto found = rows_.find(id->second);
    return found == rows_.end() ? &kEmpty : &found->second;
  }
  // Lines of values with tabs between, sorted; "not served" otherwise.
  std::vector<std::string> lines(std::string_view name) const {
    const Rows* rows = table(name);
    if (rows == nullptr) return {"not served"};
    std::vector<std::string> all;
    for (const auto& [key, values] : *rows) {
      std::string& line = all.emplace_back();
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (i > 0) line += '\t';
        line += values[i].empty() ? "NULL" : values[i];
      }
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  std::uint64_t epoch() const { return reader_ ? reader_->epoch().value() : 0; }

  std::map<std::string, std::uint32_t> live;
  std::map<std::string, std::string> quarantined;
  std::uint64_t version = 0;
  std::string gtid;                                              // of all that was executed
  std::vector<std::uint64_t> versions;                           // of every commit since the attach
  std::map<std::uint64_t, std::vector<std::string>> refused_at;  // names by version
  int superseded = 0;
  // Called at every commit, when all of it has been applied.
  std::function<void(const CaptureMirror&)> on_commit;

 private:
  bool attach() {
    auto attached = shm::RingReader::attach(directory_, name_);
    if (!attached) return false;
    if (!(*attached)->join()) return false;
    reader_ = std::move(*attached);
    return true;
  }

  void apply(const shm::Record& record) {
    const shm::RecordHeader& header = record.header;
    auto& rows = rows_[header.table_id.value()];
    switch (header.type) {
      case shm::RecordType::kRow:
      case shm::RecordType::kRelocation: {
        shm::RowView row;
        ASSERT_TRUE(shm::RowView::parse(header, record.bytes, row));
        std::vector<std::string>& values = rows[std::string(row.key())];
        values.clear();
        for (std::size_t i = 0; i < row.column_count(); ++i) values.emplace_back(row.value(i));
        return;
      }
      case shm::RecordType::kTombstone: {
        const Bytes key = record.bytes.subspan(shm::kRecordHeaderBytes, header.key_bytes);
        EXPECT_EQ(rows.erase(std::string(as_text(key))), 1u) << "a deleted row was there";
        return;
      }
      case shm::RecordType::kTableEvent:
        return apply_event(record);
      case shm::RecordType::kCommit: {
        shm::Commit commit;
        ASSERT_TRUE(shm::parse_commit(header, record.bytes, commit));
        if ((header.flags & shm::kLoadBatch) != 0) return;
        EXPECT_GE(header.version.value(), version);
        version = header.version.value();
        EXPECT_TRUE(executed_.add(commit.executed) && executed_.add(commit.gtid)) << commit.gtid;
        gtid = executed_.text();
        versions.push_back(version);
        if (on_commit) on_commit(*this);
        return;
      }
      case shm::RecordType::kCheckpoint:
      case shm::RecordType::kSegmentEnd:
        return;
    }
  }

  void apply_event(const shm::Record& record) {
    shm::TableEvent event;
    ASSERT_TRUE(shm::parse_table_event(record.header, record.bytes, event));
    const std::string name(event.name);
    live.erase(name);
    quarantined.erase(name);
    if (event.action == shm::TableAction::kLive) live[name] = record.header.table_id.value();
    if (event.action == shm::TableAction::kQuarantined) {
      quarantined[name] = event.reason;
      refused_at[record.header.version.value()].push_back(name);
    }
  }

  std::string directory_;
  std::string name_;
  std::unique_ptr<shm::RingReader> reader_;
  std::map<std::uint32_t, Rows> rows_;
  shm::ExecutedGtids executed_;
};

}  // namespace ringside::writer::testing
