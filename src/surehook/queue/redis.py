"""A list of ids in Redis, and a channel that wakes publishers. Redis may fail in any way: polls find the work then.

The list holds hints and no state. An id that is popped and then not claimed, because the worker dies or its database
does not answer, stays due in the database: the sweep announces it again. The same goes for ids that Redis was giving
out when a connection broke or the process was killed.

Redis 6.2 or newer; from 7.0 on a wait and the pop of many are one command.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from redis.asyncio.client import PubSub
from redis.exceptions import ResponseError

from surehook.errors import Unavailable
from surehook.ids import EventId
from surehook.queue.database import DatabaseQueue
from surehook.queue.outage import Outage, Tally
from surehook.queue.redis_link import CONNECT_WITHIN, RedisLink
from surehook.queue.redis_push import Announcements

logger = logging.getLogger(__name__)

#: Seconds that one command blocks; longer waits are made of several. A hanging Redis is found so much sooner, and a call
#: that was cancelled leaves a pop behind for no longer.
_SLICE: Final = 1.0
#: Redis counts milliseconds, and takes a wait of 0 to be one without end: shorter ones do not block at all.
_SHORTEST: Final = 0.01
_ID_LENGTH: Final = 16


class RedisQueue:
    """Gives out ids across processes. While Redis fails, ``next`` waits for this process's announcements and says None."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "surehook",
        patience: float = 1.0,
        keep: float = 10.0,
        probe: float = 5.0,
    ) -> None:
        """``prefix`` begins the names of the key and the channel. Channels are common to all databases of a Redis.

        ``keep``: seconds after which announcements that Redis could not be told are forgotten; no less than the time
        between two sweeps, which find those events. ``probe``: seconds of silence on the channel before Redis is asked
        whether the connection still lives. ``patience``: seconds for a command that does not block. Raises
        ConfigurationError for a URL that cannot work.
        """
        self._key = f"{prefix}:due"
        self._channel = f"{prefix}:messages"
        self._probe = probe
        self._sender = secrets.token_hex(8)
        self._link = RedisLink(url, patience)
        self._announcements = Announcements(self._link, self._key, self._channel, self._sender, keep)
        #: Announcements of this process, and what ``next`` falls back to.
        self._local = DatabaseQueue()
        self._link.on_up(self._local.wake)
        self._popping = Outage(f"taking ids from the list {self._key!r} in Redis", level=logging.ERROR)
        self._hearing = Outage(f"hearing the channel {self._channel!r} of Redis")
        self._garbage = Tally(
            f"%d entries of the list {self._key!r} in Redis were no ids and were dropped", "queue.garbage"
        )
        self._pops: set[asyncio.Task[list[EventId]]] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    async def start(self) -> None:
        """Begin to connect, in the background."""
        for name, run in (
            ("link", self._link.keep),
            ("push", self._announcements.run),
            ("channel", self._hear),
        ):
            self._tasks[name] = asyncio.create_task(self._repeat(run), name=f"surehook-redis-{name}")

    async def close(self) -> None:
        """Tell Redis what it was not told yet, unless it is down, and end all connections. A matter of seconds at most."""
        self._closing = True
        await self._local.close()
        if self._pops:
            # each ends by itself, and what those whose caller is gone have popped is announced again
            await asyncio.wait(self._pops, timeout=_SLICE + self._link.patience)
        self._announcements.stop()
        if "push" in self._tasks and self._link.up.is_set():
            await asyncio.wait([self._tasks["push"]], timeout=self._link.patience)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), *self._pops, return_exceptions=True)
        await self._link.close()

    def announce(self, ids: Sequence[EventId], *, again: bool = False) -> None:
        """Have the ids put onto the list, soon."""
        if ids:
            self._announcements.add(ids, again=again)
            self._local.wake()

    async def next(self, limit: int, wait: float) -> Sequence[EventId] | None:
        """Up to ``limit`` ids from the list, which are given to nobody else; None after ``wait`` seconds without any.

        While Redis fails it is None after an announcement by this process, when Redis is back, or after ``wait``.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        while not self._closing:
            left = max(0.0, until - clock())
            if not self._link.up.is_set() or self._popping.rest:
                await self._local.next(limit, left)
                return None
            ids = await self._pop_unless_cancelled(limit, min(left, _SLICE))
            if ids:
                return ids
            if clock() >= until:
                return None
        return None

    def announce_messages(self, destinations: frozenset[str]) -> None:
        """Wake the publishers of this process, and soon those of others."""
        self._local.announce_messages(destinations)
        self._announcements.add_destinations(destinations)

    def on_messages(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Call this for announcements of messages by any process."""
        self._local.on_messages(callback)

    async def depth(self) -> int | None:
        """The length of the list; None when Redis does not say."""
        if not self._link.up.is_set():
            return None
        try:
            async with self._link.within(self._link.patience):
                return await self._link.quick.llen(self._key)
        except (Unavailable, ResponseError):
            return None

    async def _pop_unless_cancelled(self, limit: int, block: float) -> list[EventId]:
        """A pop that goes on when its caller is gone, so that the ids it may bring are not lost but announced again."""
        pop = asyncio.create_task(self._pop(limit, block))
        self._pops.add(pop)
        pop.add_done_callback(self._pops.discard)
        try:
            return await asyncio.shield(pop)
        except asyncio.CancelledError:
            pop.add_done_callback(self._give_back)
            raise

    def _give_back(self, pop: asyncio.Task[list[EventId]]) -> None:
        if not pop.cancelled() and pop.exception() is None:
            self._announcements.add(pop.result())

    async def _pop(self, limit: int, block: float) -> list[EventId]:
        try:
            async with self._link.within(block + self._link.patience):
                entries = await self._take(limit, block)
        except Unavailable:
            return []
        except ResponseError as error:
            self._refused(error)
            return []
        self._popping.worked()
        return self._ids_of(entries)

    async def _take(self, limit: int, block: float) -> Sequence[Any]:
        redis = self._link.blocking
        if block >= _SHORTEST and self._link.blmpop:
            # the name of the list and what it gave
            found: Any = await redis.blmpop(block, 1, self._key, direction="LEFT", count=limit)
            return found[1] if found else ()
        entries: Any = await redis.lpop(self._key, limit)
        if entries or block < _SHORTEST:
            return entries or ()
        first: Any = await redis.blpop([self._key], timeout=block)
        if not first:
            return ()
        rest: Any = await redis.lpop(self._key, limit - 1) if limit > 1 else ()
        return [first[1], *(rest or ())]

    def _refused(self, error: ResponseError) -> None:
        text = str(error)
        if "unknown command" in text and self._link.blmpop:
            self._link.blmpop = False  # says it is new enough, and yet has no BLMPOP
            return
        if text.startswith("WRONGTYPE"):
            text = f"something else has this name: DEL it or choose another prefix ({text})"
        self._popping.failed(text)

    def _ids_of(self, entries: Iterable[bytes]) -> list[EventId]:
        found = list(entries)
        good = [EventId(entry) for entry in found if len(entry) == _ID_LENGTH]
        self._garbage.add(len(found) - len(good))
        return list(dict.fromkeys(good))

    async def _hear(self) -> None:
        """Listen to the channel while Redis is up."""
        await self._link.up.wait()
        try:
            async with self._link.listening.pubsub() as channel:
                async with self._link.within(CONNECT_WITHIN):
                    await channel.subscribe(self._channel)
                await self._follow(channel)
        except Unavailable:
            return
        except ResponseError as error:
            self._hearing.failed(error)
            await asyncio.sleep(self._hearing.rest)

    async def _follow(self, channel: PubSub) -> None:
        """Until it fails, which raises."""
        asked = False
        while True:
            silence = self._link.patience if asked else self._probe
            async with self._link.within(silence + self._link.patience):
                message = await channel.get_message(timeout=silence)
                if message is None and asked:
                    raise TimeoutError("the channel is silent, also when asked")
                asked = message is None
                if asked:
                    await channel.ping()
            if message is not None:
                self._heard(message["type"], message["data"])

    def _heard(self, kind: str, data: Any) -> None:
        if kind == "subscribe":
            self._hearing.worked()
            self._local.announce_messages(frozenset())  # whatever was announced while nobody listened
        elif kind == "message":
            sender, *names = bytes(data).decode(errors="replace").split("\n")
            if sender != self._sender:
                self._local.announce_messages(frozenset(names) - {""})

    async def _repeat(self, run: Callable[[], Awaitable[None]]) -> None:
        """A mistake in one of the tasks must not end it for the life of the process."""
        while not self._closing:
            try:
                await run()
            except Exception:
                logger.exception("a task of the queue failed; it goes on", extra={"event": "queue.bug"})
                await asyncio.sleep(1)
