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


def test_what_was_loaded_is_left_out_and_the_rest_is_still_collected() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
