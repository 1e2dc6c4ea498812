"""What is announced through Redis, on its way there: gathered, bounded, and forgotten when it cannot be told for long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from surehook.errors import Unavailable
from surehook.ids import EventId
from surehook.queue.outage import Outage, Tally
from surehook.queue.redis_link import RedisLink
from surehook.service import pause

#: Ids that wait in this process; of more, the oldest are dropped.
MAX_WAITING: Final = 100_000
#: Ids in Redis above which none are added: it may be shared with others, and perhaps no worker runs.
MAX_LENGTH: Final = 1_000_000
#: Ids in Redis above which those that were announced before are not added again: workers have enough to do, and most
#: of them are in the list already. As many as one sweep finds, so the list of a backlog stays near this length.
ENOUGH: Final = 1_000
#: Ids in one command.
_CHUNK: Final = 1_000
#: Seconds from one command to the next, unless chunks wait: under load a few share one.
_GAP: Final = 0.002


class Announcements:
    """A buffer and the task that empties it into Redis: ids onto the list, destinations of messages to the channel."""

    def __init__(self, link: RedisLink, key: str, channel: str, sender: str, keep: float) -> None:
        """``sender`` is the first line of what goes to the channel, so that the sender can tell its own.

        ``keep``: seconds without Redis after which what waits is forgotten.
        """
        self._link = link
        self._keep = keep
        self._key = key
        self._channel = channel
        self._sender = sender
        self._ids: deque[EventId] = deque(maxlen=MAX_WAITING)
        self._again: deque[EventId] = deque(maxlen=MAX_WAITING)
        self._destinations: set[str] | None = None
        self._length = 0
        self._filled = asyncio.Event()
        self._stop = asyncio.Event()
        self._outage = Outage("announcing events through Redis")
        self._publishing = Outage("announcing messages through Redis")
        self._dropped = Tally(
            "%d announcements were dropped: Redis cannot be told; the sweep finds the events", "queue.dropped"
        )
        self._full = Tally(
            f"%d announcements were dropped: {MAX_LENGTH} wait in Redis; does any worker run?", "queue.full"
        )

    def add(self, ids: Sequence[EventId], *, again: bool = False) -> None:
        """Announce these. Never waits."""
        waiting = self._again if again else self._ids
        self._dropped.add(max(0, len(waiting) + len(ids) - MAX_WAITING))
        waiting.extend(ids)
        self._filled.set()

    def add_destinations(self, names: frozenset[str]) -> None:
        """Announce messages for these; the empty set means any."""
        known = self._destinations
        self._destinations = set(names) if known is None else known | names if known and names else set()
        self._filled.set()

    async def run(self) -> None:
        """Empty the buffer whenever it fills. Ends after ``stop``, when it is empty or cannot be emptied now."""
        while not self._stop.is_set():
            await self._filled.wait()
            if not self._link.up.is_set():
                await self._await_link()
            else:
                await self._push()
                if len(self._ids) < _CHUNK:
                    await asyncio.sleep(_GAP)
        while self._filled.is_set() and self._link.up.is_set():
            await self._push()

    def stop(self) -> None:
        """Let ``run`` end."""
        self._stop.set()
        self._filled.set()

    async def _await_link(self) -> None:
        """Wait for Redis, and forget what waits when that takes long: replaying hours of it would help nobody."""
        await pause(self._link.up, self._keep * 1000)
        if not self._link.up.is_set():
            self._forget()

    def _forget(self) -> None:
        self._dropped.add(len(self._ids))
        self._ids.clear()
        self._again.clear()

    async def _push(self) -> None:
        """One round trip."""
        self._filled.clear()
        if self._outage.rest:
            self._forget()
        fresh = _taken(self._ids)
        again = () if fresh else _taken(self._again)
        destinations, self._destinations = self._destinations, None
        try:
            async with self._link.within(self._link.patience):
                await self._tell(fresh, again, destinations)
        except Unavailable:
            # told twice is better than not at all
            self.add(fresh)
            if destinations is not None:
                self.add_destinations(frozenset(destinations))
        except ResponseError as error:
            self._outage.failed(error)
            self._dropped.add(len(fresh))
        if self._ids or self._again or self._destinations is not None:
            self._filled.set()

    async def _tell(
        self, fresh: Sequence[EventId], again: Sequence[EventId], destinations: set[str] | None
    ) -> None:
        if again or (fresh and self._length >= MAX_LENGTH):
            self._length = await self._link.quick.llen(self._key)
            again = again if self._length < ENOUGH else ()
        if fresh and self._length >= MAX_LENGTH:
            self._full.add(len(fresh))
            fresh = ()
        ids = (*fresh, *again)
        commands = self._link.quick.pipeline(transaction=False)
        if ids:
            commands.rpush(self._key, *ids)
        if destinations is not None and not self._publishing.rest:
            commands.publish(self._channel, "\n".join([self._sender, *sorted(destinations)]))
        # whether one is refused says nothing about the other: memory can be full, a right can be missing
        answers: list[Any] = await commands.execute(raise_on_error=False)
        if destinations is not None and len(answers) > bool(ids):
            self._published(answers.pop())
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            self._length = answer
            self._outage.worked()

    def _published(self, answer: object) -> None:
        if isinstance(answer, Exception):
            self._publishing.failed(answer)
        else:
            self._publishing.worked()


def _taken(waiting: deque[EventId]) -> list[EventId]:
    return [waiting.popleft() for _ in range(min(_CHUNK, len(waiting)))]
