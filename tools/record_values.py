"""What record_binlog.py fills its tables with: columns of every type with the lots drawn for them, JSON documents.

Each draw_…() returns an SQL expression; everything is drawn from the random.Random that is passed in.
"""

import json
import struct


WORDS = ["alpha", "be ta", "\"quoted\"", "back\\slash", "tab\there", "line\nbreak", "\x00\x01\x1f\x7f", "'", "/*x*/", "  "]
LATIN = WORDS + ["caf\u00e9", "\u20ac 5", "\u0081\u008d\u008f\u0090\u009d", "\u00ff\u0178"]
BMP = LATIN + ["\u4f60\u597d", "\u2028", "\uffff", "\u0416"]
FULL = BMP + ["\U0001f600", "\U0010ffff", "e\u0301"]


def text_literal(value):
    return f"CONVERT(x'{value.encode('utf-8').hex()}' USING utf8mb4)" if value else "''"


def draw_text(rng, words, longest):
    text = ""
    for _ in range(rng.randrange(4)):
        text += rng.choice(words)
    return text_literal((text + " " * rng.choice([0, 0, 0, 2]))[:longest])


def draw_bytes(rng, longest):
    raw = bytes(rng.choice([0, 0, 32, 65, 255, rng.randrange(256)]) for _ in range(rng.randrange(longest + 1)))
    return f"x'{raw.hex()}'" if raw else "''"


def draw_integer(rng, low, high):
    return str(rng.choice([low, high, 0, 1, rng.randint(low, high), rng.randint(low, high) // 1000]))


def draw_decimal(rng, precision, scale):
    digits = rng.choice(["0", "1", "9" * precision, str(rng.randrange(10 ** precision)),
                         str(rng.randrange(10 ** rng.randint(1, precision)))]).zfill(scale + 1)
    text = digits[:-scale] + "." + digits[-scale:] if scale else digits
    return ("-" if rng.random() < 0.5 else "") + text


def draw_double(rng):
    return repr(rng.choice([0.0, 1.0, -1.5, 0.1, 1e15, 1e16, 123456789.0, 1.7976931348623157e308, 2.2250738585072014e-308,
                            rng.uniform(-1, 1), rng.uniform(-1e6, 1e6), rng.uniform(-1, 1) * 10.0 ** rng.randint(-200, 200)]))


def draw_float(rng):
    value = rng.choice([0.0, 1.0, -1.5, 0.1, 16777217.0, 3.4028234e38, 1.17549435e-38, rng.uniform(-1, 1),
                        rng.uniform(-1e6, 1e6), rng.uniform(-1, 1) * 10.0 ** rng.randint(-30, 30)])
    return repr(value)


def fraction(rng, digits):
    return "." + rng.choice(["0" * digits, "9" * digits, str(rng.randrange(10 ** digits)).zfill(digits),
                             "1".zfill(digits)]) if digits else ""


def draw_date(rng):
    return rng.choice(["'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'2026-00-00'", "'2026-05-00'",
                       f"'{rng.randint(1000, 9999):04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}'"])


def draw_datetime(rng, digits):
    if rng.random() < 0.1:
        return "'0000-00-00 00:00:00'"
    return (f"'{rng.randint(1000, 9999):04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} "
            f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}{fraction(rng, digits)}'")


def draw_timestamp(rng, digits):
    if rng.random() < 0.15:
        return rng.choice(["'0000-00-00 00:00:00'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"])
    return (f"'{rng.randint(1971, 2037)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} "
            f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}{fraction(rng, digits)}'")


def draw_time(rng, digits):
    sign = rng.choice(["", "-"])
    hours = rng.choice([0, 0, 23, 99, 100, 837, rng.randint(0, 837)])
    if rng.random() < 0.1:
        return f"'{sign}838:59:59'"
    return f"'{sign}{hours:02}:{rng.choice([0, 59, rng.randint(0, 59)]):02}:{rng.choice([0, 1, 59]):02}{fraction(rng, digits)}'"


LABELS = ["small", "x large", "caf\u00e9", "\"q\"", "e", "f", "g", "h", "i"]


def label_list(count):
    return ",".join("'" + label + "'" for label in LABELS[:count])


def integers():
    out = []
    for name, size in (("tinyint", 1), ("smallint", 2), ("mediumint", 3), ("int", 4), ("bigint", 8)):
        half = 1 << (8 * size - 1)
        out.append((f"c_{name}", name, lambda rng, half=half: draw_integer(rng, -half, half - 1)))
        out.append((f"c_u{name}", f"{name} unsigned", lambda rng, half=half: draw_integer(rng, 0, 2 * half - 1)))
    return out


def every_column(kind):
    """(name, type, draw) of the table with every type that both servers have."""
    columns = integers()
    columns.append(("c_zerofill", "int(8) zerofill", lambda rng: draw_integer(rng, 0, 4294967295)))
    decimals = [(1, 0), (5, 2), (2, 2), (9, 0), (18, 9), (20, 4), (30, 1), (38, 30), (65, 30)]
    for precision, scale in decimals + ([(38, 38)] if kind == "mariadb" else []):
        columns.append((f"c_dec_{precision}_{scale}", f"decimal({precision},{scale})",
                        lambda rng, p=precision, s=scale: draw_decimal(rng, p, s)))
    columns.append(("c_udec", "decimal(7,3) unsigned", lambda rng: draw_decimal(rng, 7, 3).lstrip("-")))
    columns.append(("c_zdec", "decimal(8,2) zerofill", lambda rng: draw_decimal(rng, 8, 2).lstrip("-")))
    columns += [("c_float", "float", draw_float), ("c_double", "double", draw_double),
                ("c_ufloat", "float unsigned", lambda rng: draw_float(rng).lstrip("-"))]
    columns += [("c_year", "year", lambda rng: rng.choice(["0", "1901", "2155", str(rng.randint(1901, 2155))])),
                ("c_date", "date", draw_date)]
    for digits in (0, 1, 2, 3, 4, 5, 6):
        columns.append((f"c_time{digits}", f"time({digits})", lambda rng, d=digits: draw_time(rng, d)))
    for digits in (0, 1, 3, 4, 6):
        columns.append((f"c_datetime{digits}", f"datetime({digits})", lambda rng, d=digits: draw_datetime(rng, d)))
        columns.append((f"c_stamp{digits}", f"timestamp({digits}) null", lambda rng, d=digits: draw_timestamp(rng, d)))
    columns += [("c_bit1", "bit(1)", lambda rng: draw_integer(rng, 0, 1)),
                ("c_bit13", "bit(13)", lambda rng: draw_integer(rng, 0, (1 << 13) - 1)),
                ("c_bit64", "bit(64)", lambda rng: draw_integer(rng, 0, (1 << 64) - 1)),
                ("c_enum", f"enum({label_list(5)})", lambda rng: str(rng.randint(0, 5))),
                ("c_set", f"set({label_list(9)})", lambda rng: str(rng.choice([0, 511, rng.randrange(512)])))]
    columns += [("c_binary", "binary(9)", lambda rng: draw_bytes(rng, 9)),
                ("c_binary255", "binary(255)", lambda rng: draw_bytes(rng, 9)),
                ("c_varbinary", "varbinary(20)", lambda rng: draw_bytes(rng, 20)),
                ("c_varbinary300", "varbinary(300)", lambda rng: draw_bytes(rng, 12)),
                ("c_tinyblob", "tinyblob", lambda rng: draw_bytes(rng, 20)),
                ("c_blob", "blob", lambda rng: draw_bytes(rng, 20)),
                ("c_mediumblob", "mediumblob", lambda rng: draw_bytes(rng, 20)),
                ("c_longblob", "longblob", lambda rng: draw_bytes(rng, 20))]
    return columns


def label_columns():
    """Lists so long that their numbers take two and eight bytes."""
    return [("c_set64", "set(" + ",".join(f"'l{i}'" for i in range(64)) + ")",
             lambda rng: draw_integer(rng, 0, (1 << 64) - 1)),
            ("c_bigenum", "enum(" + ",".join(f"'{i}'" for i in range(1, 301)) + ")",
             lambda rng: str(rng.choice([1, 256, 300])))]


def charset_columns(kind):
    words = {"utf8mb4": FULL, "utf8mb3": BMP, "latin1": LATIN, "ascii": WORDS}
    columns = []
    for charset in words:
        draw = lambda longest: lambda rng, w=words[charset]: draw_text(rng, w, longest)
        suffix = f"character set {charset}"
        columns += [(f"{charset}_char", f"char(10) {suffix}", draw(10)),
                    (f"{charset}_char255", f"char(255) {suffix}", draw(40)),
                    (f"{charset}_varchar", f"varchar(30) {suffix}", draw(30)),
                    (f"{charset}_varchar300", f"varchar(300) {suffix} collate {charset}_bin", draw(40)),
                    (f"{charset}_tinytext", f"tinytext {suffix}", draw(40)),
                    (f"{charset}_text", f"text {suffix}", draw(40)),
                    (f"{charset}_mediumtext", f"mediumtext {suffix}", draw(40)),
                    (f"{charset}_longtext", f"longtext {suffix}", draw(40))]
    columns += [("latin1_enum", f"enum({label_list(5)}) character set latin1", lambda rng: str(rng.randint(0, 5))),
                ("utf8_enum", f"enum({label_list(5)}) character set utf8mb4", lambda rng: str(rng.randint(0, 5))),
                ("latin1_set", f"set({label_list(5)}) character set latin1", lambda rng: str(rng.randrange(32)))]
    if kind == "mariadb":
        columns += [("uca", "varchar(20) character set utf8mb4 collate uca1400_nopad_as_ci",
                     lambda rng: draw_text(rng, FULL, 20)),
                    ("doc", "json", draw_document)]
    else:
        columns += [("ai", "varchar(20) character set utf8mb4 collate utf8mb4_0900_ai_ci",
                     lambda rng: draw_text(rng, FULL, 20))]
    return columns


def draw_document(rng):
    document = rng.choice([{}, [], {"a": 1, "b": [True, None, "caf\u00e9\n"]}, "text", 1.5e10, None, [[[]]]])
    return text_literal(json.dumps(document, ensure_ascii=rng.random() < 0.5))


# --- MySQL's JSON documents ---------------------------------------------------------------------------------------

def nasty_double(rng):
    """Near powers of two and ten, subnormal, the longest and the shortest digits; as a JSON number's text."""
    choice = rng.randrange(6)
    if choice == 0:
        value = 2.0 ** rng.randint(-1074, 1023)
    elif choice == 1:
        value = float(f"1e{rng.randint(-320, 308)}")
    elif choice == 2:
        value = struct.unpack("<d", rng.randbytes(8))[0]
    elif choice == 3:
        value = rng.choice([0.0, 1.0, 1e14, 1e15, 1e16, 999999999999999.9, 1e-14, 1e-15, 1e-16, 9007199254740993.0, 5e-324,
                            1.7976931348623157e308, 2.2250738585072014e-308, 0.1, 123456.0])
    elif choice == 4:
        value = rng.randrange(1 << 53) / 10.0 ** rng.randint(0, 40)
    else:
        value = float(rng.randrange(10 ** 6)) * 10.0 ** rng.randint(-20, 20)
    if value != value or value in (float("inf"), float("-inf")):
        value = 1.5
    # Always with an exponent: without one the server takes a whole number for an integer.
    return f"{rng.choice(['', '-'])}{abs(value):.17e}"


def plain_document(rng, depth):
    """JSON text. Not by json.dumps: numbers have to stay as they are drawn."""
    choice = rng.random()
    if depth > 0 and choice < 0.25:
        return "[" + ",".join(plain_document(rng, depth - 1) for _ in range(rng.choice([0, 1, 2, 5]))) + "]"
    if depth > 0 and choice < 0.55:
        keys = rng.sample(["", "a", "b", "bb", "ab", "B", "key with spaces", "caf\u00e9", "\U0001f600", "\"q\"", "\n", "k" * 70],
                          rng.choice([0, 1, 2, 6]))
        return "{" + ",".join(json.dumps(key, ensure_ascii=rng.random() < 0.5) + ":" + plain_document(rng, depth - 1)
                              for key in keys) + "}"
    if choice < 0.7:
        return json.dumps("".join(rng.choice(FULL + ["/", "\x7f", "z" * 130]) for _ in range(rng.randrange(4))),
                          ensure_ascii=rng.random() < 0.5)
    if choice < 0.85:
        return nasty_double(rng)
    return rng.choice(["true", "false", "null", "0", "-1", "32767", "32768", "-32768", "-32769", "65535", "65536", "2147483647",
                       "2147483648", "-2147483648", "-2147483649", "4294967295", "4294967296", "9223372036854775807",
                       "-9223372036854775808", "9223372036854775808", "18446744073709551615", "18446744073709551616",
                       str(rng.randint(-(1 << 63), 1 << 63))])


def typed_value(rng):
    """An expression whose value keeps its SQL type within a document."""
    digits = rng.randrange(7)
    precision, scale = rng.choice([(1, 0), (5, 2), (30, 30), (65, 30), (65, 0), (64, 1), (20, 4), (9, 9), (18, 9)])
    return rng.choice([
        lambda: f"CAST({draw_decimal(rng, precision, scale)} AS DECIMAL({precision},{scale}))",
        lambda: f"CAST({draw_date(rng)} AS DATE)",
        lambda: f"CAST({draw_time(rng, digits)} AS TIME({digits}))",
        lambda: f"CAST({draw_datetime(rng, digits)} AS DATETIME({digits}))",
        lambda: f"TIMESTAMP{draw_datetime(rng, 6)}",
        lambda: draw_bytes(rng, 60),
        lambda: f"REPEAT(x'00ff10', {rng.choice([18, 19, 20, 37, 38, 39, 100])})",
        lambda: f"REPEAT(_binary'a', {rng.choice([0, 1, 2, 56, 57, 58, 113, 114, 115, 127, 128, 16383, 16384])})",
        lambda: f"b'{rng.randrange(1 << 16):b}'",
        lambda: f"CAST({rng.randint(1901, 2155)} AS YEAR)",
        lambda: "CAST(1.5 AS FLOAT)",
        lambda: "ST_GeomFromText('POINT(1 2.5)')",
        lambda: "(SELECT v FROM odd)", lambda: "(SELECT b FROM odd)", lambda: "(SELECT e FROM odd)", lambda: "(SELECT s FROM odd)",
        lambda: "(SELECT g FROM odd)", lambda: "(SELECT l FROM odd)", lambda: "(SELECT t FROM odd)", lambda: "(SELECT y FROM odd)",
        lambda: "true", lambda: "NULL",
    ])()


def document(rng):
    if rng.random() < 0.7:
        return f"CAST({text_literal(plain_document(rng, rng.choice([0, 1, 2, 3, 6])))} AS JSON)"
    members = ", ".join(f"'k{i}', {typed_value(rng)}" for i in range(rng.randrange(4)))
    return rng.choice([lambda: f"JSON_OBJECT({members})", lambda: f"JSON_ARRAY({typed_value(rng)}, JSON_OBJECT({members}))",
                       lambda: f"JSON_EXTRACT(JSON_ARRAY({typed_value(rng)}), '$[0]')"])()


def large_documents():
    """Beyond 64 KiB the server takes the form with offsets of four bytes."""
    numbers = "(WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT {} FROM n)"
    values = "ELT(1 + i MOD 7, CAST(i AS JSON), CAST(-i * 100000 AS JSON), CAST(i * 100000 AS JSON), CAST('null' AS JSON), " \
             "JSON_ARRAY(i), JSON_OBJECT('x', i), CAST(i * 10000000000 AS JSON))"
    return ["JSON_ARRAY(REPEAT('x', 70000), 1, -1, 32768, 65536, 4294967296, true, 1.5e0, JSON_OBJECT('k', JSON_ARRAY(1)))",
            "JSON_OBJECT('long', REPEAT('y', 16384), 'longer', REPEAT('z', 65536), REPEAT('k', 65535), 1)",
            numbers.format(3000, f"JSON_OBJECTAGG(CONCAT('key', i), CAST({values} AS JSON))"),
            numbers.format(5000, f"JSON_ARRAYAGG(CAST({values} AS JSON))"),
            "CAST(CONCAT(REPEAT('[', 100), '1', REPEAT(']', 100)) AS JSON)",
            "CAST(CONCAT(REPEAT('{\"a\":', 100), '\"deep\"', REPEAT('}', 100)) AS JSON)",
            "JSON_ARRAY(CAST(CONCAT(REPEAT('[', 99), REPEAT(']', 99)) AS JSON))"]


def documents(rng, count):
    sql = """
SET cte_max_recursion_depth = 100000;
SET sql_log_bin = 0;
CREATE TABLE odd (v varbinary(20), b bit(9), e enum('one','two'), s set('a','b','c'), g linestring, l mediumblob,
  t timestamp(3) NULL, y year) ENGINE=InnoDB;
INSERT INTO odd VALUES (x'00ff', b'101', 'two', 'a,c', ST_GeomFromText('LINESTRING(0 0,1 1)'), REPEAT('blob', 20),
  '2026-01-08 10:00:00.123', 1999);
SET sql_log_bin = 1;
CREATE TABLE json (id int PRIMARY KEY, doc json, other json NOT NULL) ENGINE=InnoDB;
"""
    large = large_documents()
    for key, expression in enumerate(large):
        sql += f"INSERT INTO json VALUES ({key}, {expression}, '{{}}');\n"
    for key in range(100, 100 + count):
        doc = "NULL" if rng.random() < 0.05 else document(rng)
        sql += f"INSERT INTO json VALUES ({key}, {doc}, {document(rng)});\n"
    # The server changes a document in place where the new value has room: what remains has holes.
    for step in range(count // 3):
        path = rng.choice(["$[0]", "$.k0", "$.a", "$.b", "$[1]", "$.bb", '$."key with spaces"'])
        change = rng.choice([f"JSON_SET(other, '{path}', {typed_value(rng)})", f"JSON_REPLACE(other, '{path}', 'r')",
                             f"JSON_REMOVE(other, '{path}')", f"JSON_REPLACE(other, '{path}', {rng.randint(-70000, 70000)})"])
        sql += f"UPDATE json SET other = {change} WHERE id = {100 + rng.randrange(count)};\n"
    sql += "UPDATE json SET doc = JSON_SET(doc, '$.key7', 'changed', '$.key8', JSON_ARRAY(1, 2, 3)) WHERE id = 2;\n"
    sql += "UPDATE json SET doc = JSON_REMOVE(doc, '$[0]', '$[7]', '$[100]') WHERE id = 3;\n"
    return sql + "INSERT IGNORE INTO json (id, doc) VALUES (99, NULL);\nDELETE FROM json WHERE id MOD 13 = 5;\n" \
        "SET sql_log_bin = 0; DROP TABLE odd; SET sql_log_bin = 1;\n"
