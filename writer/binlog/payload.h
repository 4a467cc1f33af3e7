// MySQL's compressed transactions (binlog_transaction_compression): one TRANSACTION_PAYLOAD event to the events in it.
//
// The payload is a zstd stream of whole events, one behind the other, without checksums: everything of the transaction but
// its GTID. It is unpacked as it is read, one event at a time, so that a transaction may be larger than memory.
//
// Threads: a PayloadReader belongs to one thread.   Ownership: views the payload's bytes between begin() and the end.
// Errors: kCorrupt for a stream that is damaged, cut short, longer or shorter than announced, or not made of events;
// kLimit beyond the limits.   Limits: kMaxPayloadBytes in all, kMaxInflatedBytes (wire.h) an event, kMaxWindowLog.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "writer/binlog/event.h"

struct ZSTD_DCtx_s;

namespace ringside::writer::binlog {

inline constexpr std::uint64_t kMaxPayloadBytes = std::uint64_t{1} << 36;
// What zstd may look back on: 128 MiB, which the server's highest level asks for.
inline constexpr int kMaxWindowLog = 27;

// The event's body to a TransactionPayload, or Unsupported when it is packed by a method that is not known.
Result<EventBody> decode_payload(Bytes body);

class PayloadReader {
 public:
  PayloadReader();
  ~PayloadReader();
  PayloadReader(const PayloadReader&) = delete;
  PayloadReader& operator=(const PayloadReader&) = delete;

  Result<void> begin(const TransactionPayload& payload);

  // The next event's bytes, for EventDecoder::decode_inner(); nothing at the end. They stand until the next call.
  Result<std::optional<Bytes>> next();

 private:
  Result<void> fill(std::size_t bytes);
  Result<void> unpack(char* to, std::size_t room, std::size_t& made);
  Result<void> expect_end();

  std::unique_ptr<ZSTD_DCtx_s, std::size_t (*)(ZSTD_DCtx_s*)>
      stream_;  // made by the first compressed payload
  TransactionPayload payload_;
  std::size_t taken_ = 0;        // of payload_.packed
  std::uint64_t unpacked_ = 0;   // bytes of events so far
  bool is_frame_ended_ = false;  // the stream said so after the last byte
  std::string event_;
};

}  // namespace ringside::writer::binlog
