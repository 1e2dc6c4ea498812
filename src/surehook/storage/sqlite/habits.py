"""What is remembered of the handlers' transactions, so that those that hurt others are kept apart from them."""

from __future__ import annotations

import logging
from typing import Final

logger = logging.getLogger(__name__)

#: A transaction that held its turn longer than this is slow; a statement this long blocks the loop noticeably. Seconds.
SLOW_TURN: Final = 0.02
SLOW_STATEMENT: Final = 0.05

#: So many statements in a row must be short before a kind's statements come back to the loop: one that another program's
#: load has slowed down says little, and every hop to a thread costs more than most statements.
FORGIVEN: Final = 100

#: Kinds that are remembered at once; types come from outside and must not fill the memory.
REMEMBERED: Final = 1_000


class Habits:
    """Which kinds of events (provider and type) have handlers that are better kept from others, as last seen."""

    def __init__(self) -> None:
        self._slow: set[str] = set()
        #: With how many short statements each has run since its last long one.
        self._heavy: dict[str, int] = {}
        self._harmful: set[str] = set()

    def is_slow(self, kind: str) -> bool:
        """It gets a turn of its own: its last one was long, or one of them has cost others theirs."""
        return kind in self._slow or kind in self._harmful

    def is_heavy(self, kind: str) -> bool:
        """It has run a statement long enough to be kept off the event loop."""
        return kind in self._heavy

    def saw_turn(self, kind: str, seconds: float) -> None:
        """Remember how long a transaction took."""
        if seconds > SLOW_TURN:
            _remember(self._slow, kind)
        else:
            self._slow.discard(kind)

    def saw_harm(self, kind: str) -> None:
        """It made SQLite roll the whole turn back (OR ROLLBACK, RAISE(ROLLBACK), an interrupted write)."""
        _remember(self._harmful, kind)

    def saw_statement(self, kind: str, seconds: float, sql: str) -> None:
        """Remember a long statement, and say it once; forget it after many short ones."""
        short = self._heavy.get(kind)
        if seconds > SLOW_STATEMENT:
            if short is None:
                text = sql.strip()[:200]
                logger.warning("a statement took %d ms while everyone else waited: %s", seconds * 1000, text)
                if len(self._heavy) >= REMEMBERED:
                    self._heavy.clear()
            self._heavy[kind] = 0
        elif short is not None:
            self._heavy[kind] = short + 1
            if short + 1 >= FORGIVEN:
                del self._heavy[kind]


def _remember(kinds: set[str], kind: str) -> None:
    if len(kinds) >= REMEMBERED:
        kinds.clear()
    kinds.add(kind)
