// Binlog events made by hand, as MariaDB and MySQL write them without checksums: for what no recording has.
//
// The tables are all like items: (id BIGINT UNSIGNED primary key, name VARCHAR(100) utf8mb4_bin).
//
// Threads: one.   Ownership: values.   Errors: none.   Limits: names and values below 251 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace ringside::writer::testing {

template <class T>
void put_le(std::string& out, T value, std::size_t width = sizeof(T)) {
  for (std::size_t i = 0; i < width; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

class EventMaker {
 public:
  using Row = std::pair<std::uint64_t, std::string>;

  std::uint32_t server_id = 1;
  std::uint32_t timestamp = 1'767'000'000;
  std::string schema = "shop";

  std::string event(std::uint8_t type, std::string_view body) const {
    std::string out;
    put_le<std::uint32_t>(out, timestamp);
    out.push_back(static_cast<char>(type));
    put_le<std::uint32_t>(out, server_id);
    put_le<std::uint32_t>(out, static_cast<std::uint32_t>(19 + body.size()));
    put_le<std::uint32_t>(out, 0);
    put_le<std::uint16_t>(out, 0);
    return out.append(body);
  }
  std::string format() const {
    std::string body;
    put_le<std::uint16_t>(body, 4);
    std::string version = "10.11.19-MariaDB";
    version.resize(50);
    body += version;
    put_le<std::uint32_t>(body, timestamp);
    body.push_back(19);
    body.append(164, '\0');
    body.push_back(0);  // no checksums
    body.append(4, '\0');
    return event(15, body);
  }
  // `flags`: 1 standalone, 0x40 XA PREPARE, 0x80 XA COMMIT or ROLLBACK.
  std::string gtid(std::uint64_t sequence, std::uint8_t flags = 0, std::uint32_t domain = 0,
                   std::string_view xid = {}) const {
    std::string body;
    put_le(body, sequence);
    put_le(body, domain);
    body.push_back(static_cast<char>(flags));
    if ((flags & 0xc0) != 0) {
      put_le<std::uint32_t>(body, 1);
      body.push_back(static_cast<char>(xid.size()));
      body.push_back(0);
      body.append(xid);
    }
    return event(162, body);
  }
  std::string query(std::string_view sql, std::string_view default_schema = "shop") const {
    std::string body(8, '\0');
    body.push_back(static_cast<char>(default_schema.size()));
    body.append(4, '\0');
    body.append(default_schema);
    body.push_back('\0');
    body.append(sql);
    return event(2, body);
  }
  std::string xid() const { return event(16, std::string(8, '\1')); }
  std::string xa_prepare(std::string_view xid) const {
    std::string body(1, '\0');
    put_le<std::uint32_t>(body, 1);
    put_le<std::uint32_t>(body, static_cast<std::uint32_t>(xid.size()));
    put_le<std::uint32_t>(body, 0);
    return event(38, body.append(xid));
  }
  // Columns named `first` and "name".
  std::string map(std::uint64_t table_id, std::string_view table, std::string_view first = "id") const {
    std::string body;
    put_le(body, table_id, 6);
    put_le<std::uint16_t>(body, 1);
    body.push_back(static_cast<char>(schema.size()));
    body += schema + '\0';
    body.push_back(static_cast<char>(table.size()));
    body.append(table).push_back('\0');
    body += std::string("\x02\x08\x0f\x02\x90\x01\x02", 7);  // BIGINT NOT NULL, VARCHAR of 400 bytes NULL
    body += std::string("\x01\x01\x80", 3);                  // unsigned
    body += std::string("\x02\x01\x2e", 3);                  // utf8mb4_bin
    const std::string names =
        std::string(1, static_cast<char>(first.size())).append(first) + std::string("\x04name", 5);
    body.push_back(4);
    body.push_back(static_cast<char>(names.size()));
    return event(19, body + names);
  }
  // A table whose one column has this type number.
  std::string strange_map(std::uint64_t table_id, std::string_view table, char type) const {
    std::string body;
    put_le(body, table_id, 6);
    put_le<std::uint16_t>(body, 1);
    body.push_back(static_cast<char>(schema.size()));
    body += schema + '\0';
    body.push_back(static_cast<char>(table.size()));
    body.append(table).append(1, '\0').append("\x01", 1).push_back(type);
    return event(19, body.append(2, '\0'));
  }
  // The map of `ringside`.`commands`: id BINARY(16).
  std::string marker_map(std::uint64_t table_id) const {
    std::string body;
    put_le(body, table_id, 6);
    put_le<std::uint16_t>(body, 1);
    body += std::string(
        "\x08ringside\0\x08"
        "commands\0",
        20);
    body += std::string("\x01\xfe\x02\xfe\x10\x00", 6);
    body += std::string("\x02\x01\x3f", 3);  // binary
    body += std::string("\x04\x03\x02id", 5);
    return event(19, body);
  }
  std::string marker_row(std::uint64_t table_id, std::string_view id) const {
    std::string body;
    put_le(body, table_id, 6);
    put_le<std::uint16_t>(body, 1);
    body += std::string("\x01\x01\x00", 3);
    body.push_back(static_cast<char>(id.size()));
    return event(23, body.append(id));
  }
  std::string write(std::uint64_t table_id, const std::vector<Row>& rows) const {
    return rows_event(23, table_id, rows);
  }
  // Pairs of images: before, after.
  std::string update(std::uint64_t table_id, const std::vector<Row>& rows) const {
    return rows_event(24, table_id, rows);
  }
  std::string erase(std::uint64_t table_id, const std::vector<Row>& rows) const {
    return rows_event(25, table_id, rows);
  }

  // A whole transaction that inserts into one table.
  std::vector<std::string> insertion(std::uint64_t sequence, std::string_view table,
                                     const std::vector<Row>& rows) const {
    return {gtid(sequence), map(100, table), write(100, rows), xid()};
  }
  std::vector<std::string> ddl(std::uint64_t sequence, std::string_view sql) const {
    return {gtid(sequence, 1), query(sql)};
  }

 protected:
  std::string rows_event(std::uint8_t type, std::uint64_t table_id, const std::vector<Row>& rows) const {
    std::string body;
    put_le(body, table_id, 6);
    put_le<std::uint16_t>(body, 1);
    if (type >= 30) put_le<std::uint16_t>(body, 2);  // MySQL's: extra data, of no bytes but its length's
    body += type == 24 || type == 31 ? "\x02\x03\x03" : "\x02\x03";
    for (const auto& [id, name] : rows) {
      body.push_back('\0');
      put_le(body, id);
      put_le(body,
             static_cast<std::uint16_t>(name.size()));  // longer than 255 bytes may be: two bytes of length
      body += name;
    }
    return event(type, body);
  }
};

// As MySQL 9.7 writes them: GTIDs with UUID and perhaps a tag, BEGIN behind them, rows with room for extra data.
class MysqlEventMaker : public EventMaker {
 public:
  // "…-000000000001": the last digit tells servers apart.
  std::uint8_t uuid_end = 1;
  std::string tag;
  std::uint64_t commit_time_us = 1'767'000'000'654'321;

  std::string uuid() const { return "3e11fa47-71ca-11e1-9e33-00000000000" + std::to_string(uuid_end); }
  std::string name(std::uint64_t number) const {
    return uuid() + ":" + (tag.empty() ? tag : tag + ":") + std::to_string(number);
  }

  std::string format() const {
    std::string body;
    put_le<std::uint16_t>(body, 4);
    std::string version = "9.7.4";
    version.resize(50);
    body += version;
    put_le<std::uint32_t>(body, timestamp);
    body.push_back(19);
    body.append(42, '\0');
    body.push_back(0);  // no checksums
    body.append(4, '\0');
    return event(15, body);
  }
  std::string gtid(std::uint64_t number) const {
    std::string id("\x3e\x11\xfa\x47\x71\xca\x11\xe1\x9e\x33\0\0\0\0\0", 15);
    id.push_back(static_cast<char>(uuid_end));
    std::string body;
    if (tag.empty()) {
      body.push_back('\0');
      body += id;
      put_le(body, number);
      body.push_back(2);
      body.append(16, '\0');
      put_le(body, commit_time_us, 7);
      return event(33, body);
    }
    // Fields of the serialisation library: number, value; small values are doubled.
    body += std::string("\2\0\0\0\0\2", 6);
    for (const char c : id) put_varlen(body, static_cast<std::uint8_t>(c));
    body.push_back(4);
    put_varlen(body, 2 * number);  // a signed one
    body.push_back(6);
    put_varlen(body, tag.size());
    return event(42, body + tag);
  }
  std::string begin() const { return query("BEGIN"); }
  std::string xid_start(std::string_view xid) const { return query("XA START " + xa_name(xid)); }
  std::string xa_end(std::string_view xid) const { return query("XA END " + xa_name(xid)); }
  static std::string xa_name(std::string_view xid) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string hex;
    for (const char c : xid) {
      hex.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
      hex.push_back(kDigits[static_cast<unsigned char>(c) & 15]);
    }
    return "X'" + hex + "',X'',1";
  }
  std::string write(std::uint64_t table_id, const std::vector<Row>& rows) const {
    return rows_event(30, table_id, rows);
  }
  std::string update(std::uint64_t table_id, const std::vector<Row>& rows) const {
    return rows_event(31, table_id, rows);
  }
  std::string erase(std::uint64_t table_id, const std::vector<Row>& rows) const {
    return rows_event(32, table_id, rows);
  }
  std::vector<std::string> insertion(std::uint64_t number, std::string_view table,
                                     const std::vector<Row>& rows) const {
    return {gtid(number), begin(), map(100, table), write(100, rows), xid()};
  }
  std::vector<std::string> ddl(std::uint64_t number, std::string_view sql) const {
    return {gtid(number), query(sql)};
  }

 private:
  static void put_varlen(std::string& out, std::uint64_t value) {
    if (value < 128) {
      out.push_back(static_cast<char>(value << 1));
    } else {  // two bytes: as many as 14 bits take
      put_le<std::uint16_t>(out, static_cast<std::uint16_t>(value << 2 | 1));
    }
  }
};

}  // namespace ringside::writer::testing
