"""How fast a destination takes messages."""

from __future__ import annotations

from surehook.clock import Millis
from surehook.publish.pace import LONGEST_WINDOW, WINDOW, Pace

START = 1_790_000_000_000


def at(milliseconds: int) -> Millis:
    return Millis(START + milliseconds)


def test_what_ended_in_this_window_and_the_one_before_counts() -> None:
    pace = Pace()
    assert pace.recent(at(0)) == 0
    pace.note(3, at(0))
    pace.note(4, at(WINDOW - 1))
    assert pace.recent(at(WINDOW - 1)) == 7
    pace.note(1, at(WINDOW))
    assert pace.recent(at(2 * WINDOW - 1)) == 8
    assert pace.recent(at(2 * WINDOW)) == 1
    assert pace.recent(at(3 * WINDOW)) == 0


def test_a_destination_that_hangs_has_no_pace() -> None:
    pace = Pace()
    pace.note(50, at(0))
    assert pace.recent(at(10 * WINDOW)) == 0
    pace.note(1, at(10 * WINDOW))
    assert pace.recent(at(10 * WINDOW)) == 1


def test_a_clock_that_is_set_back_is_a_new_beginning() -> None:
    pace = Pace()
    pace.note(50, at(0))
    assert pace.recent(at(-1)) == 0
    pace.note(2, at(-1))
    assert pace.recent(at(0)) == 2


def test_where_claims_take_long_it_looks_back_further() -> None:
    pace = Pace()
    pace.claimed(4 * WINDOW)
    pace.note(50, at(0))
    assert pace.recent(at(7 * WINDOW)) == 50
    assert pace.recent(at(8 * WINDOW)) == 50
    assert pace.recent(at(16 * WINDOW)) == 0
    pace.claimed(60_000)
    pace.note(50, at(20 * WINDOW))
    assert pace.recent(at(20 * WINDOW + 2 * LONGEST_WINDOW)) == 0
    pace.claimed(0)
    pace.note(50, at(60 * WINDOW))
    assert pace.recent(at(62 * WINDOW)) == 0
