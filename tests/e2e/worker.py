"""One thread of a test's load: what the storm and the kills do while they put programs down.

Threads: a Worker is one; it tells its test by `case.errors` and the event `case.stopping`, which every Worker of the test
shares.
"""

import random
import threading
from typing import Callable


class Worker(threading.Thread):
    """Does one thing again and again until told to stop; its first error ends the test."""

    def __init__(self, case, name: str, work: Callable[["Worker"], None], seed: int):
        """`case`: has `stopping` and `errors`. `seed`: the test's; each Worker draws lots of its own from it."""
        super().__init__(name=name, daemon=True)
        self.done = 0
        self.rng = random.Random(f"{seed} {name}")
        self._case = case
        self._work = work

    def run(self) -> None:
        try:
            self._work(self)
        except BaseException as error:  # handed to the main thread, which raises it
            self._case.errors.append((self.name, error))
            self._case.stopping.set()

    def goes_on(self) -> bool:
        return not self._case.stopping.is_set()

    def rest(self, seconds: float = 0.01) -> None:
        """After a refusal: the other side is being restarted."""
        self._case.stopping.wait(seconds)
