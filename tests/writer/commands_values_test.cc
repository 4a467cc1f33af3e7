// From JSON and URL keys to parameters: what is taken, what is refused, and what comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "shm/key.h"
#include "writer/commands/row_input.h"
#include "writer/commands/sql_text.h"
#include "writer/commands/sql_value.h"

namespace ringside::writer {
namespace {

using shm::Column;
using shm::ValueKind;
using ::testing::HasSubstr;

Column column(std::string name, ValueKind kind, std::uint32_t width = 0) {
  Column c;
  c.name = std::move(name);
  c.kind = kind;
  c.width = width;
  c.nullable = true;
  c.sql_type = "a type";
  if (kind == ValueKind::kText) c.collation = "utf8mb4_bin";
  return c;
}
Column decimal(std::string name, std::uint8_t precision, std::uint8_t scale) {
  Column c = column(std::move(name), ValueKind::kDecimal);
  c.precision = precision;
  c.scale = scale;
  return c;
}
Column timed(std::string name, ValueKind kind, std::uint8_t digits) {
  Column c = column(std::move(name), kind);
  c.scale = digits;
  return c;
}
Column labelled(std::string name, ValueKind kind) {
  Column c = column(std::move(name), kind);
  c.labels = {"small", "2", "größer"};
  return c;
}

shm::Table table_of(std::vector<Column> columns, std::vector<std::uint32_t> key = {0}) {
  shm::Table table;
  table.name = "things";
  table.state = shm::TableState::kLive;
  table.shape.columns = std::move(columns);
  for (const std::uint32_t index : key) {
    table.key.push_back(shm::make_key_column(index, table.shape.columns[index]));
  }
  return table;
}

// The one value of a body {"c": json}; the refusal's body when there is none.
struct Parsed {
  std::optional<Answer> refusal;
  SqlValue value;
};
Parsed parse(Column c, std::string_view json) {
  c.name = "c";
  std::vector<ColumnValue> values;
  const shm::Table table = table_of({std::move(c)});
  Parsed parsed;
  parsed.refusal = parse_row(table, R"({"c":)" + std::string(json) + "}", values);
  if (!parsed.refusal) parsed.value = values.at(0).value;
  return parsed;
}

void expect_text(const Column& c, std::string_view json, const std::string& text) {
  const Parsed parsed = parse(c, json);
  ASSERT_FALSE(parsed.refusal) << json << ": " << parsed.refusal->body;
  EXPECT_EQ(parsed.value, SqlValue::of_text(text)) << json;
}
void expect_refused(const Column& c, std::string_view json, const std::string& reason) {
  const Parsed parsed = parse(c, json);
  ASSERT_TRUE(parsed.refusal) << json;
  EXPECT_EQ(parsed.refusal->status, 422u) << json;
  EXPECT_THAT(parsed.refusal->body, HasSubstr(reason)) << json;
  EXPECT_THAT(parsed.refusal->body, HasSubstr(R"("column":"c")")) << json;
}

TEST(CommandValues, IntegersKeepTheirRange) {
  const Column tiny = column("c", ValueKind::kInteger, 1);
  EXPECT_EQ(parse(tiny, "-128").value, SqlValue::of_int64(-128));
  EXPECT_EQ(parse(tiny, "127").value, SqlValue::of_int64(127));
  EXPECT_EQ(parse(tiny, "\"-7\"").value, SqlValue::of_int64(-7));
  EXPECT_EQ(parse(tiny, "-0").value, SqlValue::of_int64(0));
  expect_refused(tiny, "128", "an integer from -128 to 127");
  expect_refused(tiny, "-129", "an integer from -128 to 127");
  expect_refused(tiny, "1.0", "an integer");
  expect_refused(tiny, "1e2", "an integer");
  expect_refused(tiny, "\"\"", "an integer");
  expect_refused(tiny, "\"1 \"", "an integer");
  expect_refused(tiny, "true", "an integer");
  expect_refused(tiny, "[1]", "an integer");

  const Column big = column("c", ValueKind::kInteger, 8);
  EXPECT_EQ(parse(big, "-9223372036854775808").value, SqlValue::of_int64(INT64_MIN));
  expect_refused(big, "9223372036854775808", "9223372036854775807");
  const Column huge = column("c", ValueKind::kUnsigned, 8);
  EXPECT_EQ(parse(huge, "18446744073709551615").value, SqlValue::of_uint64(UINT64_MAX));
  EXPECT_EQ(parse(huge, "\"18446744073709551615\"").value, SqlValue::of_uint64(UINT64_MAX));
  expect_refused(huge, "18446744073709551616", "18446744073709551615");
  expect_refused(huge, "-1", "from 0");
  const Column medium = column("c", ValueKind::kUnsigned, 3);
  EXPECT_EQ(parse(medium, "16777215").value, SqlValue::of_uint64(16777215));
  expect_refused(medium, "16777216", "16777215");
  const Column bits = column("c", ValueKind::kBit, 3);
  EXPECT_EQ(parse(bits, "7").value, SqlValue::of_uint64(7));
  expect_refused(bits, "8", "from 0 to 7");
  expect_refused(bits, "\"7\"", "a JSON number");
}

TEST(CommandValues, DecimalsKeepEveryDigitAndLoseNone) {
  const Column wide = decimal("c", 65, 30);
  expect_text(wide, "12345678901234567890123456789012345.123456789012345678901234567891",
              "12345678901234567890123456789012345.123456789012345678901234567891");
  expect_refused(wide, "123456789012345678901234567890123456", "at most 35 digits before and 30 behind");
  expect_refused(wide, "0.1234567890123456789012345678901", "30 behind");
  const Column price = decimal("c", 10, 2);
  expect_text(price, "1", "1.00");
  expect_text(price, "1.5", "1.50");
  expect_text(price, "\"1.5\"", "1.50");
  expect_text(price, "-0.05", "-0.05");
  expect_text(price, "-0.00", "0.00");
  expect_text(price, "-0", "0.00");
  expect_text(price, "1.500", "1.50");
  expect_text(price, "15e-1", "1.50");
  expect_text(price, "1.5E+3", "1500.00");
  expect_text(price, "5e-2", "0.05");
  expect_text(price, "\"007.5\"", "7.50");
  expect_refused(price, "1.005", "2 behind the point");
  expect_refused(price, "5e-3", "2 behind the point");
  expect_refused(price, "100000000", "8 digits before");
  expect_refused(price, "1e999999999", "8 digits before");
  expect_refused(price, "\"1,5\"", "a number");
  expect_refused(price, "\"+1\"", "a number");
  expect_refused(price, "\"\"", "a number");
  expect_text(decimal("c", 5, 0), "12345", "12345");
}

TEST(CommandValues, TimesHaveOneFormAndAreNeverRounded) {
  expect_text(column("c", ValueKind::kDate), "\"2026-01-08\"", "2026-01-08");
  expect_refused(column("c", ValueKind::kDate), "\"2026-1-8\"", "2026-01-08");
  expect_refused(column("c", ValueKind::kDate), "20260108", "2026-01-08");
  const Column datetime = timed("c", ValueKind::kDatetime, 3);
  expect_text(datetime, "\"2026-01-08T10:00:00.5\"", "2026-01-08 10:00:00.500");
  expect_text(datetime, "\"2026-01-08T10:00:00\"", "2026-01-08 10:00:00.000");
  expect_refused(datetime, "\"2026-01-08T10:00:00.1234\"", "2026-01-08T10:00:00.000");
  expect_refused(datetime, "\"2026-01-08 10:00:00\"", "2026-01-08T10:00:00");
  expect_refused(datetime, "\"2026-01-08T10:00:00Z\"", "2026-01-08T10:00:00");
  expect_refused(datetime, "\"2026-01-08T10:00:00.\"", "2026-01-08T10:00:00");
  const Column stamp = timed("c", ValueKind::kTimestamp, 0);
  expect_text(stamp, "\"2026-01-08T10:00:00Z\"", "2026-01-08 10:00:00");
  expect_refused(stamp, "\"2026-01-08T10:00:00\"", "with the Z");
  expect_refused(stamp, "\"2026-01-08T10:00:00+01:00\"", "with the Z");
  const Column time = timed("c", ValueKind::kTime, 1);
  expect_text(time, "\"-838:59:58.9\"", "-838:59:58.9");
  expect_text(time, "\"10:00:00\"", "10:00:00.0");
  expect_refused(time, "\"1:00:00\"", "838:59:59");
  expect_refused(time, "\"10:00\"", "838:59:59");
  expect_refused(time, "\"-\"", "838:59:59");
  const Column year = column("c", ValueKind::kYear);
  EXPECT_EQ(parse(year, "2026").value, SqlValue::of_uint64(2026));
  EXPECT_EQ(parse(year, "0").value, SqlValue::of_uint64(0));
  expect_refused(year, "26", "1901 to 2155");
}

TEST(CommandValues, LabelsAreExact) {
  const Column size = labelled("c", ValueKind::kEnum);
  EXPECT_EQ(parse(size, "\"2\"").value, SqlValue::of_uint64(2));
  EXPECT_EQ(parse(size, "\"größer\"").value, SqlValue::of_uint64(3));
  expect_refused(size, "\"3\"", "one of the labels");
  expect_refused(size, "\"SMALL\"", "one of the labels");
  expect_refused(size, "2", "one of the labels");
  const Column sizes = labelled("c", ValueKind::kSet);
  EXPECT_EQ(parse(sizes, "[]").value, SqlValue::of_uint64(0));
  EXPECT_EQ(parse(sizes, R"(["größer","small"])").value, SqlValue::of_uint64(5));
  expect_refused(sizes, R"(["small",1])", "an array of the labels");
  expect_refused(sizes, R"(["tiny"])", "an array of the labels");
  expect_refused(sizes, R"("small")", "an array of the labels");
}

TEST(CommandValues, TextBinaryAndJson) {
  expect_text(column("c", ValueKind::kText), R"("a\u00e9\ud83d\ude00\n\u0000b")",
              std::string("aé😀\n\0b", 10));
  expect_refused(column("c", ValueKind::kText), "1", "a JSON string");
  const Column binary = column("c", ValueKind::kBinary);
  EXPECT_EQ(parse(binary, "\"AP8=\"").value, SqlValue::of_bytes(std::string("\0\xff", 2)));
  EXPECT_EQ(parse(binary, "\"\"").value, SqlValue::of_bytes(""));
  for (const char* bad : {"\"AP8\"", "\"AP9=\"", "\"A===\"", "\"AP8=AP8=\"", "\"A P8\"", "\"AP_=\""}) {
    expect_refused(binary, bad, "base64");
  }
  const Column json = column("c", ValueKind::kJson);
  for (const char* text : {R"({"b": 1e400, "a" :[1.50, 123456789012345678901234567890]})", R"([ ])", "1.50",
                           "true", R"("a\/b")", "{}", R"({"c":{"c":[{"d":null}]}})"}) {
    expect_text(json, std::string(text) + "  ", text);
  }
  EXPECT_EQ(parse(json, "null").value, SqlValue::null());
  Column required = json;
  required.nullable = false;
  expect_text(required, "null", "null");
}

TEST(CommandValues, NullWhereTheColumnTakesIt) {
  Column text = column("c", ValueKind::kText);
  EXPECT_EQ(parse(text, "null").value, SqlValue::null());
  text.nullable = false;
  expect_refused(text, "null", "does not take null");
  Column number = column("c", ValueKind::kInteger, 4);
  number.nullable = false;
  EXPECT_EQ(parse(number, "null").value, SqlValue::null()) << "AUTO_INCREMENT asks for the next number";
}

TEST(CommandBody, WhatIsNoJsonObjectIsRefused) {
  const shm::Table table = table_of({column("a", ValueKind::kJson), column("b", ValueKind::kInteger, 4)});
  std::vector<ColumnValue> values;
  std::string deep(kMaxBodyDepth + 1, '[');
  deep = R"({"a":)" + deep + std::string(kMaxBodyDepth + 1, ']') + "}";
  const std::string bodies[] = {"",
                                " ",
                                "[]",
                                "1",
                                "null",
                                "{",
                                "}",
                                R"({"a":1)",
                                R"({"a":1}})",
                                R"({"a":1} {"b":1})",
                                R"({"a":1,})",
                                R"({"a" 1})",
                                R"({a:1})",
                                R"({"a":01})",
                                R"({"a":1.})",
                                R"({"a":.5})",
                                R"({"a":+1})",
                                R"({"a":1e})",
                                R"({"a":tru})",
                                R"({"a":nul})",
                                R"({"a":nullx})",
                                R"({"a":'x'})",
                                R"({"a":"\x"})",
                                R"({"a":"\ud800"})",
                                "{\"a\":\"\xff\"}",
                                "{\"a\":\"\n\"}",
                                R"({"a":[1,]})",
                                R"({"a":[1 2]})",
                                R"({"a":{"x"}})",
                                R"({"a":[01]})",
                                R"({"a":[tru]})",
                                R"({"a":{"x":1,"y":}})",
                                R"({"a":NaN})",
                                R"({"a":1,"a":2})",
                                R"({"a":1,"\u0061":2})",
                                R"({"a":1}x)",
                                deep};
  for (const std::string& body : bodies) {
    const auto refusal = parse_row(table, body, values);
    ASSERT_TRUE(refusal) << body;
    EXPECT_EQ(refusal->status, 400u) << body << refusal->body;
  }
}

TEST(CommandBody, ColumnsComeInTheTablesOrderAndUnknownOnesAreNamed) {
  const shm::Table table = table_of({column("a", ValueKind::kText), column("b", ValueKind::kInteger, 4)});
  std::vector<ColumnValue> values;
  ASSERT_FALSE(parse_row(table, " {\"b\" : 7 , \"\\u0061\" : \"x\" } \n", values));
  ASSERT_EQ(values.size(), 2u);
  EXPECT_EQ(values[0], (ColumnValue{0, SqlValue::of_text("x")}));
  EXPECT_EQ(values[1], (ColumnValue{1, SqlValue::of_int64(7)}));
  ASSERT_FALSE(parse_row(table, "{}", values));
  EXPECT_TRUE(values.empty());
  const auto refusal = parse_row(table, R"({"a":"x","colour":1})", values);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->status, 422u);
  EXPECT_THAT(refusal->body, HasSubstr("unknown-column"));
  EXPECT_THAT(refusal->body, HasSubstr(R"("column":"colour")"));
}

TEST(CommandKey, PartsAreSplitDecodedAndCanonical) {
  const shm::Table table =
      table_of({column("a", ValueKind::kText), column("b", ValueKind::kInteger, 4)}, {0, 1});
  std::vector<ColumnValue> key;
  ASSERT_FALSE(parse_key(table, "x%2Cy+%20%C3%A9,-7", key));
  ASSERT_EQ(key.size(), 2u);
  EXPECT_EQ(key[0].value, SqlValue::of_text("x,y+ é"));
  EXPECT_EQ(key[1].value, SqlValue::of_int64(-7));
  const std::tuple<const char*, unsigned> refusals[] = {
      {"x", 400},   {"x,1,2", 400}, {"x,01", 400},  {"x,+1", 400},  {"x,", 400},
      {"%,1", 400}, {"%zz,1", 400}, {"%FF,1", 400}, {"x,1.0", 400}, {"x,2147483648", 404},
  };
  for (const auto& [raw, status] : refusals) {
    const auto refusal = parse_key(table, raw, key);
    ASSERT_TRUE(refusal) << raw;
    EXPECT_EQ(refusal->status, status) << raw << refusal->body;
  }
}

TEST(CommandKey, TextThatTheCharacterSetLacksIsNoRow) {
  Column name = column("a", ValueKind::kText);
  std::vector<ColumnValue> key;
  const std::tuple<const char*, const char*, bool> cases[] = {
      {"latin1_bin", "%E2%82%AC%C3%BF", true},  // € and ÿ are in the server's latin1
      {"latin1_bin", "%C4%80", false},          // Ā is not
      {"latin1_bin", "%F0%9F%98%80", false},    // 😀
      {"utf8mb3_bin", "%F0%9F%98%80", false},
      {"utf8mb3_bin", "%E2%82%AC", true},
      {"ascii_bin", "a", true},
      {"ascii_bin", "%C3%BF", false},
      {"utf8mb4_bin", "%F0%9F%98%80", true},
  };
  for (const auto& [collation, raw, is_held] : cases) {
    name.collation = collation;
    const auto refusal = parse_key(table_of({name}), raw, key);
    EXPECT_EQ(!refusal.has_value(), is_held) << collation << " " << raw;
    if (refusal) {
      EXPECT_EQ(refusal->status, 404u);
    }
  }
}

TEST(CommandKey, EveryKindComesBackInTheRingsForm) {
  Column padded = column("a", ValueKind::kBinary, 4);
  padded.sql_type = "binary(4)";
  Column unpadded = column("a", ValueKind::kBinary, 4);
  unpadded.sql_type = "varbinary(4)";
  const std::tuple<Column, const char*, const char*> cases[] = {
      {column("a", ValueKind::kInteger, 8), "-12", "-12"},
      {column("a", ValueKind::kUnsigned, 8), "18446744073709551615", "18446744073709551615"},
      {decimal("a", 10, 2), "1.50", "1.50"},
      {column("a", ValueKind::kText), "a%22b", R"("a\"b")"},
      {padded, "AP8", R"("AP8AAA==")"},
      {unpadded, "AP8", R"("AP8=")"},
      {column("a", ValueKind::kDate), "2026-01-08", R"("2026-01-08")"},
      {timed("a", ValueKind::kDatetime, 3), "2026-01-08T10:00:00.500", R"("2026-01-08T10:00:00.500")"},
      {timed("a", ValueKind::kTimestamp, 0), "2026-01-08T10:00:00Z", R"("2026-01-08T10:00:00Z")"},
      {timed("a", ValueKind::kTime, 0), "-10:00:00", R"("-10:00:00")"},
      {column("a", ValueKind::kYear), "2026", "2026"},
      {labelled("a", ValueKind::kEnum), "gr%C3%B6%C3%9Fer", R"("größer")"},
      {column("a", ValueKind::kBit, 12), "4095", "4095"},
  };
  for (const auto& [c, raw, json] : cases) {
    std::vector<ColumnValue> key;
    const auto refusal = parse_key(table_of({c}), raw, key);
    ASSERT_FALSE(refusal) << raw << ": " << refusal->body;
    std::string out;
    append_json_of(c, key.at(0).value, out);
    EXPECT_EQ(out, json);
  }
}

TEST(CommandSql, NamesAreQuotedAndValuesBound) {
  shm::Table table = table_of(
      {column("i`d", ValueKind::kInteger, 4), column("t", ValueKind::kText), decimal("d", 5, 2)}, {0, 2});
  table.name = "a`; DROP TABLE b";
  const TableRef ref{"my`db", &table};
  const std::vector<ColumnValue> key{{0, SqlValue::of_int64(1)}, {2, SqlValue::of_text("1.00")}};
  const std::vector<ColumnValue> values{{1, SqlValue::of_text("x")}};
  const std::vector<std::uint32_t> defaults{1};
  const std::string where = " WHERE `i``d` = ? AND `d` = CAST(? AS DECIMAL(5,2))";
  EXPECT_EQ(insert_sql(ref, values),
            "INSERT INTO `my``db`.`a``; DROP TABLE b` (`t`) VALUES (CONVERT(? USING utf8mb4))");
  EXPECT_EQ(insert_sql(ref, {}), "INSERT INTO `my``db`.`a``; DROP TABLE b` () VALUES ()");
  EXPECT_EQ(update_sql(ref, values, {}, key),
            "UPDATE `my``db`.`a``; DROP TABLE b` SET `t` = CONVERT(? USING utf8mb4)" + where);
  EXPECT_EQ(update_sql(ref, {}, defaults, key),
            "UPDATE `my``db`.`a``; DROP TABLE b` SET `t` = DEFAULT" + where);
  EXPECT_EQ(update_sql(ref, {}, {}, key), "UPDATE `my``db`.`a``; DROP TABLE b` SET `i``d` = `i``d`" + where);
  EXPECT_EQ(delete_sql(ref, key), "DELETE FROM `my``db`.`a``; DROP TABLE b`" + where);
}

}  // namespace
}  // namespace ringside::writer
