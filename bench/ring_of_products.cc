#include "bench/ring_of_products.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/bytes.h"

namespace ringside::bench {
namespace {

using shm::Column;
using shm::ValueKind;

Column column(std::string name, ValueKind kind, std::string sql_type) {
  Column made;
  made.name = std::move(name);
  made.kind = kind;
  made.sql_type = std::move(sql_type);
  if (kind == ValueKind::kText) made.collation = "utf8mb4_bin";
  return made;
}

}  // namespace

void die(std::string_view why) {
  fmt::print(stderr, "benchmark: {}\n", why);
  std::_Exit(1);
}

shm::Table products_table() {
  shm::Table table;
  table.name = "products";
  table.key_name = "PRIMARY";
  table.shape.columns = {column("id", ValueKind::kUnsigned, "bigint(20) unsigned"),
                         column("name", ValueKind::kText, "varchar(100)"),
                         column("version", ValueKind::kText, "varchar(100)"),
                         column("category_id", ValueKind::kUnsigned, "bigint(20) unsigned"),
                         column("maintainer_id", ValueKind::kUnsigned, "bigint(20) unsigned"),
                         column("price", ValueKind::kDecimal, "decimal(10,2)"),
                         column("stock", ValueKind::kInteger, "int(11)"),
                         column("download_bytes", ValueKind::kUnsigned, "bigint(20) unsigned"),
                         column("installed_kib", ValueKind::kUnsigned, "bigint(20) unsigned"),
                         column("homepage", ValueKind::kText, "varchar(255)"),
                         column("summary", ValueKind::kText, "varchar(255)"),
                         column("updated_at", ValueKind::kTimestamp, "timestamp(3)")};
  for (Column& each : table.shape.columns) {
    if (each.kind == ValueKind::kUnsigned) each.width = 8;
    if (each.kind == ValueKind::kInteger) each.width = 4;
  }
  table.shape.columns[5].precision = 10;
  table.shape.columns[5].scale = 2;
  table.shape.columns[11].scale = 3;
  table.key = {shm::KeyColumn{0, shm::KeyRule::kOrdered, false}};
  return table;
}

shm::Table stock_table() {
  shm::Table table;
  table.name = "stock";
  table.key_name = "PRIMARY";
  table.shape.columns = {column("product_id", ValueKind::kUnsigned, "bigint(20) unsigned"),
                         column("quantity", ValueKind::kInteger, "int(11)")};
  table.shape.columns[0].width = 8;
  table.shape.columns[1].width = 4;
  table.key = {shm::KeyColumn{0, shm::KeyRule::kOrdered, false}};
  return table;
}

std::string product_key(std::uint64_t id) {
  std::string key(8, '\0');
  store_be<std::uint64_t>(key.data(), id);
  return key;
}

void build_product(shm::RowBuilder& row, std::uint64_t id, std::uint64_t edition) {
  row.begin();
  row.add(std::to_string(id));
  row.add(fmt::format("\"lib{:x}-perl\"", id * 2654435761u % 0xffffff));
  row.add(fmt::format("\"{}.{}-{}+deb12u1\"", id % 12, id % 37, id % 5));
  row.add(std::to_string(id % 60 + 1));
  row.add(std::to_string(id % 2500 + 1));
  row.add(fmt::format("{}.{:02}", id % 900, edition % 100));
  row.add(std::to_string((id + edition) % 1000));
  row.add(std::to_string(id * 7919 % 50'000'000));
  row.add(std::to_string(id * 104'729 % 400'000));
  row.add(fmt::format("\"https://example.org/projects/number-{}/index.html\"", id));
  // Between 60 and 180 characters, as one-line descriptions are.
  row.add(fmt::format("\"{:e<{}}\"", "module that does one thing and does it well ", 60 + id * 31 % 120));
  row.add("\"2026-01-08T10:00:00.123Z\"");
  const std::string key = product_key(id);
  row.set_key(as_bytes(key));
}

void build_stock(shm::RowBuilder& row, std::uint64_t id, std::uint64_t edition) {
  row.begin();
  row.add(std::to_string(id));
  row.add(std::to_string((id + edition) % 1000));
  std::array<std::byte, 8> key;
  store_be<std::uint64_t>(key.data(), id);
  row.set_key(key);
}

RingOfProducts::RingOfProducts(std::uint64_t rows, RowKind kind, std::uint64_t transaction_buffer_bytes)
    : rows_(rows), kind_(kind) {
  options_.transaction_buffer_bytes = transaction_buffer_bytes;
  char path[] = "/dev/shm/ringside-bench-XXXXXX";
  if (::mkdtemp(path) == nullptr) die("cannot make a directory on /dev/shm");
  directory_ = path;
  options_.ring.directory = directory_;
  options_.ring.name = "bench";
  lock_ = or_die(shm::lock_ring(options_.ring));
  publisher_ = or_die(shm::Publisher::create(options_, lock_));
  publisher_->describe("history", "bench");
  const TableId table = publisher_->new_table(kind == RowKind::kProduct ? products_table() : stock_table());
  constexpr std::uint64_t kPrime =
      2'654'435'761;  // and so every row comes once: no number of rows has this factor
  for (std::uint64_t i = 0; i < rows; ++i) {
    build(kind == RowKind::kProduct ? i + 1 : i * kPrime % rows + 1, 0);
    or_die(publisher_->load_row(table, Version(1), row_));
  }
  or_die(publisher_->end_load());
  or_die(publisher_->switch_to(table));
  or_die(publisher_->commit(Version(1), shm::Commit{0, 1, 0, "0-1-1"}));
  or_die(publisher_->activate(nullptr));
  publisher_->ring().set_capture_state(shm::CaptureState::kStreaming);
}

RingOfProducts::~RingOfProducts() {
  publisher_.reset();
  std::error_code ignored;  // a directory left behind is no reason to fail at the end
  std::filesystem::remove_all(directory_, ignored);
}

void RingOfProducts::build(std::uint64_t id, std::uint64_t edition) {
  if (kind_ == RowKind::kProduct) {
    build_product(row_, id, edition);
  } else {
    build_stock(row_, id, edition);
  }
}

void RingOfProducts::reopen() {
  publisher_ = or_die(shm::Publisher::open(options_, lock_));
  if (publisher_->is_fresh()) die("the ring was not continued: " + publisher_->why_fresh());
}

void RingOfProducts::update(std::uint64_t id) {
  update_some(1, [id] { return id; });
}

void RingOfProducts::collect_change_of_all() {
  ++version_;
  const shm::Table& changed = table();
  for (std::uint64_t id = 1; id <= rows_; ++id) {
    const std::uint64_t what = id <= rows_ / 2 ? 0 : id % 4;
    const std::string key = product_key(id);
    const std::string other = product_key(rows_ + id);
    if (what == 2 && !is_changed_) {
      or_die(publisher_->erase(changed, key));
    } else if (what == 2) {
      build(id, version_);
      or_die(publisher_->insert(changed, row_));
    } else {
      build(what == 3 && !is_changed_ ? rows_ + id : id, version_);
      or_die(publisher_->update(changed, what == 3 && is_changed_ ? other : key, row_));
    }
  }
  is_changed_ = !is_changed_;
}

void RingOfProducts::commit() {
  const std::string gtid = fmt::format("0-1-{}", version_);
  or_die(publisher_->commit(Version(version_), shm::Commit{0, version_, 0, gtid}));
}

void RingOfProducts::beat(std::uint64_t now_ns) {
  shm::RingWriter& ring = publisher_->ring();
  ring.set_source(Version(version_), 0, now_ns);
  ring.beat(now_ns);
  ring.check_readers(now_ns);
}

std::unique_ptr<shm::RingReader> RingOfProducts::join() const {
  std::unique_ptr<shm::RingReader> reader =
      or_die(shm::RingReader::attach(options_.ring.directory, options_.ring.name));
  or_die(reader->join());
  return reader;
}

}  // namespace ringside::bench
