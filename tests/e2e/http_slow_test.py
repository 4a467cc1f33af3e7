"""slowhttptest's attacks on a replica and a writer, in a short form; tests/http/slowhttptest.sh has the long one.

RINGSIDE_SLOW_SECONDS makes each attack longer.
"""

import os
import resource
import subprocess
import unittest

from harness import ROOT, StackCase

SECONDS = os.environ.get("RINGSIDE_SLOW_SECONDS") or "6"
CONNECTIONS = "800"


class Slow(StackCase):
    REPLICAS = 1
    SETTINGS = '[replica]\nhead_timeout = "2s"'

    @classmethod
    def prepare(cls) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        with cls.stack.session() as session:
            session.execute("CREATE TABLE words (w VARCHAR(50) COLLATE utf8mb4_bin PRIMARY KEY, t MEDIUMTEXT);"
                            "INSERT INTO words VALUES ('large', REPEAT('x', 200000))")
        cls.stack.start()

    def test_both_stay_available(self) -> None:
        """Both at once: the attacks are mostly waiting."""
        attacks = [subprocess.Popen([str(ROOT / "tests" / "http" / "slowhttptest.sh"),
                                     f"http://127.0.0.1:{port}/v1/words/large", SECONDS, CONNECTIONS],
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                   for port in (self.stack.data_port, self.stack.writer_port)]
        for attack in attacks:
            out, _ = attack.communicate(timeout=280)
            print(out)
            self.assertEqual(attack.returncode, 0, out)
        for connection in (self.stack.to_data_port(), self.stack.to_writer()):
            with connection:
                self.assertEqual(connection.request("GET", "/v1/words/large").status, 200)


if __name__ == "__main__":
    unittest.main()
