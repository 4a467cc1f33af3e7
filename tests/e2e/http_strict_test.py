"""Every line of http_cases.py against the real programs: in one piece, byte by byte, and with an end behind it."""

import unittest
from typing import List

from harness import StackCase
from http_cases import CASES, PROBE, Case, Expected
from http_raw import Address, Answer, RawClient, Unanswered


class StrictHttp(StackCase):
    REPLICAS = 1

    @classmethod
    def prepare(cls) -> None:
        with cls.stack.session() as session:
            session.execute("CREATE TABLE words (w VARCHAR(50) COLLATE utf8mb4_bin PRIMARY KEY, n INT);"
                            "INSERT INTO words VALUES ('strict', 1)")
        cls.stack.start()
        cls.servers = {"replica": ("127.0.0.1", cls.stack.data_port), "writer": ("127.0.0.1", cls.stack.writer_port)}

    @staticmethod
    def _answers(client: RawClient, case: Case, expected: Expected) -> List[Answer]:
        return [client.receive(case.to_head) for _ in expected.statuses]

    def _check(self, address: Address, case: Case, expected: Expected, step: int) -> None:
        with RawClient(address) as client:
            client.send(case.data, step)
            answers = self._answers(client, case, expected)
            last = answers[-1]
            self.assertEqual(tuple(a.status for a in answers), expected.statuses, answers)
            self.assertEqual(last.closes, expected.closes, last)
            if case.problem and not case.to_head:
                self.assertEqual(last.problem, case.problem, last)
            if last.status >= 400 and not case.to_head:
                self.assertTrue(last.problem, last)
            if expected.closes:
                self.assertEqual(client.rest(), b"", "something follows the last answer")
            else:
                client.send(PROBE)
                probe = client.receive()
                self.assertEqual((probe.status, probe.problem), (404, "not-found"), f"the connection is out of step: {probe}")

    def _check_all(self, step: int) -> None:
        for case in CASES:
            if step and not case.cuts:
                continue
            for name, expected in (("replica", case.replica), ("writer", case.writer)):
                with self.subTest(server=name, case=case.name, data=case.data[:200]):
                    try:
                        self._check(self.servers[name], case, expected, step)
                    except Unanswered as error:
                        self.fail(str(error))

    def test_in_one_piece(self) -> None:
        self._check_all(0)

    def test_byte_by_byte(self) -> None:
        self._check_all(1)

    def test_nothing_smuggled_has_changed_anything(self) -> None:
        """After the tests above: of all that was sent only well-formed commands have done anything."""
        with self.stack.session() as session:
            self.assertEqual(session.value("SELECT GROUP_CONCAT(w, '=', n) FROM words"), "strict=1")

    def test_the_table_is_whole(self) -> None:
        names = [case.name for case in CASES]
        self.assertEqual(len(names), len(set(names)), "a name stands twice")
        self.assertGreater(len(names), 250)

    def test_a_client_that_has_finished_sending_is_answered(self) -> None:
        for name, address in self.servers.items():
            with self.subTest(server=name), RawClient(address) as client:
                client.send(PROBE * 50 + PROBE[:20])
                client.finish_sending()
                for _ in range(50):
                    self.assertEqual(client.receive().status, 404)
                self.assertEqual(client.rest(), b"", "half a request is none")


if __name__ == "__main__":
    unittest.main()
