"""The sweep: what was lost on the way is found again. One ``run_once`` does all of it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec

from surehook.clock import Clock, Millis
from surehook.model import IgnoredEvent, Rescued
from surehook.queue import Queue
from surehook.storage import Reader, Storage

logger = logging.getLogger(__name__)

#: Rows of one kind that one sweep takes on at the most; the next sweep goes on.
BATCH = 1_000

#: How late a settlement may become visible, or how far behind the clock of who wrote it may be, in milliseconds.
LATE = 60_000


class Swept(msgspec.Struct, frozen=True):
    """What one sweep has found."""

    rescued: Rescued
    announced: int
    taken_back: int


class Sweep:
    """Gives back expired leases, announces what nobody has claimed, takes back what was ignored too early."""

    def __init__(  # noqa: PLR0913 - the parts it connects
        self,
        storage: Storage,
        reader: Reader,
        queue: Queue,
        clock: Clock,
        *,
        poison_after: int,
        interval: int,
        take_back: int,
        handled: Callable[[str, str, str], bool] | None,
        keep_rejections: int,
        trusted: Callable[[], Awaitable[bool]],
    ) -> None:
        self._storage = storage
        self._reader = reader
        self._queue = queue
        self._clock = clock
        self._poison_after = poison_after
        self._interval = interval
        self._take_back = take_back
        #: Whether there is a handler here; None where no handlers run.
        self._handled = handled
        self._looked_until: Millis | None = None
        self._keep_rejections = keep_rejections
        #: Whether the clock is, asked before every rescue: shortly after a jump, leases were set by another time.
        self._trusted = trusted

    async def run_once(self) -> Swept:
        """One sweep."""
        rescued = await self._rescue() if await self._trusted() else Rescued(0, 0, 0, ())
        taken_back = await self._take_back_ignored()
        announced = await self._announce_lost()
        await self._storage.reject([], keep=self._keep_rejections)
        return Swept(rescued, announced, taken_back)

    async def _rescue(self) -> Rescued:
        rescued = await self._storage.rescue(self._clock.now(), poison_after=self._poison_after, limit=BATCH)
        if rescued.events or rescued.messages:
            logger.warning(
                "took back %d events and %d messages from workers that are gone",
                rescued.events,
                rescued.messages,
                extra={"event": "sweep.rescued", "poisoned": rescued.poisoned},
            )
        self._queue.announce(rescued.due)
        return rescued

    async def _announce_lost(self) -> int:
        """Events that have been due for a whole interval: their announcement was lost, or every worker is busy."""
        lost = await self._reader.due(Millis(self._clock.now() - self._interval), BATCH)
        self._queue.announce(lost, again=True)
        return len(lost)

    async def _take_back_ignored(self) -> int:
        """Events that another version of the application ignored and this one has a handler for.

        The handlers of a process do not change, so what it has looked at once it need not look at again.
        """
        if self._handled is None:
            return 0
        now = self._clock.now()
        since = now - self._take_back if self._looked_until is None else self._looked_until - LATE
        taken_back = await self._take_back_since(Millis(since), self._handled)
        self._looked_until = now
        if taken_back:
            logger.info("took back %d ignored events", taken_back, extra={"event": "sweep.taken_back"})
        return taken_back

    async def _take_back_since(self, since: Millis, handled: Callable[[str, str, str], bool]) -> int:
        after: IgnoredEvent | None = None
        taken_back = 0
        while ignored := await self._reader.ignored_since(since, after, BATCH):
            after = ignored[-1]
            wanted = [each.id for each in ignored if handled(each.provider, each.topic, each.type)]
            if wanted:
                taken_back += await self._storage.take_back(wanted, self._clock.now())
                self._queue.announce(wanted)
        return taken_back
