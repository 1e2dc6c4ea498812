"""Where the search for due rows begins, so that it does not step over what was claimed long ago.

A row that was claimed leaves a dead entry in the index of due rows. PostgreSQL cannot remove it while any old transaction is
open, anywhere in the database, and every claim would step over all of them again. A claim therefore begins a little before
the earliest row that the last one found; what stands before it (a commit that came late, a clock that ran behind, what
another process has let go) is found by a search from the beginning every few seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from surehook.clock import Millis

Claims = TypeVar("Claims", bound=Sequence[object])

#: How far before the last find a search begins, in milliseconds.
MARGIN: Final = 10_000

#: How often everything is searched, in seconds; and how many times as long as such a search took, if that is longer: with
#: millions of dead entries it takes seconds, and must not take the better part of them.
EVERYTHING: Final = 5.0
_SHARE: Final = 20


class Floor:
    """One queue's beginning. ``clock`` is a steady one, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = Millis(0)
        self._next = float("-inf")

    async def search(self, claim: Callable[[Millis], Awaitable[tuple[Claims, Millis | None]]]) -> Claims:
        """Claim what is due since the moment that is given to ``claim``, which tells the earliest one that it found."""
        begun = self._clock()
        everything = begun >= self._next
        try:
            claims, head = await claim(Millis(0) if everything else self._since)
        finally:
            if everything:
                ended = self._clock()
                self._next = ended + max(EVERYTHING, _SHARE * (ended - begun))
        if head is not None:
            self._since = Millis(max(0, head - MARGIN))
        return claims
