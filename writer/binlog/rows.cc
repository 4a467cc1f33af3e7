#include "writer/binlog/rows.h"

#include <array>
#include <bit>
#include <utility>

#include "writer/binlog/decimal.h"
#include "writer/binlog/json_binary.h"

namespace ringside::writer::binlog {
namespace {

constexpr std::array<std::uint32_t, 7> kPowersOfTen{1, 10, 100, 1'000, 10'000, 100'000, 1'000'000};

bool bit_at(Bytes bitmap, std::size_t index) {
  return (std::to_integer<unsigned>(bitmap[index / 8]) >> (index % 8) & 1u) != 0;
}

bool all_present(Bytes bitmap, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (!bit_at(bitmap, i)) return false;
  }
  return true;
}

// Fraction digits take a byte for every two; an odd last digit is stored as a pair with a zero.
std::size_t fraction_bytes(std::uint32_t digits) {
  return (digits + 1) / 2;
}
std::uint32_t micros_from(std::uint64_t fraction, std::uint32_t digits) {
  return static_cast<std::uint32_t>(fraction) * kPowersOfTen[6 - 2 * fraction_bytes(digits)];
}

// DATETIME and TIME: a whole part and a fraction in one big-endian number, offset by half its range so that it orders
// as bytes do. So a negative TIME is the negated whole, not sign and magnitude part by part.
std::int64_t read_offset_number(ByteReader& images, std::size_t whole_bytes, std::uint32_t digits) {
  const std::size_t bytes = whole_bytes + fraction_bytes(digits);
  const std::uint64_t half = std::uint64_t{1} << (8 * bytes - 1);
  return static_cast<std::int64_t>(images.uint_be(bytes) - half);
}

ValueStatus read_datetime(ByteReader& images, std::uint32_t digits, std::string& out) {
  const std::int64_t packed = read_offset_number(images, 5, digits);
  if (packed < 0) return ValueStatus::kMalformed;
  const std::size_t shift = 8 * fraction_bytes(digits);
  const auto whole = static_cast<std::uint64_t>(packed) >> shift;
  const auto fraction = static_cast<std::uint64_t>(packed) & ((std::uint64_t{1} << shift) - 1);
  const std::uint64_t date = whole >> 17;
  const std::uint64_t months = date >> 5;
  DateTimeValue value;
  value.year = static_cast<std::uint32_t>(months / 13);
  value.month = static_cast<std::uint32_t>(months % 13);
  value.day = static_cast<std::uint32_t>(date & 31);
  value.hour = static_cast<std::uint32_t>(whole >> 12 & 31);
  value.minute = static_cast<std::uint32_t>(whole >> 6 & 63);
  value.second = static_cast<std::uint32_t>(whole & 63);
  value.micros = micros_from(fraction, digits);
  return append_datetime(out, value, digits, false);
}

ValueStatus read_time(ByteReader& images, std::uint32_t digits, std::string& out) {
  const std::int64_t packed = read_offset_number(images, 3, digits);
  TimeValue value;
  value.negative = packed < 0;
  const auto magnitude = static_cast<std::uint64_t>(value.negative ? -packed : packed);
  const std::size_t shift = 8 * fraction_bytes(digits);
  const std::uint64_t whole = magnitude >> shift;
  value.hours = static_cast<std::uint32_t>(whole >> 12);
  value.minute = static_cast<std::uint32_t>(whole >> 6 & 63);
  value.second = static_cast<std::uint32_t>(whole & 63);
  value.micros = micros_from(magnitude & ((std::uint64_t{1} << shift) - 1), digits);
  return append_time(out, value, digits);
}

ValueStatus read_timestamp(ByteReader& images, std::uint32_t digits, std::string& out) {
  const std::uint64_t seconds = images.uint_be(4);
  const std::uint64_t fraction = digits == 0 ? 0 : images.uint_be(fraction_bytes(digits));
  return append_timestamp_from_epoch(out, seconds, micros_from(fraction, digits), digits);
}

ValueStatus read_date(ByteReader& images, std::string& out) {
  const auto packed = static_cast<std::uint32_t>(images.uint_le(3));
  return append_date(out, packed >> 9, packed >> 5 & 15, packed & 31);
}

constexpr std::uint32_t kMaxColumnPrecision = 65;

// What the map says of a type must be within what the type can have, so that reading need not look again.
bool metadata_is_sound(ColumnType type, std::uint32_t metadata) {
  switch (type) {
    case ColumnType::kDecimal:
      return metadata >> 8 <= kMaxColumnPrecision && is_decimal_type(metadata >> 8, metadata & 0xff);
    case ColumnType::kTime:
    case ColumnType::kDatetime:
    case ColumnType::kTimestamp:
      return metadata <= 6;
    case ColumnType::kBit:
      return metadata >= 1 && metadata <= 64;
    case ColumnType::kEnum:
      return metadata == 1 || metadata == 2;
    case ColumnType::kSet:
      return metadata >= 1 && metadata <= 8;
    case ColumnType::kBlob:
    case ColumnType::kJson:
    case ColumnType::kCompressedBlob:
      return metadata >= 1 && metadata <= 4;
    case ColumnType::kFloat:
      return metadata == 4;
    case ColumnType::kDouble:
      return metadata == 8;
    default:
      return true;
  }
}

}  // namespace

Result<RowDecoder> RowDecoder::make(const shm::Shape& shape, const TableMap& map) {
  RowDecoder decoder;
  decoder.table_ = "`" + map.schema + "`.`" + map.table + "`";
  std::string why_not;
  if (!matches(shape, map, why_not)) return Error{ErrorKind::kUnsupported, why_not};
  for (std::size_t i = 0; i < map.columns.size(); ++i) {
    const MapColumn& from = map.columns[i];
    const shm::Column& column = shape.columns[i];
    Plan& plan = decoder.plans_.emplace_back();
    plan.name = column.name;
    plan.type = from.type;
    plan.kind = column.kind;
    plan.metadata = from.metadata;
    plan.is_unsigned = from.is_unsigned;
    plan.is_nullable = from.is_nullable;
    plan.charset = charset_from_collation_id(from.collation_id);
    plan.labels = JsonLabels(column.labels);
    if (from.type == ColumnType::kString && column.kind == shm::ValueKind::kBinary)
      plan.pad_to = from.metadata;
    const bool is_compressed =
        from.type == ColumnType::kCompressedBlob || from.type == ColumnType::kCompressedVarchar;
    if (is_compressed && !decoder.inflater_) decoder.inflater_ = std::make_unique<Inflater>();
    if (!metadata_is_sound(from.type, from.metadata)) {
      return Error{ErrorKind::kCorrupt,
                   "table " + decoder.table_ + ", column `" + plan.name + "`: the table map gives its type " +
                       std::to_string(static_cast<int>(from.type)) + " metadata that it cannot have"};
    }
  }
  return decoder;
}

Error RowDecoder::error(const std::string& what, ErrorKind kind) const {
  return {kind, "row event of table " + table_ + ": " + what};
}

Result<void> RowDecoder::begin(const RowsEvent& event) {
  const std::size_t count = plans_.size();
  if (event.column_count != count) {
    return error(
        std::to_string(event.column_count) + " columns, where its table map has " + std::to_string(count),
        ErrorKind::kCorrupt);
  }
  const bool is_update = event.operation == RowsOperation::kUpdate;
  const std::size_t bitmap_bytes = (count + 7) / 8;
  if (event.present.size() < bitmap_bytes || (is_update && event.present_after.size() < bitmap_bytes)) {
    return error("its bitmap of columns is cut short", ErrorKind::kCorrupt);
  }
  if (!all_present(event.present, count) || (is_update && !all_present(event.present_after, count))) {
    return error(
        "the image leaves columns out: binlog_row_image is not FULL in some session: SET GLOBAL "
        "binlog_row_image=FULL",
        ErrorKind::kUnsupported);
  }
  operation_ = event.operation;
  images_ = ByteReader(event.images);
  row_ = 0;
  return {};
}

Result<bool> RowDecoder::next(shm::RowBuilder& before, shm::RowBuilder& after) {
  before.begin();
  after.begin();
  if (images_.empty()) return false;
  ++row_;
  if (operation_ != RowsOperation::kWrite) RINGSIDE_TRY(read_image(before));
  if (operation_ != RowsOperation::kDelete) RINGSIDE_TRY(read_image(after));
  return true;
}

Result<void> RowDecoder::read_image(shm::RowBuilder& row) {
  const Bytes nulls = images_.take((plans_.size() + 7) / 8);
  if (!images_.ok()) return error("row " + std::to_string(row_) + " is cut short", ErrorKind::kCorrupt);
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    const Plan& plan = plans_[i];
    if (bit_at(nulls, i)) {
      if (!plan.is_nullable) {
        return error(
            "column `" + plan.name + "` is NOT NULL, and row " + std::to_string(row_) + " has NULL in it",
            ErrorKind::kCorrupt);
      }
      row.add_null();
      continue;
    }
    const ValueStatus status = read_value(plan, row.values());
    if (!images_.ok()) {
      return error("row " + std::to_string(row_) + " is cut short in column `" + plan.name + "`",
                   ErrorKind::kCorrupt);
    }
    if (status != ValueStatus::kOk) {
      return error("the value of column `" + plan.name + "` in row " + std::to_string(row_) + " " +
                       std::string(to_string(status)),
                   status == ValueStatus::kMalformed ? ErrorKind::kCorrupt : ErrorKind::kUnsupported);
    }
    row.close_value();
  }
  return {};
}

ValueStatus RowDecoder::read_value(const Plan& plan, std::string& out) {
  switch (plan.type) {
    case ColumnType::kTiny:
    case ColumnType::kShort:
    case ColumnType::kInt24:
    case ColumnType::kLong:
    case ColumnType::kLongLong:
      return read_integer(plan, out, integer_bytes(plan.type));
    case ColumnType::kDecimal:
      return read_decimal(plan, out);
    case ColumnType::kFloat:
      return append_float(out, std::bit_cast<float>(images_.u32()));
    case ColumnType::kDouble:
      return append_double(out, std::bit_cast<double>(images_.u64()));
    case ColumnType::kYear: {
      const std::uint32_t year = images_.u8();
      append_year(out, year == 0 ? 0 : 1900 + year);
      return ValueStatus::kOk;
    }
    case ColumnType::kDate:
      return read_date(images_, out);
    case ColumnType::kTime:
      return read_time(images_, plan.metadata, out);
    case ColumnType::kDatetime:
      return read_datetime(images_, plan.metadata, out);
    case ColumnType::kTimestamp:
      return read_timestamp(images_, plan.metadata, out);
    case ColumnType::kBit: {
      const std::uint64_t bits = images_.uint_be((plan.metadata + 7) / 8);
      append_bit(out, bits);
      return plan.metadata < 64 && bits >> plan.metadata != 0 ? ValueStatus::kMalformed : ValueStatus::kOk;
    }
    case ColumnType::kEnum:
      return append_enum(out, images_.uint_le(plan.metadata), plan.labels);
    case ColumnType::kSet:
      return append_set(out, images_.uint_le(plan.metadata), plan.labels);
    case ColumnType::kString:
    case ColumnType::kVarchar:
      return read_bytes(plan, out, images_.take(images_.uint_le(plan.metadata > 255 ? 2 : 1)));
    case ColumnType::kBlob:
      return read_bytes(plan, out, images_.take(images_.uint_le(plan.metadata)));
    case ColumnType::kJson: {
      const Bytes document = images_.take(images_.uint_le(plan.metadata));
      return images_.ok() ? append_json_binary(out, document) : ValueStatus::kMalformed;
    }
    case ColumnType::kCompressedVarchar:
      return read_compressed(plan, out, images_.take(images_.uint_le(plan.metadata > 255 ? 2 : 1)));
    case ColumnType::kCompressedBlob:
      return read_compressed(plan, out, images_.take(images_.uint_le(plan.metadata)));
    case ColumnType::kNull:
    case ColumnType::kOldTimestamp:
    case ColumnType::kOldTime:
    case ColumnType::kOldDatetime:
    case ColumnType::kVector:
    case ColumnType::kGeometry:
      break;
  }
  return ValueStatus::kUnsupported;
}

ValueStatus RowDecoder::read_integer(const Plan& plan, std::string& out, std::size_t width) {
  const std::uint64_t raw = images_.uint_le(width);
  if (plan.is_unsigned) {
    append_unsigned(out, raw);
  } else {
    const std::size_t unused = 64 - 8 * width;
    append_integer(out, static_cast<std::int64_t>(raw << unused) >> unused);
  }
  return ValueStatus::kOk;
}

ValueStatus RowDecoder::read_decimal(const Plan& plan, std::string& out) {
  const std::uint32_t scale = plan.metadata & 0xff;
  const std::uint32_t precision = plan.metadata >> 8;
  const Bytes packed = images_.take(decimal_bytes(precision, scale));
  if (!images_.ok()) return ValueStatus::kMalformed;
  return append_packed_decimal(out, packed, precision, scale);
}

ValueStatus RowDecoder::read_bytes(const Plan& plan, std::string& out, Bytes bytes) {
  if (plan.kind == shm::ValueKind::kText) return append_text(out, as_text(bytes), plan.charset);
  if (plan.kind == shm::ValueKind::kJson) return append_json(out, as_text(bytes));
  if (bytes.size() >= plan.pad_to) {
    append_binary(out, as_text(bytes));
    return ValueStatus::kOk;
  }
  padded_.assign(as_text(bytes));
  padded_.resize(plan.pad_to, '\0');
  append_binary(out, padded_);
  return ValueStatus::kOk;
}

// Nothing, or a header byte: 0 and the plain bytes; or 0x80 | 0x08 for deflate without a zlib header | the number of
// length bytes, the original length (big-endian), the stream.
ValueStatus RowDecoder::read_compressed(const Plan& plan, std::string& out, Bytes bytes) {
  if (bytes.empty()) return read_bytes(plan, out, bytes);
  ByteReader reader(bytes);
  const std::uint8_t head = reader.u8();
  if (head == 0) return read_bytes(plan, out, reader.rest());
  const std::size_t width = head & 0x07u;
  if ((head & 0xf0u) != 0x80 || width < 1 || width > 4) return ValueStatus::kMalformed;
  const std::uint64_t size = reader.uint_be(width);
  const auto format = (head & 0x08u) != 0 ? Inflater::Format::kRaw : Inflater::Format::kZlib;
  if (!reader.ok() || !inflater_->inflate(reader.rest(), size, format, inflated_))
    return ValueStatus::kMalformed;
  return read_bytes(plan, out, as_bytes(inflated_));
}

}  // namespace ringside::writer::binlog
