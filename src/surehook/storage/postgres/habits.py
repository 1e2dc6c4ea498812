"""What is remembered of handlers' transactions, so that those that cost others theirs are kept apart from them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from surehook.ids import EventId

logger = logging.getLogger(__name__)

#: How long a kind of event stays apart when it has cost others something, in seconds; twice as long if it soon does again.
APART: Final = 60.0
LONGEST_APART: Final = 86_400.0

#: Kinds and events that are remembered; types come from outside and must not fill the memory.
REMEMBERED: Final = 1_000


class Habits:
    """Which kinds (provider and type) and which events get a transaction of their own. ``clock`` is steady, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: Until when, and how long that is in all.
        self._kinds: dict[str, tuple[float, float]] = {}
        self._events: dict[EventId, None] = {}

    def is_alone(self, kind: str, id: EventId) -> bool:
        """Whether it is better not to let it share a transaction. An event is remembered for one attempt."""
        if id in self._events:
            del self._events[id]
            return True
        until, _ = self._kinds.get(kind, (0.0, 0.0))
        return self._clock() < until

    def saw_harm(self, kind: str) -> None:
        """It held its turn, waited for a lock in it, or does what cannot be shared. A busy machine makes it look so too."""
        now = self._clock()
        until, before = self._kinds.pop(kind, (now, 0.0))
        length = APART if now > until + before else min(2 * before, LONGEST_APART) or APART
        if len(self._kinds) >= REMEMBERED:
            del self._kinds[next(iter(self._kinds))]
        self._kinds[kind] = (now + length, length)
        logger.info("the transactions of %s share no commit with others' for %d s", kind, length)

    def saw_loss(self, id: EventId) -> None:
        """Its turn was rolled back, and nobody knows because of whom: the next attempt shows it."""
        if len(self._events) >= REMEMBERED:
            del self._events[next(iter(self._events))]
        self._events[id] = None
