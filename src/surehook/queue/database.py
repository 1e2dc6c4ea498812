"""The database is the queue: events are claimed by due order, and announcements in this process wake the workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from surehook.ids import EventId


class DatabaseQueue:
    """Names no ids; it only wakes who waits in the same process. Other processes find new events by their poll."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def announce(self, ids: Sequence[EventId]) -> None:
        """Wake a waiting worker."""
        if ids:
            self._news.set()

    async def next(self, limit: int, wait: float) -> None:
        """Wait up to ``wait`` seconds for an announcement. The answer is always None: ask the database."""
        del limit
        try:
            async with asyncio.timeout(wait):
                await self._news.wait()
        except TimeoutError:
            return
        finally:
            self._news.clear()

    async def depth(self) -> None:
        """The database knows."""
        return
