"""Where the search for due rows begins, so that it does not step over what was claimed long ago.

A row that was claimed leaves a dead entry in the index of due rows. PostgreSQL cannot remove it while any old transaction is
open, anywhere in the database, and every claim would step over all of them again. A claim therefore begins a little before
the earliest row that the last one found; what stands before it (a commit that came late, a clock that ran behind) is found
by a search from the beginning every few seconds.
"""

from __future__ import annotations

from typing import Final

from surehook.clock import Millis

#: How far before the last find a search begins, in milliseconds.
MARGIN: Final = 10_000

#: How often everything is searched, in seconds.
EVERYTHING: Final = 5.0


class Floor:
    """One queue's beginning."""

    def __init__(self) -> None:
        self._since = Millis(0)
        self._searched = float("-inf")

    def since(self, now: float) -> Millis:
        """The earliest due time to look at; ``now`` is a monotonic clock's, in seconds."""
        if now - self._searched >= EVERYTHING:
            self._searched = now
            return Millis(0)
        return self._since

    def found(self, head: Millis | None) -> None:
        """The earliest due time of what was claimed, None for nothing."""
        if head is not None:
            self._since = Millis(max(0, head - MARGIN))
