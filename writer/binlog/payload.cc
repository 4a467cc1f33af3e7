#include "writer/binlog/payload.h"

#include <zstd.h>

#include <algorithm>

#include "writer/binlog/wire.h"

namespace ringside::writer::binlog {
namespace {

constexpr std::size_t kFirstStep = std::size_t{64} << 10;

Error corrupt(const std::string& what) {
  return {ErrorKind::kCorrupt, "binlog event TRANSACTION_PAYLOAD: " + what};
}

}  // namespace

// Fields, each a number, a size and a value, up to the number 0; then the events.
Result<EventBody> decode_payload(Bytes body) {
  enum Field : std::uint64_t { kEnd = 0, kPackedBytes = 1, kCompression = 2, kUnpackedBytes = 3 };
  constexpr std::uint64_t kZstd = 0;
  constexpr std::uint64_t kNone = 255;
  ByteReader reader(body);
  std::uint64_t packed_bytes = 0;
  std::uint64_t compression = kNone;
  std::optional<std::uint64_t> unpacked_bytes;
  while (true) {
    std::uint64_t field = 0;
    std::uint64_t size = 0;
    if (!read_lenenc(reader, field)) return corrupt("its fields contradict its size");
    if (field == kEnd) break;
    if (!read_lenenc(reader, size) || size > reader.remaining())
      return corrupt("its fields contradict its size");
    ByteReader value(reader.take(static_cast<std::size_t>(size)));
    std::uint64_t number = 0;
    if (field > kUnpackedBytes) continue;
    if (!read_lenenc(value, number)) return corrupt("its fields contradict its size");
    if (field == kPackedBytes) packed_bytes = number;
    if (field == kCompression) compression = number;
    if (field == kUnpackedBytes) unpacked_bytes = number;
  }
  if (packed_bytes != reader.remaining()) return corrupt("its fields contradict its size");
  if (compression != kZstd && compression != kNone) {
    return EventBody(
        Unsupported{"a compressed transaction (TRANSACTION_PAYLOAD) of a method that is not known"});
  }
  TransactionPayload payload;
  const bool is_packed = compression == kZstd;
  payload.compression =
      is_packed ? TransactionPayload::Compression::kZstd : TransactionPayload::Compression::kNone;
  payload.size = unpacked_bytes.value_or(packed_bytes);
  payload.packed = reader.rest();
  if (is_packed && !unpacked_bytes) return corrupt("its fields contradict its size");
  return EventBody(payload);
}

PayloadReader::PayloadReader() : stream_(nullptr, ZSTD_freeDCtx) {}
PayloadReader::~PayloadReader() = default;

Result<void> PayloadReader::begin(const TransactionPayload& payload) {
  payload_ = payload;
  taken_ = 0;
  unpacked_ = 0;
  is_frame_ended_ = false;
  if (payload.size > kMaxPayloadBytes) {
    return Error{ErrorKind::kLimit, "a compressed transaction of " + std::to_string(payload.size) +
                                        " bytes; at most " + std::to_string(kMaxPayloadBytes) +
                                        " are unpacked: SET GLOBAL binlog_transaction_compression = OFF"};
  }
  if (payload.compression == TransactionPayload::Compression::kNone) return {};
  if (!stream_) stream_.reset(ZSTD_createDCtx());
  if (!stream_) return Error{ErrorKind::kLimit, "no memory to unpack a compressed transaction"};
  const bool is_ready =
      ZSTD_isError(ZSTD_DCtx_reset(stream_.get(), ZSTD_reset_session_and_parameters)) == 0 &&
      ZSTD_isError(ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kMaxWindowLog)) == 0;
  return is_ready ? Result<void>() : corrupt("zstd cannot be made ready to unpack it");
}

Result<std::optional<Bytes>> PayloadReader::next() {
  event_.clear();
  if (unpacked_ == payload_.size) {
    RINGSIDE_TRY(expect_end());
    return std::optional<Bytes>();
  }
  RINGSIDE_TRY(fill(kEventHeaderBytes));
  const std::size_t size = read_event_header(as_bytes(event_))->size;
  if (size < kEventHeaderBytes || size > kMaxInflatedBytes) {
    return corrupt("an event in it names a size of " + std::to_string(size) + " bytes");
  }
  RINGSIDE_TRY(fill(size));
  return std::optional<Bytes>(as_bytes(event_));
}

// Until event_ has so many bytes. Takes memory only as bytes come: what a header says of the size is not believed before.
Result<void> PayloadReader::fill(std::size_t bytes) {
  while (event_.size() < bytes) {
    const std::size_t have = event_.size();
    if (bytes - have > payload_.size - unpacked_) return corrupt("it ends within an event");
    event_.resize(std::min(bytes, have + std::max(have, kFirstStep)));
    std::size_t made = 0;
    RINGSIDE_TRY(unpack(event_.data() + have, event_.size() - have, made));
    event_.resize(have + made);
    unpacked_ += made;
    if (made == 0) return corrupt("its stream is cut short");
  }
  return {};
}

// Fills `to` as far as the stream goes.
Result<void> PayloadReader::unpack(char* to, std::size_t room, std::size_t& made) {
  const Bytes rest = payload_.packed.subspan(taken_);
  if (payload_.compression == TransactionPayload::Compression::kNone) {
    made = std::min(room, rest.size());
    as_text(rest).copy(to, made);
    taken_ += made;
    is_frame_ended_ = true;
    return {};
  }
  ZSTD_inBuffer in{rest.data(), rest.size(), 0};
  ZSTD_outBuffer out{to, room, 0};
  while (out.pos < out.size) {
    const std::size_t in_before = in.pos;
    const std::size_t out_before = out.pos;
    const std::size_t hint = ZSTD_decompressStream(stream_.get(), &out, &in);
    if (ZSTD_isError(hint) != 0)
      return corrupt(std::string("its stream is damaged: ") + ZSTD_getErrorName(hint));
    is_frame_ended_ = hint == 0;
    if (is_frame_ended_ || (in.pos == in_before && out.pos == out_before)) break;
  }
  taken_ += in.pos;
  made = out.pos;
  return {};
}

// The announced size has been reached: there must be no more.
Result<void> PayloadReader::expect_end() {
  char more = 0;
  std::size_t made = 0;
  // The end of a zstd frame (its last block's mark, its checksum) may not have been read yet.
  if (!is_frame_ended_) RINGSIDE_TRY(unpack(&more, 1, made));
  if (made != 0 || taken_ != payload_.packed.size()) return corrupt("it holds more than it announces");
  if (!is_frame_ended_ && payload_.compression == TransactionPayload::Compression::kZstd) {
    return corrupt("its stream is cut short");
  }
  return {};
}

}  // namespace ringside::writer::binlog
