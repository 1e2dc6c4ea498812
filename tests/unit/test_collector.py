"""``surehook run`` looks for garbage in cycles rarely, and not among what lives from start to end."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import gc
from surehook.wiring.running import collect_rarely
before = gc.get_threshold()[0]
collect_rarely()
print(gc.get_freeze_count() > 10_000, gc.get_threshold()[0] > before, gc.isenabled())
"""


CONNECTIONS = """
import gc
from surehook.wiring.running import collect_rarely

class Connection:
    live = 0
    def __init__(self):
        self.parser, self.transport = [self], {}
        self.transport["of"] = self
        Connection.live += 1
    def __del__(self):
        Connection.live -= 1

collect_rarely()
most = 0
for _ in range(400):
    living = [Connection() for _ in range(64)]
    young = [[] for _ in range(11_000)]  # a search, while they live
    del living, young
    most = max(most, Connection.live)
print(most)
"""


def test_what_outlives_a_search_does_not_stay_for_hours() -> None:
    """Connections are cycles, and they live longer than the young: 25,600 of them came and went."""
    done = subprocess.run([sys.executable, "-c", CONNECTIONS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1_000


def test_what_was_loaded_is_left_out_and_the_rest_is_still_collected() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
