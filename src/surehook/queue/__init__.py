"""The queue seam: which events may be worth claiming now. The database stays the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from surehook.ids import EventId


class Queue(Protocol):
    """Hints for workers. Losing any of them costs time, never an event: the sweep and the poll find what was lost."""

    def announce(self, ids: Sequence[EventId]) -> None:
        """These events became due, and are committed. Never fails and never waits."""
        ...

    async def next(self, limit: int, wait: float) -> Sequence[EventId] | None:
        """Up to ``limit`` ids that may be worth claiming, or None: ask the database by due order.

        Waits at most ``wait`` seconds for an announcement, then answers None.
        """
        ...

    async def depth(self) -> int | None:
        """How many announcements wait, or None where the queue is the database itself."""
        ...
