"""The inbox: ``accept()`` is the only way in, and returns when the events are durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from surehook.clock import Clock
from surehook.grouping import GroupCommit
from surehook.model import Accepted, Arrival
from surehook.queue import Queue
from surehook.states import EventState
from surehook.storage import Storage


class Inbox:
    """Stores arrivals by group commit and tells the queue what is new."""

    def __init__(self, storage: Storage, queue: Queue, clock: Clock, *, waiting: int = 10_000) -> None:
        self._storage = storage
        self._queue = queue
        self._clock = clock
        self._commits = GroupCommit(self._store, waiting=waiting)

    async def accept(self, arrival: Arrival) -> list[Accepted]:
        """Store one request; returns, once it is durable, what became of each of its events.

        Raises Overloaded when too many wait, Unavailable when the database cannot, CommitUnknown when nobody can tell
        whether it did: in all three cases the sender is to send again.
        """
        return await self._commits.put(arrival)

    def submit(self, arrival: Arrival, done: Callable[[list[Accepted] | Exception], None]) -> None:
        """As ``accept``: ``done`` is called once, with the answer or with the error, perhaps before this returns."""
        self._commits.submit(arrival, done)

    async def drain(self) -> None:
        """Wait until everything that was handed in is stored or refused."""
        await self._commits.drain()

    async def _store(self, arrivals: Sequence[Arrival]) -> list[list[Accepted]]:
        accepted = await self._storage.accept(arrivals)
        fresh = [
            event.id
            for events in accepted
            for event in events
            if not event.duplicate and event.state is EventState.RECEIVED
        ]
        if fresh:
            self._queue.announce(fresh)
        return accepted
