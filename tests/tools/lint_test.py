"""Each rule of tools/lint finds what it is for, and leaves alone what is allowed."""

import importlib.machinery
import importlib.util
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
_loader = importlib.machinery.SourceFileLoader("lint", str(ROOT / "tools" / "lint"))
_spec = importlib.util.spec_from_loader("lint", _loader)
lint = importlib.util.module_from_spec(_spec)
_loader.exec_module(lint)

HEAD = "// What it is.\n//\n// Threads: values.\n#pragma once\n"


class Lint(unittest.TestCase):
    def rules(self, name: str, text: str):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
            return [(f.rule, f.line) for f in lint.check_tree(Path(folder))]

    def test_layers_are_kept(self):
        for folder, name in (("base", "shm/ring.h"), ("shm", "http/request.h"), ("http", "shm/ring.h"),
                             ("writer", "replica/index.h"), ("replica", "writer/capture.h"),
                             ("replica", "mysql.h"), ("replica", "mariadb/mysql.h"), ("replica", "cppconn/driver.h"),
                             ("replica", "boost/asio.hpp"), ("writer", "liburing.h"), ("writer", "tests/x.h"),
                             ("tools", "replica/index.h"), ("tools", "liburing.h"), ("shm", "tools/ring/dump.h")):
            for text in (f'#include "{name}"\n', f"  # include <{name}>\n"):
                self.assertEqual(self.rules(f"{folder}/a.cc", text), [("layering", 1)], (folder, name))

    def test_what_a_layer_may_use_is_no_finding(self):
        for folder, name in (("shm", "base/bytes.h"), ("writer", "shm/ring.h"), ("writer", "mysql.h"),
                             ("replica", "liburing.h"), ("tests", "replica/index.h"), ("base", "vector"),
                             ("writer", "boost/beast.hpp"), ("tools", "shm/ring.h"), ("tests", "tools/ring/dump.h")):
            self.assertEqual(self.rules(f"{folder}/a.cc", f"#include <{name}>\n"), [], (folder, name))

    def test_long_files_are_found(self):
        self.assertEqual(self.rules("shm/a.cc", "\n" * 601), [("size", 601)])
        self.assertEqual(self.rules("shm/a.cc", "\n" * 600), [])
        self.assertEqual(self.rules("shm/a.h", HEAD + "\n" * 297), [("size", 301)])
        self.assertEqual(self.rules("shm/a_impl.h", HEAD + "\n" * 500), [])

    def test_words_are_forbidden_in_code_only(self):
        self.assertEqual(self.rules("shm/a.cc", "\nvolatile int x;\n"), [("forbidden", 2)])
        self.assertEqual(self.rules("shm/a.cc", "std::atomic_thread_fence(o);\n"), [("forbidden", 1)])
        self.assertEqual(self.rules("shm/a.cc", "try { f(); } catch (...) {\n}\n"), [("forbidden", 1)])
        self.assertEqual(self.rules("tests/a.cc", "std::this_thread::sleep_for(t);\n"), [("forbidden", 1)])
        self.assertEqual(self.rules("writer/a.cc", "std::this_thread::sleep_for(t);\n"), [])
        self.assertEqual(self.rules("tests/a.cc", "using namespace std;\n"), [("forbidden", 1)])
        self.assertEqual(self.rules("tests/a.cc", "using namespace std::chrono_literals;\n"), [])
        for text in ("// no volatile here\n", "/* volatile\n */\n", 'auto s = "volatile";\n',
                     'auto s = R"(a "volatile" b)";\n', 'char c = \'"\'; auto s = "volatile";\n',
                     "auto n = 1'000'000; // volatile '\n"):
            self.assertEqual(self.rules("shm/a.cc", text), [], text)

    def test_code_after_a_literal_is_still_seen(self):
        self.assertEqual(self.rules("shm/a.cc", "auto n = 1'000;\nvolatile int x;\nauto m = 2'000;\n"),
                         [("forbidden", 2)])
        self.assertEqual(self.rules("shm/a.cc", 'auto s = "\\"";\nvolatile int x; auto t = "";\n'),
                         [("forbidden", 2)])

    def test_unfinished_work_is_found_in_comments_too(self):
        self.assertEqual(self.rules("shm/a.cc", "// TO" + "DO: later\n"), [("unfinished", 1)])

    def test_headers_say_what_they_are(self):
        self.assertEqual(self.rules("shm/a.h", HEAD), [])
        self.assertEqual(self.rules("shm/a.h", HEAD.replace("#pragma once\n", "")), [("header", 1)])
        self.assertEqual(self.rules("shm/a.h", HEAD.replace("Threads:", "")), [("header", 1)])
        self.assertEqual(self.rules("shm/a.h", "#pragma once\n"), [("header", 1)])

    def test_this_tree_is_clean(self):
        self.assertEqual([f"{f.path}:{f.line}: {f.rule}: {f.text}" for f in lint.check_tree(ROOT)], [])


if __name__ == "__main__":
    unittest.main()
