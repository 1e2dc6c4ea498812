"""How fast a destination takes messages: it decides how many are claimed before there is a slot for them."""

from __future__ import annotations

from typing import Final

from surehook.clock import Millis

#: The time that is looked back on, in milliseconds: at least, and at most where claims take long.
WINDOW: Final = 100
LONGEST_WINDOW: Final = 1_000


class Pace:
    """Counts what ended lately, in two windows: the present one and the one before it."""

    def __init__(self) -> None:
        self._window = WINDOW
        self._begun = Millis(0)
        self._now = 0
        self._before = 0

    def note(self, count: int, now: Millis) -> None:
        """So many tries ended now."""
        self._turn(now)
        self._now += count

    def claimed(self, took: int) -> None:
        """A claim took so many milliseconds: what is in hand has to last for the next one, so it is looked back further."""
        self._window = min(max(WINDOW, 2 * took), LONGEST_WINDOW)

    def recent(self, now: Millis) -> int:
        """How many tries ended in the last window, or two; 0 for a destination that hangs."""
        self._turn(now)
        return self._now + self._before

    def _turn(self, now: Millis) -> None:
        passed = now - self._begun
        if 0 <= passed < self._window:
            return
        self._before = self._now if 0 <= passed < 2 * self._window else 0
        self._now = 0
        self._begun = now
