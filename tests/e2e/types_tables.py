"""Tables of every supported column type with its extremes, for e2e_types.py.

Each table has a key `id`; TABLES maps its name to its other columns and the rows' values as SQL. A row of NULLs is
added to all of them.
"""

from typing import Dict, List, NamedTuple

from mariadb_pipe import quote


class Family(NamedTuple):
    columns: str              # the definitions after id
    rows: List[List[str]]     # the values as SQL literals
    options: str = ""


def _transposed(values_by_column: List[List[str]]) -> List[List[str]]:
    """Rows from the extremes of each column; shorter columns begin again."""
    longest = max(len(values) for values in values_by_column)
    return [[values[i % len(values)] for values in values_by_column] for i in range(longest)]


def _integers() -> Family:
    names = (("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64))
    definitions, values = [], []
    for name, bits in names:
        definitions += [f"s_{name} {name}", f"u_{name} {name} unsigned"]
        values += [[str(v) for v in (-(2 ** (bits - 1)), -1, 0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 2))],
                   [str(v) for v in (0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2 ** bits - 1)]]
    definitions += ["z int(8) zerofill", "flag bool"]
    values += [["0", "42", "12345678", "4294967295"], ["true", "false", "-128", "127"]]
    return Family(", ".join(definitions), _transposed(values))


def _decimals() -> Family:
    nines = "9" * 35 + "." + "9" * 30
    return Family("a decimal(65,30), b decimal(10,0), c decimal(5,2), d decimal(1,1), e decimal(20,10) unsigned, "
                  "f decimal(65,0), g decimal(38,38), h decimal(9,9)",
                  _transposed([
                      [nines, "-" + nines, "0", "-0.000000000000000000000000000001", "1.5", "123456789.987654321"],
                      ["0", "9999999999", "-9999999999", "1000000000", "-1"],
                      ["0.00", "999.99", "-999.99", "-0.01", "12.50", "100.00"],
                      ["0.9", "-0.9", "0.0", "-0.1"],
                      ["0", "9999999999.9999999999", "0.0000000001", "1234567890.0123456789"],
                      ["9" * 65, "-" + "9" * 65, "0", "1" + "0" * 64],
                      ["0." + "9" * 38, "-0." + "0" * 37 + "1", "0"],
                      ["0.123456789", "-0.000000001", "0.999999999"]]))


def _floats() -> Family:
    return Family("f float, d double", _transposed([
        ["0", "1", "-1", "0.1", "3.4028234663852886e38", "-3.4028234663852886e38", "1.1754943508222875e-38", "1e-45",
         "16777217", "1e10", "-1.5e-7", "123456.789", "33554432", "0.3333333"],
        ["0", "-0e0", "1", "0.1", "1.7976931348623157e308", "-1.7976931348623157e308", "2.2250738585072014e-308",
         "4.9406564584124654e-324", "9007199254740993", "1e22", "1e21", "123456789.123456789", "0.3333333333333333",
         "1e-7", "5e-324", "100", "-2.5e300"]]))


_PLAIN = ["", " ", "a", "Hello, world", "quote \" and back\\slash / slash", "tab\tnew\nline\rreturn", "\x01\x1f\x7f",
          "</script>&amp;", "NULL", "true", "0123", "x" * 100, "a\x00b", "two  spaces"]
_LATIN = ["äöüß", "Ñandú ÀÉÎÕÜ", "©®°±½¿ÿ"]
_WIDE = ["漢字かな", "Ελληνικά", "עברית", "\u2028\u2029\ufeff", "\u200b"]
_ASTRAL = ["😀🎉", "𝒳 and \U0010ffff"]


def _text_family(charset: str, samples: List[str], collation: str) -> Family:
    definitions = "c1 char(1), c10 char(10), c120 char(120), v10 varchar(10), v300 varchar(300), tt tinytext, t text, " \
                  "mt mediumtext, lt longtext"
    rows = []
    for sample in samples:
        short = sample[:10].rstrip(" ") if len(sample) > 10 else sample
        # CHAR gives its trailing spaces up by itself; the others keep them.
        rows.append([quote(v) for v in (sample[:1], short, sample, short, sample, sample, sample + " ", sample * 3,
                                        sample + sample)])
    last = samples[-1][-1:] or "x"
    rows.append([quote(last), quote(last * 10), quote(last * 120), quote(last * 10), quote(last * 300),
                 quote(last * 60), f"REPEAT({quote(last)}, 16000)", f"REPEAT({quote(last)}, 70000)",
                 f"REPEAT({quote(samples[-1] or 'x')}, 90000)"])
    return Family(definitions, rows, f" DEFAULT CHARSET={charset} COLLATE={collation}")


def _latin1_bytes() -> Family:
    # Every byte that latin1 has, as the server converts it: 0x80 to 0x9f are Windows' characters.
    rows = [[f"CONVERT(X'{bytes(range(start, start + 16)).hex()}' USING latin1)"] for start in range(0x00, 0x100, 16)]
    return Family("v varchar(40)", rows, " DEFAULT CHARSET=latin1")


def _binaries() -> Family:
    everything = bytes(range(256))
    return Family("b1 binary(1), b8 binary(8), b255 binary(255), v8 varbinary(8), v300 varbinary(300), tb tinyblob, "
                  "b blob, mb mediumblob, lb longblob, cb varchar(50) character set binary",
                  _transposed([
                      ["X'00'", "X'ff'", "X'20'", "''"],
                      ["X'0000000000000000'", "X'61'", "X'6120'", "X'6100000000000000'", "X'ffffffffffffffff'", "''"],
                      ["X'" + everything[:255].hex() + "'", "X'00'", "X'ff00'"],
                      ["''", "X'00'", "X'0000'", "X'2020'", "X'ff00ff00ff00ff00'"],
                      ["X'" + (everything + everything[:44]).hex() + "'", "''", "X'22'", "X'5c'"],
                      ["''", "X'" + everything[1:256].hex() + "'", "X'f09f9880'"],
                      ["''", "REPEAT(X'00ff', 32767)", "X'c3'"],
                      ["REPEAT(X'0001fe', 30000)", "''", "X'ed'"],
                      ["REPEAT(X'deadbeef', 100000)", "X'00'"],
                      ["'plain'", "X'80'", "''"]]))


def _dates() -> Family:
    return Family("d date, y year", _transposed([
        ["'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'2024-00-00'", "'2024-05-00'", "'0001-01-01'",
         "'1969-12-31'"],
        ["0", "1901", "2155", "2000", "1970"]]))


def _times() -> Family:
    definitions, values = [], []
    for digits in range(7):
        fraction = "." + "987654321"[:digits] if digits else ""
        full = "." + "9" * digits if digits else ""
        definitions += [f"t{digits} time({digits})", f"dt{digits} datetime({digits})",
                        f"ts{digits} timestamp({digits}) null"]
        values += [[f"'{t}'" for t in ("00:00:00" + fraction, "-00:00:00" + fraction, "838:59:59" + full,
                                       "-838:59:59" + full, "23:59:59", "-01:00:00" + fraction, "00:00:00", "12:30:00",
                                       "-12:34:56" + full)],
                   [f"'{t}'" for t in ("0000-00-00 00:00:00", "1000-01-01 00:00:00" + fraction, "9999-12-31 23:59:59" + full,
                                       "2024-02-29 12:00:00" + fraction, "2024-00-00 01:02:03", "1970-01-01 00:00:00",
                                       "0001-01-01 00:00:00" + full)],
                   [f"'{t}'" for t in ("0000-00-00 00:00:00", "1970-01-01 00:00:01" + fraction, "2038-01-19 03:14:07" + full,
                                       "2024-03-31 02:30:00" + fraction, "2000-01-01 00:00:00")]]
    return Family(", ".join(definitions), _transposed(values))


def _choices() -> Family:
    many = ",".join(f"'label {n}'" for n in range(300))
    flags = ",".join(f"'f{n}'" for n in range(64))
    return Family(f"e enum('a','b','with space','it''s','ü','\"q\"','x,y'), e300 enum({many}), "
                  f"l enum('straße','café') character set latin1, s set('a','b','c d','ß','\"q\"'), s64 set({flags}), "
                  "s9 set('1','2','3','4','5','6','7','8','9')",
                  _transposed([
                      ["'a'", "'b'", "'with space'", "'it\\'s'", "'ü'", "'\"q\"'", "'x,y'", "0"],
                      ["'label 0'", "'label 254'", "'label 255'", "'label 299'"],
                      ["'straße'", "'café'"],
                      ["''", "'a'", "'a,b,c d,ß,\"q\"'", "'c d'", "'ß'"],
                      ["''", "'f0'", "'f63'", "18446744073709551615", "9223372036854775808"],
                      ["'9'", "'1,9'", "511", "''"]]))


def _bits() -> Family:
    definitions, values = [], []
    for width in (1, 2, 7, 8, 9, 31, 33, 63, 64):
        definitions.append(f"b{width} bit({width})")
        values.append(["0", "1", str(2 ** width - 1), str(2 ** (width - 1))])
    return Family(", ".join(definitions), _transposed(values))


_MYSQL_DOCUMENTS = ["{}", "[]", "null", "true", "false", "0", "-0.0", "1.50", "1e300", "-32769", "65536", "18446744073709551615",
                    "-9223372036854775808", "9007199254740993", '"text \\u00e4 \\n"', '""',
                    '{"a": [1, 2, {"b": null}], "a b": "ä😀"}', '{"b": 1, "aa": 2, "a": 3}',
                    '[' + ",".join(str(n) for n in range(3000)) + ']', '{"dup": 1, "dup": 2}',
                    '"' + "x" * 70000 + '"', "[" * 90 + "]" * 90]


def _mysql_documents() -> Family:
    """MySQL keeps a document in a form of its own: what SELECT shows of it is what must be served."""
    values = [[quote(s)] for s in _MYSQL_DOCUMENTS]
    values += [[f"CAST({v} AS JSON)"] for v in ("DATE '2024-02-29'", "TIMESTAMP '2024-02-29 12:00:00.000001'", "TIME '-12:30:00.5'",
                                                "1.50", "CAST(0.1 AS DECIMAL(40,30))")]
    values += [["JSON_OBJECT('d', 12345678901234567890.123456789, 'b', X'00ff', 'e', JSON_ARRAY())"],
               ["JSON_SET('{\"a\": [1, 2, 3]}', '$.a[1]', JSON_OBJECT('k', true))"]]
    return Family("j json", values)


def _documents() -> Family:
    samples = ["{}", "[]", "null", "true", "0", "-0.0", "1.50", "1e400", "123456789012345678901234567890",
               '"text \\u00e4 \\n"', '{"a": [1, 2, {"b": null}], "a b": "ä😀"}', ' { "spaces" :  1 } ',
               '[' + ",".join(str(n) for n in range(3000)) + ']', '{"dup": 1, "dup": 2}']
    return Family("j json, k longtext check (json_valid(`k`))", [[quote(s), quote(s)] for s in samples])


TABLES: Dict[str, Family] = {
    "t_integers": _integers(),
    "t_decimals": _decimals(),
    "t_floats": _floats(),
    "t_utf8mb4": _text_family("utf8mb4", _PLAIN + _LATIN + _WIDE + _ASTRAL, "utf8mb4_general_ci"),
    "t_utf8mb4_bin": _text_family("utf8mb4", _PLAIN + _ASTRAL, "utf8mb4_bin"),
    "t_utf8mb3": _text_family("utf8mb3", _PLAIN + _LATIN + _WIDE, "utf8mb3_general_ci"),
    "t_latin1": _text_family("latin1", _PLAIN + _LATIN, "latin1_swedish_ci"),
    "t_ascii": _text_family("ascii", _PLAIN, "ascii_general_ci"),
    "t_latin1_bytes": _latin1_bytes(),
    "t_binaries": _binaries(),
    "t_dates": _dates(),
    "t_times": _times(),
    "t_choices": _choices(),
    "t_bits": _bits(),
    "t_documents": _documents(),
}


class Keyed(NamedTuple):
    definition: str        # all columns and the key
    rows: List[List[str]]
    key: List[str]


_STRINGS = ["", "a", "A", " lead", "a b", "a,b", "a%2Cb", "a/b", ".", "..", "?", "#", "&", "=", "+", "ä", "😀", "a\tb",
            "\"", "\\", "x" * 190]

KEYED: Dict[str, Keyed] = {
    "k_bigint": Keyed("k bigint, v int, primary key (k)",
                      [[str(v), "1"] for v in (-(2 ** 63), -(2 ** 63) + 1, -1, 0, 1, 2 ** 63 - 1)], ["k"]),
    "k_unsigned": Keyed("k bigint unsigned, v int, primary key (k)",
                        [[str(v), "1"] for v in (0, 1, 2 ** 63 - 1, 2 ** 63, 2 ** 64 - 1)], ["k"]),
    "k_decimal": Keyed("k decimal(20,4), v int, primary key (k)",
                       [[v, "1"] for v in ("0.0000", "-0.0001", "12.5000", "-9999999999999999.9999", "0.1000")], ["k"]),
    "k_bin": Keyed("k varchar(200) collate utf8mb4_bin, v int, primary key (k)", [[quote(s), "1"] for s in _STRINGS], ["k"]),
    "k_nopad_bin": Keyed("k varchar(200) collate utf8mb4_nopad_bin, v int, primary key (k)",
                         [[quote(s), "1"] for s in _STRINGS + ["a ", "a  "]], ["k"]),
    "k_ci": Keyed("k varchar(200) collate utf8mb4_general_ci, v int, primary key (k)",
                  [[quote(s), "1"] for s in _STRINGS if s != "A" and s != "ä" and s != "\t"], ["k"]),
    "k_ascii": Keyed("k varchar(50) character set ascii collate ascii_bin, v int, primary key (k)",
                     [[quote(s), "1"] for s in ("", "a", "A", "role::program")], ["k"]),
    "k_latin1": Keyed("k varchar(50) character set latin1 collate latin1_bin, v int, primary key (k)",
                      [[quote(s), "1"] for s in ("", "ä", "Ä", "€", "é e")], ["k"]),
    "k_binary": Keyed("k binary(4), v int, primary key (k)",
                      [[f"X'{h}'", "1"] for h in ("00000000", "ffffffff", "61000000", "61002000", "fbefbe00")], ["k"]),
    "k_varbinary": Keyed("k varbinary(20), v int, primary key (k)",
                         [[f"X'{h}'", "1"] for h in ("", "00", "0000", "ff", "2c2f", "fbffbf")], ["k"]),
    "k_date": Keyed("k date, v int, primary key (k)",
                    [[v, "1"] for v in ("'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2024-02-29'")], ["k"]),
    "k_datetime": Keyed("k datetime(3), v int, primary key (k)",
                        [[v, "1"] for v in ("'1000-01-01 00:00:00.001'", "'9999-12-31 23:59:59.999'", "'2024-02-29 12:00:00'")],
                        ["k"]),
    "k_timestamp": Keyed("k timestamp(6), v int, primary key (k)",
                         [[v, "1"] for v in ("'1970-01-01 00:00:01.000001'", "'2038-01-19 03:14:07.999999'")], ["k"]),
    "k_time": Keyed("k time(2), v int, primary key (k)",
                    [[v, "1"] for v in ("'-838:59:59.99'", "'-00:00:00.01'", "'00:00:00'", "'838:59:59.99'")], ["k"]),
    "k_enum": Keyed("k enum('z','a','ü x'), v int, primary key (k)", [[quote(s), "1"] for s in ("z", "a", "ü x")], ["k"]),
    "k_year": Keyed("k year, v int, primary key (k)", [[v, "1"] for v in ("0", "1901", "2155")], ["k"]),
    "k_bit": Keyed("k bit(33), v int, primary key (k)", [[v, "1"] for v in ("0", "1", "8589934591")], ["k"]),
    "k_composite": Keyed("a int, b varchar(20) collate utf8mb4_bin, c date, v int, primary key (b, a, c)",
                         [[str(a), quote(b), c, "1"] for a in (-1, 0, 7) for b in ("", "a", "a,b", "a\x00", "a\x00b", "z ")
                          for c in ("'2024-01-01'", "'1999-12-31'")], ["b", "a", "c"]),
    "k_mixed": Keyed("a binary(2), b enum('x','y'), c decimal(6,2), d smallint unsigned, v int, primary key (a, b, c, d)",
                     [[f"X'{a}'", quote(b), c, d, "1"] for a in ("0000", "ff00") for b in ("x", "y")
                      for c in ("-1.50", "0.00", "9999.99") for d in ("0", "65535")], ["a", "b", "c", "d"]),
    "k_unique": Keyed("a int not null, b int not null, v int, unique key only_key (a, b)",
                      [["1", "1", "1"], ["1", "2", "1"], ["-5", "7", "1"]], ["a", "b"]),
}


def tables_of(server: str) -> Dict[str, Family]:
    """What the server has of them."""
    if server != "mysql":
        return TABLES
    decimals = TABLES["t_decimals"]
    return {**TABLES, "t_documents": _mysql_documents(),
            "t_decimals": decimals._replace(columns=decimals.columns.replace("decimal(38,38)", "decimal(38,30)"))}


def keyed_of(server: str) -> Dict[str, Keyed]:
    # MySQL's collations that do not pad are those of version 9.0.0 of Unicode.
    if server != "mysql":
        return KEYED
    nopad = KEYED["k_nopad_bin"]
    return {**KEYED, "k_nopad_bin": nopad._replace(definition=nopad.definition.replace("utf8mb4_nopad_bin", "utf8mb4_0900_bin"))}
