"""The database is the queue: events are claimed by due order, and announcements in this process wake the workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from surehook.ids import EventId

logger = logging.getLogger(__name__)


class DatabaseQueue:
    """Names no ids; it only wakes who waits in the same process. Other processes find new events by their poll."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._callbacks: list[Callable[[frozenset[str]], None]] = []
        self._closed = False

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """End waiting calls."""
        self._closed = True
        self._news.set()

    def announce(self, ids: Sequence[EventId], *, again: bool = False) -> None:
        """Wake a waiting worker."""
        del again
        if ids:
            self.wake()

    def wake(self) -> None:
        """There may be something to claim."""
        self._news.set()

    async def next(self, limit: int, wait: float) -> None:
        """Wait up to ``wait`` seconds for an announcement. The answer is always None: ask the database."""
        del limit
        if self._closed:
            return
        try:
            async with asyncio.timeout(wait):
                await self._news.wait()
        except TimeoutError:
            return
        finally:
            self._news.clear()

    def announce_messages(self, destinations: frozenset[str]) -> None:
        """Wake the publishers of this process."""
        for callback in self._callbacks:
            try:
                callback(destinations)
            except Exception:
                # who announces has committed already and has nothing to do with what goes wrong here
                logger.exception("a publisher could not be woken", extra={"event": "queue.callback_failed"})

    def on_messages(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Call this for every announcement of messages."""
        self._callbacks.append(callback)

    async def depth(self) -> None:
        """The database knows."""
        return
